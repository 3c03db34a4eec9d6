//! Files that a request means by paths and by patterns of paths.

use std::collections::BTreeSet;

use datamesh_api::{EntryFailure, OperationError, grammar};
use datamesh_catalog::{AccountDb, CatalogError, Cursor, ListQuery, Listed, Page};
use datamesh_core::MeshPath;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Files of a page of the list that patterns are compared with.
const PAGE: usize = 5000;

/// Most patterns of one request.
const PATTERNS_MAX: usize = 1000;

/// Longest pattern in bytes.
const PATTERN_BYTES_MAX: usize = 4096;

/// Paths, and patterns of paths.
#[derive(Debug, Clone)]
pub(super) struct Patterns {
    paths: Vec<MeshPath>,
    /// Patterns that could be paths too: a file that is called so is meant by its name.
    perhaps: Vec<MeshPath>,
    globs: GlobSet,
    /// What `globs` was made of, in the same order.
    texts: Vec<String>,
}

/// The files that are meant.
pub(super) struct Meant {
    /// In the order of their names.
    pub(super) files: Vec<MeshPath>,
    /// A failure for each pattern that no file fits.
    pub(super) unfit: Vec<EntryFailure>,
}

impl Patterns {
    /// # Errors
    /// [`OperationError`] for what is no path and no pattern, and for too many.
    pub(super) fn read(patterns: &[String]) -> Result<Self, OperationError> {
        let wrong = |message: String| OperationError::usage(message);
        let long = patterns.iter().any(|pattern| pattern.len() > PATTERN_BYTES_MAX);
        if patterns.len() > PATTERNS_MAX || long {
            return Err(wrong("at most 1000 patterns of at most 4096 bytes are taken".to_owned()));
        }
        let (mut paths, mut perhaps, mut globs) = (Vec::new(), Vec::new(), GlobSetBuilder::new());
        let mut texts = Vec::new();
        for pattern in patterns {
            if grammar::is_pattern(pattern) {
                perhaps.extend(pattern.parse());
                let glob = GlobBuilder::new(pattern).literal_separator(true).build();
                globs.add(glob.map_err(|error| wrong(error.to_string()))?);
                texts.push(pattern.clone());
            } else {
                paths
                    .push(pattern.parse().map_err(|error| wrong(format!("{pattern:?}: {error}")))?);
            }
        }
        let globs = globs.build().map_err(|error| wrong(error.to_string()))?;
        Ok(Self { paths, perhaps, globs, texts })
    }

    /// The files that are meant. Blocks.
    pub(super) fn files(mut self, catalog: &AccountDb) -> Result<Meant, CatalogError> {
        let mut fit = BTreeSet::new();
        for path in std::mem::take(&mut self.perhaps) {
            if catalog.current_at(&path)?.is_some() {
                let is = |text: &String| text.parse().is_ok_and(|it: MeshPath| it == path);
                fit.extend(self.texts.iter().position(is));
                self.paths.push(path);
            }
        }
        let mut after: Option<Cursor> = None;
        while !self.globs.is_empty() {
            let query = ListQuery {
                recursive: true,
                limit: Some(PAGE),
                after: after.take(),
                ..ListQuery::default()
            };
            let page = catalog.list(&query)?;
            for path in page.rows.iter().map(Listed::path) {
                let globs = self.globs.matches(path.as_str());
                if !globs.is_empty() {
                    self.paths.push(path.clone());
                }
                fit.extend(globs);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        self.paths.sort();
        self.paths.dedup();
        let unfit = self.texts.into_iter().enumerate().filter(|(at, _)| !fit.contains(at));
        let failure = |path| EntryFailure { path, reason: "no file fits".to_owned() };
        Ok(Meant { files: self.paths, unfit: unfit.map(|(_, text)| failure(text)).collect() })
    }

    fn fits_glob(&self, path: &MeshPath) -> bool {
        self.globs.is_match(path.as_str())
    }

    /// The paths among them that nothing has. Blocks.
    pub(super) fn missing(&self, catalog: &AccountDb) -> Result<Vec<MeshPath>, CatalogError> {
        let mut missing = Vec::new();
        for path in &self.paths {
            if catalog.current_at(path)?.is_none() {
                missing.push(path.clone());
            }
        }
        Ok(missing)
    }

    /// The first page of a list, of those that follow, which has a file that is meant; only such
    /// files are on it. Blocks.
    pub(super) fn page(
        &self,
        catalog: &AccountDb,
        mut query: ListQuery,
    ) -> Result<Page, CatalogError> {
        let named = |path: &MeshPath| self.paths.contains(path) || self.perhaps.contains(path);
        let means = |row: &Listed| self.fits_glob(row.path()) || named(row.path());
        loop {
            let mut page = catalog.list(&query)?;
            page.rows.retain(means);
            if !page.rows.is_empty() || page.next.is_none() {
                return Ok(page);
            }
            query.after = page.next;
        }
    }
}
