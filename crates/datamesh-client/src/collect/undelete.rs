//! Taking a version back: a deleted or older version becomes the current one again, without moving
//! its bytes.

use std::collections::BTreeSet;

use datamesh_catalog::{Append, Contents, Version};
use datamesh_core::catalog::Change;
use datamesh_core::{BoxFuture, FileId, MeshPath, VersionId, seam};

use super::referring::Stand;
use crate::client::Client;
use crate::error::ClientError;
use crate::labels::note_of;
use crate::points;

/// What came of taking a version back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undeleted {
    /// The path.
    pub path: MeshPath,
    /// The new version, which has the content of the old one.
    pub version: VersionId,
    /// Operations that no quorum has yet.
    pub pending: u64,
}

impl Client {
    /// Makes a version of a path the current one again: the one with that number, or where there is
    /// none the newest that was not purged.
    ///
    /// # Errors
    /// [`ClientError::Purged`] and [`ClientError::NoVersion`] where there is none to take back,
    /// [`ClientError::NotRenewed`] where too few nodes still have its segments.
    pub fn undelete<'a>(
        &'a self,
        name: &'a str,
        number: Option<u64>,
    ) -> BoxFuture<'a, Result<Undeleted, ClientError>> {
        Box::pin(async move {
            self.know_newest().await?;
            let path = self.path_of(name).await?;
            let versions = self.versions(path.as_str()).await?;
            let current = versions.last().map(Version::id);
            let wanted = |version: &&Version| match number {
                Some(number) => version.number == number,
                None => version.put().is_some() && !version.purged,
            };
            let found = versions.iter().rev().find(wanted);
            let name = || path.to_string();
            let Some((found, old)) = found.and_then(|found| Some((found, found.put()?))) else {
                return Err(match number {
                    Some(version) => ClientError::NoVersion { name: name(), version },
                    None => ClientError::Purged { name: name() },
                });
            };
            if found.purged {
                return Err(ClientError::Purged { name: name() });
            }
            if current == Some(old.version) {
                return Err(ClientError::Current { name: name() });
            }
            let replaces = current.unwrap_or(VersionId([0; 16]));
            let at = path.clone();
            let file = self.catalog_call(move |catalog| catalog.file_at(&at)).await?;
            // One that has another name since is another file.
            let file = file.unwrap_or_else(|| FileId(seam::random(&*self.entropy)));
            let stand = Stand { path: path.clone(), file, replaces };
            let (mut contents, mut referred) = (Contents::default(), BTreeSet::new());
            let put = self.take_content(old, stand, &mut contents, &mut referred).await?;
            let version = put.version;
            let mut changes = vec![Change::Put(Box::new(put))];
            changes.extend(note_of(version, found.note.clone(), self.engine.now()));
            let append = Append {
                changes,
                contents: Some(contents),
                renew_published: referred.iter().copied().collect(),
                ..Append::default()
            };
            self.append_renewed(points::UNDELETE_COMMIT, append, &referred).await?;
            let pending = self.publish().await?.pending;
            self.renew_promised().await?;
            Ok(Undeleted { path, version, pending })
        })
    }
}
