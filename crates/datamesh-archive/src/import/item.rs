//! An entry that is to be stored: its path, and what its metadata and the command say of it.

use datamesh_core::catalog::{EntryKind, TAG_BYTES_MAX, TAGS_MAX};
use datamesh_core::stream::EntryHead;
use datamesh_core::{Hash, MeshPath, Timestamp};

use crate::entry::Found;

/// An entry that is to be stored.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) path: MeshPath,
    pub(super) folder: bool,
    pub(super) size: u64,
    mode: u32,
    modified: Timestamp,
    pub(super) tags: Vec<String>,
    pub(super) note: String,
    /// What the archive says that its content's hash is.
    pub(super) expected: Option<Hash>,
}

impl Item {
    /// An entry under `path`. The prefix comes before every tag.
    ///
    /// # Errors
    /// Why it cannot have its tags.
    pub(super) fn new(
        path: MeshPath,
        folder: bool,
        found: &Found,
        prefix: Option<&str>,
    ) -> Result<Self, String> {
        let metadata = found.metadata.as_ref().filter(|_| !folder);
        let prefixed = |tag: &str| format!("{}{tag}", prefix.unwrap_or_default());
        let mut tags: Vec<String> = match (metadata, prefix) {
            (Some(metadata), _) => metadata.tags.iter().map(|tag| prefixed(tag)).collect(),
            (None, Some(_)) if !folder => folders(&found.name).map(prefixed).collect(),
            _ => Vec::new(),
        };
        tags.sort();
        tags.dedup();
        if tags.len() > TAGS_MAX {
            return Err(format!("it would have {} tags, more than {TAGS_MAX}", tags.len()));
        }
        if let Some(long) = tags.iter().find(|tag| tag.len() > TAG_BYTES_MAX) {
            return Err(format!("its tag \"{long}\" would be longer than {TAG_BYTES_MAX} bytes"));
        }
        Ok(Self {
            path,
            folder,
            size: found.size,
            mode: found.mode & 0o777,
            modified: found.modified,
            tags,
            note: metadata.map_or_else(String::new, |metadata| metadata.note.clone()),
            expected: metadata.and_then(|metadata| metadata.hash),
        })
    }

    /// What a put is told of it.
    pub(super) fn head(&self) -> EntryHead {
        EntryHead {
            path: self.path.clone(),
            kind: if self.folder { EntryKind::Folder } else { EntryKind::File },
            mode: self.mode,
            modified: self.modified,
            tags: self.tags.clone(),
            size: Some(self.size),
            source: None,
            hash: None,
        }
    }
}

/// The folders in the name of a file.
fn folders(name: &[u8]) -> impl Iterator<Item = &str> {
    let text = std::str::from_utf8(name).unwrap_or_default();
    let folders = text.rsplit_once('/').map_or("", |(folders, _)| folders);
    folders.split('/').filter(|part| !part.trim().is_empty() && *part != ".")
}
