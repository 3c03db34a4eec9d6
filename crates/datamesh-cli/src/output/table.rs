//! Columns for people.

use std::fmt;
use std::io::IsTerminal;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement};
use datamesh_core::NodeId;
use unicode_width::UnicodeWidthStr;

use super::{short, visible};

/// Columns of the terminal between columns of a table.
const GAP: usize = 2;

/// A column may be made as narrow as its longest word, or this.
const WORD_COLUMNS_MAX: usize = 10;

/// Rows under a head. What is put in is made [visible](super::visible) first. Where a terminal is too narrow for
/// all columns, each row is a paragraph with a line for each of its cells.
pub(crate) struct Table {
    /// Names of the columns; none where rows are names and values.
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Columns that are aligned to the right.
    right: Vec<usize>,
    /// Words of the first column that have a colour, with its code.
    marks: Vec<(&'static str, &'static str)>,
}

impl Table {
    /// A table with these columns; those whose name begins with `>` are aligned to the right.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let right = columns.iter().enumerate().filter(|(_, name)| name.starts_with('>'));
        Self {
            head: columns.iter().map(|name| name.trim_start_matches('>').to_owned()).collect(),
            rows: Vec::new(),
            right: right.map(|(at, _)| at).collect(),
            marks: Vec::new(),
        }
    }

    /// Has this word in a colour where it stands in the first column, on terminals that show it.
    pub(crate) fn mark(&mut self, word: &'static str, code: &'static str) {
        self.marks.push((word, code));
    }

    /// Rows without a head: names and values.
    pub(crate) fn pairs() -> Self {
        Self::new(&[])
    }

    /// Adds a row.
    pub(crate) fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter().map(|cell| visible(cell.as_ref()).to_string());
        self.rows.push(cells.collect());
    }

    /// Adds a name and its value.
    pub(crate) fn pair(&mut self, name: &str, value: impl fmt::Display) {
        self.row([name, &value.to_string()]);
    }

    /// No row was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As text for so many columns; lines are as long as they are where nothing is said.
    fn text(&self, width: Option<u16>) -> String {
        if width.is_some_and(|width| self.least() > usize::from(width)) {
            return self.paragraphs();
        }
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if let Some(width) = width {
            table.set_width(width);
        }
        if !self.head.is_empty() {
            table.set_header(&self.head);
        }
        table.add_rows(&self.rows);
        let gap = u16::try_from(GAP).unwrap_or_default();
        for (at, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if self.head.is_empty() && at > 0 { 0 } else { gap }));
            if self.right.contains(&at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.trim_fmt()
    }

    /// Columns of the terminal that are needed to keep words whole.
    fn least(&self) -> usize {
        let word = |cell: &String| cell.split(' ').map(UnicodeWidthStr::width).max().unwrap_or(0);
        let column = |at: usize| {
            let cells = [&self.head].into_iter().chain(&self.rows).filter_map(|row| row.get(at));
            cells.map(word).max().unwrap_or(0).min(WORD_COLUMNS_MAX)
        };
        (0..self.head.len()).map(|at| column(at) + GAP).sum::<usize>().saturating_sub(GAP)
    }

    /// A line for each cell that says something, and an empty one between rows.
    fn paragraphs(&self) -> String {
        let longest = self.head.iter().map(|name| name.width()).max().unwrap_or(0);
        let line = |(name, cell): (&String, &String)| {
            let fill = " ".repeat(longest - name.width() + GAP);
            (!cell.is_empty()).then(|| format!("{name}{fill}{cell}"))
        };
        let row = |row: &Vec<String>| {
            let lines: Vec<String> = self.head.iter().zip(row).filter_map(line).collect();
            lines.join("\n")
        };
        self.rows.iter().map(row).collect::<Vec<_>>().join("\n\n")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text(width());
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
    fn a_table_is_as_wide_as_the_terminal_and_paragraphs_where_words_do_not_fit() {
        let mut table = Table::new(&["NAME", ">SIZE", "TAGS"]);
        table.row(["one two three", "500 B", "a,b"]);
        table.row(["four", "1.5 KiB", ""]);
        let wide =
            "NAME              SIZE  TAGS\none two three    500 B  a,b\nfour           1.5 KiB";
        assert_eq!(table.text(None), wide);
        assert_eq!(table.text(Some(80)), wide);
        for line in table.text(Some(20)).lines() {
            assert!(line.width() <= 20, "{line}");
        }
        assert!(table.text(Some(20)).starts_with("NAME "));
        let narrow = "NAME  one two three\nSIZE  500 B\nTAGS  a,b\n\nNAME  four\nSIZE  1.5 KiB";
        assert_eq!(table.text(Some(15)), narrow);
    }

    #[test]
    fn words_of_the_first_column_have_colours() {
        let marks = [("ok", "32"), ("CRITICAL", "31;1")];
        let text = "STATE  WHAT\nok     okay\nokay   ok\nCRITICAL  disk\n       ok";
        let expected = "STATE  WHAT\n\x1b[32mok\x1b[0m     okay\nokay   ok\n\x1b[31;1mCRITICAL\x1b[0m  disk\n       ok";
        assert_eq!(marked(text, &marks), expected);
    }
}
