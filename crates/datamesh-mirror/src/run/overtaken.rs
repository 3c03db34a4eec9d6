//! What another device did between the look at the mesh folder and the step that was decided by it.
//!
//! A put makes its version the newest whatever is there, and a delete marker hides whatever is there.
//! Where that was not what the step was decided by, the other device's version would be no more than an
//! entry in a list. So each step looks back: the version before its own must be the one that was seen.
//! Where it is another one, it gets a name of its own as a conflict copy, or is taken back. A version
//! that this device did not know of is none of this: the catalog lists it beside the other by itself.

use datamesh_api::{
    DuplicateRequest, ErrorKind, FileVersion, OperationError, OperationsExt, StoredFile,
    UndeleteRequest,
};
use datamesh_core::{MeshPath, VersionId};
use futures::StreamExt;

use crate::plan::{Direction, Terms};
use crate::remote;
use crate::tree::{Content, RemoteTree};

use super::Run;

/// Files whose versions are asked for one by one; beyond, one more listing says which are worth it.
const ASKED_MAX: usize = 64;

/// Names that are tried for a conflict copy.
const COPIES_MAX: usize = 100;

impl Run<'_> {
    /// Looks back at what was stored.
    pub(super) async fn check_stored(
        &mut self,
        stored: Vec<(MeshPath, StoredFile)>,
        remote: &RemoteTree,
        terms: &Terms,
    ) {
        if terms.direction != Direction::Both || stored.is_empty() {
            return;
        }
        let suspects = match self.suspects(stored, remote).await {
            Ok(suspects) => suspects,
            Err(error) => {
                self.report.stopped.get_or_insert(error);
                return;
            }
        };
        for (path, version) in suspects {
            if let Err(error) = self.check_one(&path, version, remote, terms).await {
                self.report.stopped.get_or_insert(error);
                return;
            }
        }
    }

    /// Those that another version may have come before: all of a few, and of many those whose number is
    /// not the next.
    async fn suspects(
        &self,
        stored: Vec<(MeshPath, StoredFile)>,
        remote: &RemoteTree,
    ) -> Result<Vec<(MeshPath, VersionId)>, OperationError> {
        let all = stored.into_iter().map(|(path, file)| (path, file.version));
        if all.len() <= ASKED_MAX {
            return Ok(all.collect());
        }
        let rules = crate::rules::Rules::new(&[])
            .map_err(|error| OperationError::of(ErrorKind::Failed, &error))?;
        let now = remote::list(self.operations, self.remote, &rules).await?;
        let expected = |(path, version): &(MeshPath, VersionId)| {
            let before = remote.get(path).map_or(0, |remote| remote.number);
            let found = now.tree.get(path);
            found.is_some_and(|it| it.version == *version && it.number == before + 1)
        };
        Ok(all.filter(|entry| !expected(entry)).collect())
    }

    async fn check_one(
        &mut self,
        path: &MeshPath,
        version: VersionId,
        remote: &RemoteTree,
        terms: &Terms,
    ) -> Result<(), OperationError> {
        let Ok(whole) = self.whole(path) else { return Ok(()) };
        let versions = self.versions(&whole).await?;
        let Some(at) = versions.iter().position(|found| found.version == version) else {
            return Ok(());
        };
        let Some(before) = versions.get(at + 1) else { return Ok(()) };
        let own = versions[at].hash;
        if is_expected(before, path, remote) || before.hash == own {
            return Ok(());
        }
        for number in 1..COPIES_MAX {
            let mark = match number {
                1 => format!("({})", terms.mark),
                _ => format!("({} {number})", terms.mark),
            };
            let Some(to) = whole.beside(&mark) else {
                let reason = "another device changed it at the same time; its version is the one \
                              before the newest";
                self.fail(path, reason.to_owned());
                return Ok(());
            };
            let request = DuplicateRequest {
                name: whole.to_string(),
                to,
                version: Some(before.number),
                recursive: false,
                replace: false,
            };
            match self.operations.duplicate(request).await {
                Ok(reply) => {
                    self.report.pending = reply.pending;
                    return Ok(());
                }
                // Something has that name.
                Err(error) if error.kind == ErrorKind::Usage => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Looks back at what was marked as deleted.
    pub(super) async fn check_removed(
        &mut self,
        paths: &[MeshPath],
        remote: &RemoteTree,
        terms: &Terms,
    ) {
        if terms.direction != Direction::Both {
            return;
        }
        let asked: Vec<(MeshPath, MeshPath)> =
            paths.iter().filter_map(|path| Some((path.clone(), self.whole(path).ok()?))).collect();
        let this = &*self;
        let found: Vec<_> = futures::stream::iter(asked)
            .map(|(path, whole)| async move {
                let versions = this.versions(&whole).await;
                (path, whole, versions)
            })
            .buffer_unordered(self.options.parallel.max(1))
            .collect()
            .await;
        for (path, whole, versions) in found {
            let versions = match versions {
                Ok(versions) => versions,
                Err(error) => {
                    self.report.stopped.get_or_insert(error);
                    return;
                }
            };
            let [marker, before, ..] = versions.as_slice() else { continue };
            if !marker.deleted || is_expected(before, &path, remote) {
                continue;
            }
            let request = UndeleteRequest { name: whole.to_string(), version: Some(before.number) };
            match self.operations.undelete(request).await {
                Ok(reply) => self.report.pending = reply.pending,
                Err(error) => self.fail(&path, error.message),
            }
        }
    }
}

/// Whether a version is what the step was decided by, or has nothing to lose.
fn is_expected(before: &FileVersion, path: &MeshPath, remote: &RemoteTree) -> bool {
    let Some(hash) = before.hash.filter(|_| !before.deleted && !before.purged) else { return true };
    match remote.get(path) {
        Some(seen) if seen.version == before.version => true,
        Some(seen) => match seen.content {
            Content::File { hash: seen, .. } => seen == hash,
            Content::Folder => false,
        },
        None => false,
    }
}
