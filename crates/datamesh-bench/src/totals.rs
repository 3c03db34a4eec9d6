//! What ran so far of the long forms: a table in `docs/reliability.md`, between two marks.
//!
//! It lies in the repository, so that whoever goes on, on whatever machine, goes on from there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Stands before the table.
const BEGIN: &str = "<!-- totals of cargo xtask torture: begin -->";

/// Stands behind it.
const END: &str = "<!-- totals of cargo xtask torture: end -->";

const HEAD: &str =
    "| run | first | next | wished | failed | last run |\n|---|---|---|---|---|---|\n";

/// One run's row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) run: String,
    /// Where it began.
    pub(crate) first: u64,
    /// Everything from there to below this was run: seeds, numbers, files, executions.
    pub(crate) next: u64,
    pub(crate) wished: u64,
    /// What failed: numbers, or names of inputs.
    pub(crate) failed: Vec<String>,
    /// The day of the last run, or nothing.
    pub(crate) last: String,
}

/// The table.
pub(crate) struct Totals {
    page: PathBuf,
}

impl Totals {
    /// The table of the repository in this folder.
    pub(crate) fn of(root: &Path) -> Self {
        Self { page: root.join("docs/reliability.md") }
    }

    /// The row of a run; an empty one where it never ran.
    pub(crate) fn get(&self, run: &str) -> Total {
        let empty = Total { run: run.to_owned(), ..Total::default() };
        let text = fs::read_to_string(&self.page).unwrap();
        let (_, table, _) = parts(&text);
        table.into_iter().find(|total| total.run == run).unwrap_or(empty)
    }

    /// Writes a run's row, with the day of today. The page is read again before: others write to it.
    pub(crate) fn put(&self, total: &Total) {
        let text = fs::read_to_string(&self.page).unwrap();
        let (before, mut table, after) = parts(&text);
        let total = Total { last: today(), ..total.clone() };
        match table.iter_mut().find(|other| other.run == total.run) {
            Some(other) => *other = total,
            None => table.push(total),
        }
        let rows: String = table.iter().map(row).collect();
        let draft = self.page.with_extension("draft");
        fs::write(&draft, format!("{before}{BEGIN}\n{HEAD}{rows}{END}{after}")).unwrap();
        fs::rename(draft, &self.page).unwrap();
    }
}

fn row(total: &Total) -> String {
    let Total { run, first, next, wished, failed, last } = total;
    let failed = if failed.is_empty() { "none".to_owned() } else { failed.join(" ") };
    format!("| {run} | {first} | {next} | {wished} | {failed} | {last} |\n")
}

/// The page before the table, the table, and the page behind it.
fn parts(text: &str) -> (&str, Vec<Total>, &str) {
    let (before, rest) = text.split_once(BEGIN).expect("the page has no table of totals");
    let (table, after) = rest.split_once(END).expect("the table of totals has no end");
    (before, table.lines().filter_map(read).collect(), after)
}

/// Reads a row; the head is none.
fn read(line: &str) -> Option<Total> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [run, first, next, wished, failed, last] = cells[..] else { return None };
    let failed = failed.split_whitespace().filter(|failed| *failed != "none");
    Some(Total {
        run: run.to_owned(),
        first: first.parse().ok()?,
        next: next.parse().ok()?,
        wished: wished.parse().ok()?,
        failed: failed.map(str::to_owned).collect(),
        last: last.to_owned(),
    })
}

fn today() -> String {
    let day = Command::new("date").args(["-u", "+%F"]).output().unwrap();
    String::from_utf8(day.stdout).unwrap().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_repository_has_a_table_that_is_written_as_it_is_read() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reliability.md");
        let text = fs::read_to_string(page).unwrap();
        let (before, table, after) = parts(&text);
        assert!(!table.is_empty());
        let rows: String = table.iter().map(row).collect();
        assert_eq!(format!("{before}{BEGIN}\n{HEAD}{rows}{END}{after}"), text);
    }

    #[test]
    fn a_row_is_added_and_replaced_and_the_rest_of_the_page_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("docs")).unwrap();
        let page = folder.path().join("docs/reliability.md");
        fs::write(&page, format!("before\n{BEGIN}\n{HEAD}{END}\nafter\n")).unwrap();
        let totals = Totals::of(folder.path());
        assert_eq!(totals.get("seeds").next, 0);
        let failed = vec!["3".to_owned(), "43".to_owned()];
        let total = Total { next: 20, wished: 100, failed, ..totals.get("seeds") };
        totals.put(&total);
        totals.put(&Total { next: 40, ..totals.get("seeds") });
        let again = totals.get("seeds");
        assert_eq!((again.next, again.failed.len()), (40, 2));
        let text = fs::read_to_string(&page).unwrap();
        assert!(text.starts_with("before\n") && text.ends_with("\nafter\n"), "{text}");
    }
}
