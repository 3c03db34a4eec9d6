//! Other names, on both sides.

use datamesh_api::{OperationsExt, RenameRequest};
use datamesh_core::MeshPath;

use crate::tree::{Content, Known, Local, LocalTree, RemoteTree};

use super::{Run, UNTOLD, settled};

impl Run<'_> {
    /// Gives a local file another name, because its own is needed. False where a version on the mesh has
    /// its content, so that nothing is lost when another takes its place.
    pub(super) async fn set_aside(
        &mut self,
        path: &MeshPath,
        to: &MeshPath,
        unless_stored: bool,
        local: &mut LocalTree,
    ) -> Result<bool, String> {
        let Some(Local::File { fingerprint, hash }) = local.get(path).cloned() else {
            return Ok(false);
        };
        if unless_stored
            && let Some(hash) = &hash
            && self.is_stored(path, hash).await?
        {
            return Ok(false);
        }
        let fingerprint = self.tree.rename(path, to, &fingerprint)?;
        local.remove(path);
        local.insert(to.clone(), Local::File { fingerprint, hash });
        Ok(true)
    }

    /// Follows a rename that was made on the mesh.
    pub(super) fn rename_local(
        &mut self,
        path: &MeshPath,
        to: &MeshPath,
        local: &mut LocalTree,
        remote_tree: &RemoteTree,
    ) -> Result<bool, String> {
        let (Some(Local::File { fingerprint, hash }), Some(remote)) =
            (local.get(path).cloned(), remote_tree.get(to))
        else {
            return Ok(false);
        };
        let fingerprint = self.tree.rename(path, to, &fingerprint)?;
        local.remove(path);
        local.insert(to.clone(), Local::File { fingerprint, hash });
        self.base.forget(path);
        let known = Known {
            content: remote.content,
            version: remote.version,
            fingerprint: settled(fingerprint),
        };
        self.base.know(to.clone(), known);
        self.prune([path.clone()].into(), remote_tree);
        Ok(true)
    }

    /// Lets the mesh follow a rename that was made here.
    pub(super) async fn rename_remote(
        &mut self,
        path: &MeshPath,
        to: &MeshPath,
        files: &[(MeshPath, MeshPath)],
        local: &LocalTree,
    ) -> Result<bool, String> {
        let (name, to) = (self.whole(path)?.to_string(), self.whole(to)?);
        let request = RenameRequest { name, to, replace: false };
        let reply = self.operations.rename(request).await.map_err(|error| error.message)?;
        self.report.pending = reply.pending;
        self.base.forget(path);
        for (from, to) in files {
            self.base.forget(from);
            let Some(Local::File { fingerprint, hash: Some(hash) }) = local.get(to) else {
                continue;
            };
            let content = Content::File { size: fingerprint.size, hash: *hash };
            let fingerprint = settled(*fingerprint);
            self.base.know(to.clone(), Known { content, version: UNTOLD, fingerprint });
        }
        Ok(true)
    }
}
