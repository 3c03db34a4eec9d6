//! Figures on standard output as a table, and in a file as JSON.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

/// Where figures go.
pub(crate) struct Report {
    file: Option<File>,
}

/// One measured thing: a name and its figures, each with a unit.
pub(crate) struct Row {
    name: String,
    figures: Vec<(f64, &'static str)>,
}

impl Row {
    pub(crate) fn of(name: impl Into<String>) -> Self {
        Self { name: name.into(), figures: Vec::new() }
    }

    pub(crate) fn with(mut self, value: f64, unit: &'static str) -> Self {
        self.figures.push((value, unit));
        self
    }
}

impl Report {
    pub(crate) fn to(path: Option<PathBuf>) -> Self {
        let open = |path| OpenOptions::new().create(true).append(true).open(path).unwrap();
        Self { file: path.map(open) }
    }

    /// Begins a group of rows.
    pub(crate) fn heading(&self, text: &str) {
        println!("\n{text}");
    }

    pub(crate) fn row(&mut self, row: &Row) {
        let figures: Vec<String> = row
            .figures
            .iter()
            .map(|(value, unit)| format!("{:>9} {unit}", digits(*value)))
            .collect();
        println!("  {:<44}{}", row.name, figures.join("  "));
        if let Some(file) = &mut self.file {
            let figures: Map<String, Value> = row
                .figures
                .iter()
                .map(|(value, unit)| ((*unit).to_owned(), json!(value)))
                .collect();
            writeln!(file, "{}", json!({ "name": row.name, "figures": figures })).unwrap();
        }
    }
}

/// Three significant digits where there are fewer than three before the point.
fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
