//! Which files of the account are meant, page by page.

use std::collections::VecDeque;

use datamesh_api::{
    FileVersion, ListEntry, ListRequest, OperationError, Operations, OperationsExt, grammar,
};

/// Entries that are asked for at once.
const PAGE_ENTRIES: usize = 1000;

/// The files that are meant, in the order of their names for each file or folder that was named, and
/// then for all patterns.
pub(super) struct Pages {
    requests: VecDeque<ListRequest>,
}

impl Pages {
    /// Files, folders with all that is in them, and patterns; all files where there are none.
    ///
    /// # Errors
    /// [`OperationError`] where a name can be none.
    pub(super) fn new(patterns: &[String]) -> Result<Self, OperationError> {
        let request =
            || ListRequest { recursive: true, limit: Some(PAGE_ENTRIES), ..ListRequest::default() };
        let mut requests = VecDeque::new();
        // As batch-get and batch-tag tell them apart; a folder is meant too where they mean a file.
        let is_glob = |pattern: &&String| grammar::is_pattern(pattern);
        let globs: Vec<String> = patterns.iter().filter(is_glob).cloned().collect();
        for name in patterns.iter().filter(|pattern| !is_glob(pattern)) {
            let folder = name.trim_end_matches('/').parse();
            let folder = folder.map_err(OperationError::usage)?;
            requests.push_back(ListRequest { folder: Some(folder), ..request() });
        }
        if !globs.is_empty() || patterns.is_empty() {
            requests.push_back(ListRequest { patterns: globs, ..request() });
        }
        Ok(Self { requests })
    }

    /// The next page, which may have nothing on it; nothing at the end.
    ///
    /// # Errors
    /// [`OperationError`] where the account cannot be listed, or has nothing of a name.
    pub(super) async fn next(
        &mut self,
        operations: &dyn Operations,
    ) -> Result<Option<Vec<FileVersion>>, OperationError> {
        let Some(request) = self.requests.pop_front() else { return Ok(None) };
        let page = operations.list(request.clone()).await?;
        if page.next.is_some() {
            self.requests.push_front(ListRequest { after: page.next, ..request });
        }
        let version = |entry| match entry {
            ListEntry::Entry(version) => Some(version),
            ListEntry::Folder { .. } => None,
        };
        Ok(Some(page.entries.into_iter().filter_map(version).collect()))
    }
}
