//! Which files of the account are meant.

use datamesh_api::{
    ErrorKind, FileVersion, ListEntry, ListRequest, OperationError, Operations, OperationsExt,
};
use datamesh_core::MeshPath;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Entries that are asked for at once.
const PAGE_ENTRIES: usize = 1000;

/// Files, folders and patterns of files.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    /// Files, and folders with all that is in them.
    named: Vec<MeshPath>,
    globs: GlobSet,
    all: bool,
}

impl Selection {
    /// Reads patterns; all files are meant where there are none.
    ///
    /// # Errors
    /// [`OperationError`] where one cannot be a pattern.
    pub(super) fn read(patterns: &[String]) -> Result<Self, OperationError> {
        let wrong = |pattern: &str, why: &dyn std::fmt::Display| {
            OperationError::new(ErrorKind::Usage, format!("the pattern \"{pattern}\": {why}"))
        };
        let (mut named, mut globs) = (Vec::new(), GlobSetBuilder::new());
        for pattern in patterns {
            // As batch-tag does.
            if pattern.contains(['*', '?', '[', '{']) {
                let glob = GlobBuilder::new(pattern).literal_separator(true).build();
                globs.add(glob.map_err(|error| wrong(pattern, &error))?);
            } else {
                let path = pattern.trim_end_matches('/').parse();
                named.push(path.map_err(|error| wrong(pattern, &error))?);
            }
        }
        let globs = globs.build().map_err(|error| wrong("", &error))?;
        Ok(Self { named, globs, all: patterns.is_empty() })
    }

    /// The only folder that has to be looked at; nothing where all have.
    fn folder(&self) -> Option<&MeshPath> {
        match self.named.as_slice() {
            [only] if self.globs.is_empty() => Some(only),
            _ => None,
        }
    }

    fn has(&self, path: &MeshPath) -> bool {
        let named = |named: &MeshPath| path == named || path.below(named).is_some();
        self.all || self.named.iter().any(named) || self.globs.is_match(path.as_str())
    }
}

/// The files that are meant, page by page, in the order of their names.
pub(super) struct Pages<'a> {
    selection: &'a Selection,
    after: Option<Vec<u8>>,
    ended: bool,
}

impl<'a> Pages<'a> {
    pub(super) fn new(selection: &'a Selection) -> Self {
        Self { selection, after: None, ended: false }
    }

    /// The next page, which may have nothing on it; nothing at the end.
    ///
    /// # Errors
    /// [`OperationError`] where the account cannot be listed.
    pub(super) async fn next(
        &mut self,
        operations: &dyn Operations,
    ) -> Result<Option<Vec<FileVersion>>, OperationError> {
        if self.ended {
            return Ok(None);
        }
        let request = ListRequest {
            folder: self.selection.folder().cloned(),
            recursive: true,
            tags: Vec::new(),
            limit: Some(PAGE_ENTRIES),
            after: self.after.take(),
        };
        let page = match operations.list(request).await {
            Ok(page) => page,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        self.after = page.next;
        self.ended = self.after.is_none();
        let version = |entry| match entry {
            ListEntry::Entry(version) => Some(version),
            ListEntry::Folder { .. } => None,
        };
        let versions = page.entries.into_iter().filter_map(version);
        Ok(Some(versions.filter(|version| self.selection.has(&version.path)).collect()))
    }
}
