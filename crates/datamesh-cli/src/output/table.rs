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
        Self { table }
    }

    /// Rows without a head: names and values.
    pub(crate) fn pairs() -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if let Some(width) = width() {
            table.set_width(width);
        }
        Self { table }
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
        f.write_str(&self.table.trim_fmt())
    }
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
