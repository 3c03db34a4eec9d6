//! Everything that is stored below a folder, page by page, so that a get or a removal of a large
//! tree holds a bounded part of it in memory.

use datamesh_catalog::{AccountDb, CatalogError, Cursor, Entry, ListQuery};
use datamesh_core::MeshPath;
use datamesh_core::catalog::{EntryKind, Put};

use crate::client::Client;
use crate::error::ClientError;

/// Files of a page: with their sealed contents or manifests some megabytes.
pub(crate) const PAGE: usize = 1000;

/// The current versions of what is below a folder, in the order of names.
pub(crate) struct Below<'a> {
    client: &'a Client,
    /// Nothing for all files.
    folder: Option<MeshPath>,
    next: Next,
}

/// Where the next page begins.
enum Next {
    First,
    After(Cursor),
    End,
}

impl<'a> Below<'a> {
    /// Everything below `folder`; all files where there is none.
    pub(crate) fn new(client: &'a Client, folder: Option<MeshPath>) -> Self {
        Self { client, folder, next: Next::First }
    }

    /// The next page; empty at the end. A folder that was stored empty is an entry of its own and
    /// comes last, with what is below it.
    ///
    /// # Errors
    /// [`ClientError::NothingBelow`] where the first page is empty.
    pub(crate) async fn page(&mut self) -> Result<Vec<Box<Put>>, ClientError> {
        let first = matches!(self.next, Next::First);
        loop {
            let after = match std::mem::replace(&mut self.next, Next::End) {
                Next::First => None,
                Next::After(cursor) => Some(cursor),
                Next::End if first => {
                    return Err(ClientError::NothingBelow { folder: self.folder.clone() });
                }
                Next::End => return Ok(Vec::new()),
            };
            let folder = self.folder.clone();
            let (puts, next) =
                self.client.catalog_call(move |catalog| read(catalog, folder, after)).await?;
            if let Some(next) = next {
                self.next = Next::After(next);
            }
            if !puts.is_empty() {
                return Ok(puts);
            }
        }
    }
}

/// What has a path now; nothing where there is no such file, or no more.
pub(crate) fn current(
    catalog: &AccountDb,
    path: &MeshPath,
) -> Result<Option<Box<Put>>, CatalogError> {
    Ok(match catalog.lookup(path)?.map(|version| version.entry) {
        Some(Entry::Put(put)) => Some(put),
        Some(Entry::Delete(_)) | None => None,
    })
}

type Page = (Vec<Box<Put>>, Option<Cursor>);

fn read(
    catalog: &AccountDb,
    folder: Option<MeshPath>,
    after: Option<Cursor>,
) -> Result<Page, CatalogError> {
    let query = ListQuery {
        folder: folder.clone(),
        recursive: true,
        after,
        limit: Some(PAGE),
        ..ListQuery::default()
    };
    let page = catalog.list(&query)?;
    let mut puts = Vec::with_capacity(page.rows.len());
    for row in &page.rows {
        puts.extend(current(catalog, row.path())?);
    }
    if page.next.is_none()
        && let Some(folder) = folder
    {
        puts.extend(current(catalog, &folder)?.filter(|put| put.kind == EntryKind::Folder));
    }
    Ok((puts, page.next))
}
