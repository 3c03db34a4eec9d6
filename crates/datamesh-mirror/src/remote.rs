//! Looking at the mesh folder.

use std::collections::BTreeSet;

use datamesh_api::{
    ErrorKind, FileVersion, ListEntry, ListRequest, OperationError, Operations, OperationsExt,
};
use datamesh_core::MeshPath;
use datamesh_core::catalog::EntryKind;

use crate::rules::Rules;
use crate::tree::{Content, Remote, RemoteTree};

/// Entries that are asked for at once.
const PAGE_ENTRIES: usize = 4000;

/// What is in the mesh folder.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Its files and empty folders.
    pub(crate) tree: RemoteTree,
    /// What is left out.
    pub(crate) ignored: BTreeSet<MeshPath>,
    /// What the mesh says of a folder that is not there.
    pub(crate) absent: Option<OperationError>,
}

/// The name on the mesh of what is named from the mirrored folder; nothing where it is too long.
pub(crate) fn whole(folder: Option<&MeshPath>, path: &MeshPath) -> Option<MeshPath> {
    match folder {
        Some(folder) => format!("{folder}/{path}").parse().ok(),
        None => Some(path.clone()),
    }
}

/// The name from the mirrored folder of what has this one on the mesh.
pub(crate) fn inner(folder: Option<&MeshPath>, path: &MeshPath) -> Option<MeshPath> {
    match folder {
        Some(folder) => path.below(folder)?.parse().ok(),
        None => Some(path.clone()),
    }
}

/// Lists everything below `folder`, page by page.
pub(crate) async fn list(
    operations: &dyn Operations,
    folder: Option<&MeshPath>,
    rules: &Rules,
) -> Result<Listed, OperationError> {
    let mut listed = Listed::default();
    let mut after = None;
    loop {
        let request = ListRequest {
            folder: folder.cloned(),
            recursive: true,
            limit: Some(PAGE_ENTRIES),
            after: after.take(),
            ..ListRequest::default()
        };
        let page = match operations.list(request).await {
            Ok(page) => page,
            // Nothing was stored there yet.
            Err(error) if error.kind == ErrorKind::NotFound => {
                listed.absent = Some(error);
                return Ok(listed);
            }
            Err(error) => return Err(error),
        };
        for entry in page.entries {
            let ListEntry::Entry(version) = entry else { continue };
            if Some(&version.path) == folder {
                let message = format!("\"{}\" is a file on the mesh, not a folder", version.path);
                return Err(
                    OperationError::usage(message).hint("name a folder: datamesh sync DIR FOLDER")
                );
            }
            let Some(path) = inner(folder, &version.path) else { continue };
            let Some(remote) = remote(version) else { continue };
            if rules.leaves_out_below(&path, remote.content == Content::Folder) {
                listed.ignored.insert(path);
            } else {
                listed.tree.insert(path, remote);
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(listed);
        }
    }
}

fn remote(version: FileVersion) -> Option<Remote> {
    let content = match (version.kind?, version.hash) {
        (EntryKind::Folder, _) => Content::Folder,
        (EntryKind::File, hash) => Content::File { size: version.size, hash: hash? },
    };
    let FileVersion { version, number, .. } = version;
    Some(Remote { content, version, number })
}
