//! Columns for people.

use std::fmt;
use std::io::IsTerminal;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement};
use datamesh_core::NodeId;

use super::{short, visible};

/// Rows under a head. What is put in is made [visible](super::visible) first.
pub(crate) struct Table {
    table: comfy_table::Table,
    /// Words of the first column that have a colour, with its code.
    marks: Vec<(&'static str, &'static str)>,
}

impl Table {
    /// A table with these columns; those whose name begins with `>` are aligned to the right.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if let Some(width) = width() {
            table.set_width(width);
        }
        table.set_header(columns.iter().map(|name| name.trim_start_matches('>')));
        for (at, name) in columns.iter().enumerate() {
            if let Some(column) = table.column_mut(at) {
                column.set_padding((0, 2));
                if name.starts_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self { table, marks: Vec::new() }
    }

    /// Has this word in a colour where it stands in the first column, on terminals that show it.
    pub(crate) fn mark(&mut self, word: &'static str, code: &'static str) {
        self.marks.push((word, code));
    }

    /// Rows without a head: names and values.
    pub(crate) fn pairs() -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if let Some(width) = width() {
            table.set_width(width);
        }
        Self { table, marks: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.table.add_row(cells.into_iter().map(|cell| visible(cell.as_ref())));
    }

    /// Adds a name and its value.
    pub(crate) fn pair(&mut self, name: &str, value: impl fmt::Display) {
        self.row([name, &value.to_string()]);
        for (at, padding) in [(0, (0, 2)), (1, (0, 0))] {
            if let Some(column) = self.table.column_mut(at) {
                column.set_padding(padding);
            }
        }
    }

    /// No row was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.table.trim_fmt();
        if self.marks.is_empty() || super::is_plain() || !std::io::stdout().is_terminal() {
            return f.write_str(&text);
        }
        f.write_str(&marked(&text, &self.marks))
    }
}

/// Lines with the words that they begin with in colours.
fn marked(text: &str, marks: &[(&str, &str)]) -> String {
    let line = |line: &str| {
        let marked = marks.iter().find_map(|(word, code)| {
            let rest = line.strip_prefix(word).filter(|rest| rest.starts_with(' '))?;
            Some(format!("\x1b[{code}m{word}\x1b[0m{rest}"))
        });
        marked.unwrap_or_else(|| line.to_owned())
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Terminals of fewer columns get node ids cut to the part that tells them apart.
const WHOLE_ID_COLUMNS: u16 = 130;

/// A node's id: whole, but for narrow terminals.
pub(crate) fn node_id(node: &NodeId) -> String {
    match width() {
        Some(columns) if columns < WHOLE_ID_COLUMNS => short(node),
        _ => node.to_string(),
    }
}

/// Columns of the terminal; nothing where the output goes elsewhere and lines may be long.
pub(crate) fn width() -> Option<u16> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out).ok()?;
    // A terminal that says nothing useful gets lines as long as they are.
    (size.ws_col >= 20).then_some(size.ws_col)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_first_column_have_colours() {
        let marks = [("ok", "32"), ("CRITICAL", "31;1")];
        let text = "STATE  WHAT\nok     okay\nokay   ok\nCRITICAL  disk\n       ok";
        let expected = "STATE  WHAT\n\x1b[32mok\x1b[0m     okay\nokay   ok\n\x1b[31;1mCRITICAL\x1b[0m  disk\n       ok";
        assert_eq!(marked(text, &marks), expected);
    }
}
