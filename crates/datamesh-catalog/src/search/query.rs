//! Finding paths by words, patterns, tags, sizes and dates.

use std::fmt::Write;
use std::ops::RangeInclusive;

use datamesh_core::{MeshPath, Timestamp};
use regex::{Regex, RegexBuilder};
use rusqlite::{Connection, ToSql};

use super::expression::expression;
use super::{SearchDb, signed};
use crate::error::{CatalogError, During, Result, damaged};

/// Most paths that one call returns.
pub(super) const FOUND_MAX: usize = 10_000;

/// Most tags and extensions of a search.
const NAMES_MAX: usize = 512;

/// Most memory of a compiled pattern in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// In which order paths are returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Those that fit the words best first; by name where there are no words.
    #[default]
    Fit,
    /// By name.
    Name,
    /// The smallest first.
    Size,
    /// Those that were stored first.
    Stored,
}

/// What to look for; all that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct SearchQuery {
    /// Words of the name, folder, tags and note: see the [module](super::expression).
    pub words: Option<String>,
    /// A regular expression that fits somewhere in the path.
    pub pattern: Option<String>,
    /// Only below this folder.
    pub folder: Option<MeshPath>,
    /// All these tags.
    pub tags: Vec<String>,
    /// One of these extensions, in small letters; any where there are none.
    pub extensions: Vec<String>,
    /// Sizes in bytes.
    pub size: Option<RangeInclusive<u64>>,
    /// When the version was made, in ms since 1970.
    pub stored: Option<RangeInclusive<Timestamp>>,
    /// The order.
    pub order: Order,
    /// The other way round.
    pub reverse: bool,
    /// Paths that are passed over first: those of the pages before.
    pub skip: usize,
    /// Most paths, up to 10,000.
    pub limit: usize,
}

/// Words and conditions of a statement, and their values.
#[derive(Default)]
struct Statement {
    conditions: String,
    values: Vec<Box<dyn ToSql>>,
}

impl Statement {
    fn add(&mut self, condition: &str, values: Vec<Box<dyn ToSql>>) {
        self.conditions.push_str(if self.conditions.is_empty() { " WHERE " } else { " AND " });
        self.conditions.push_str(condition);
        self.values.extend(values);
    }
}

impl SearchDb {
    /// The paths that fit, in order, and whether there are more.
    ///
    /// # Errors
    /// [`CatalogError::Search`] for words or a pattern that cannot be looked for,
    /// [`CatalogError::Damaged`] where the index is.
    pub fn search(&self, query: &SearchQuery) -> Result<(Vec<MeshPath>, bool)> {
        if query.tags.len() + query.extensions.len() > NAMES_MAX {
            let reason = format!("at most {NAMES_MAX} tags and types are looked for at once");
            return Err(CatalogError::Search { reason });
        }
        let pattern = query.pattern.as_deref().map(compile).transpose()?;
        let (sql, values) = statement(query)?;
        let page = (query.skip, query.limit.min(FOUND_MAX));
        self.read(|connection| find(connection, &sql, &values, pattern.as_ref(), page))
    }
}

fn compile(pattern: &str) -> Result<Regex> {
    let built = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build();
    built.map_err(|error| {
        // The lines before show the pattern with a mark below it.
        let told = error.to_string();
        let why = told.lines().last().unwrap_or_default().trim_start_matches("error: ");
        CatalogError::Search { reason: format!("the pattern \"{pattern}\": {why}") }
    })
}

fn statement(query: &SearchQuery) -> Result<(String, Vec<Box<dyn ToSql>>)> {
    let mut sql = "SELECT file.path FROM file".to_owned();
    let mut statement = Statement::default();
    if let Some(words) = &query.words {
        sql = "SELECT file.path FROM words JOIN file ON file.id = words.rowid".to_owned();
        statement.add("words MATCH ?", vec![Box::new(expression(words)?)]);
    }
    if let Some(folder) = &query.folder {
        let (from, to) = (format!("{folder}/"), format!("{folder}0"));
        statement.add("file.path >= ? AND file.path < ?", vec![Box::new(from), Box::new(to)]);
    }
    for tag in &query.tags {
        let having = "file.id IN (SELECT tagged.file FROM tagged WHERE tagged.tag = ?)";
        statement.add(having, vec![Box::new(tag.clone())]);
    }
    if !query.extensions.is_empty() {
        let marks = vec!["?"; query.extensions.len()].join(", ");
        let values = query.extensions.iter().map(|one| Box::new(one.clone()) as Box<dyn ToSql>);
        statement.add(&format!("file.extension IN ({marks})"), values.collect());
    }
    for (column, range) in [("file.size", &query.size), ("file.stored", &query.stored)] {
        if let Some(range) = range {
            let (from, to) = (signed(*range.start()), signed(*range.end()));
            let between = format!("{column} BETWEEN ? AND ?");
            statement.add(&between, vec![Box::new(from), Box::new(to)]);
        }
    }
    let way = if query.reverse { "DESC" } else { "ASC" };
    let order = match query.order {
        // A name counts more than a tag, a tag more than a note, a note more than a folder.
        Order::Fit if query.words.is_some() => {
            format!("bm25(words, 10.0, 1.0, 5.0, 2.0) {way}, file.path {way}")
        }
        Order::Fit | Order::Name => format!("file.path {way}"),
        Order::Size => format!("file.size {way}, file.path {way}"),
        Order::Stored => format!("file.stored {way}, file.path {way}"),
    };
    let _ = write!(sql, "{} ORDER BY {order}", statement.conditions);
    Ok((sql, statement.values))
}

fn find(
    connection: &Connection,
    sql: &str,
    values: &[Box<dyn ToSql>],
    pattern: Option<&Regex>,
    (mut skip, limit): (usize, usize),
) -> Result<(Vec<MeshPath>, bool)> {
    // Without a pattern to look at each row, no more rows are made than are shown.
    let sql = match pattern {
        None => format!("{sql} LIMIT {} OFFSET {}", limit + 1, std::mem::take(&mut skip)),
        Some(_) => sql.to_owned(),
    };
    let mut statement = connection.prepare_cached(&sql).during("searching")?;
    let mut rows = statement
        .query(rusqlite::params_from_iter(values.iter().map(|value| &**value)))
        .during("searching")?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().during("searching")? {
        let path = row.get_ref(0).during("searching")?.as_str();
        let path = path.map_err(|_| damaged("the search index", "a path is no text"))?;
        if pattern.is_some_and(|pattern| !pattern.is_match(path)) {
            continue;
        }
        if skip > 0 {
            skip -= 1;
            continue;
        }
        if found.len() >= limit {
            return Ok((found, true));
        }
        let wrong = |_| damaged("the search index", "a path is none");
        found.push(path.parse().map_err(wrong)?);
    }
    Ok((found, false))
}
