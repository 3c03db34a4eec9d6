//! Carries a plan out, step by step, and notes in the base what both sides have in common then.
//!
//! Every step that fails is listed and the others go on; an error that concerns all that follows, such
//! as a full disk or a network that is gone, ends the pass. What was done stays, and the next pass goes
//! on from there.

mod download;
mod overtaken;
mod rename;
mod upload;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use datamesh_api::{
    EntryFailure, ErrorKind, EventFn, FileVersion, OperationError, Operations, OperationsExt,
    RemoveRequest, Totals, VersionsRequest,
};
use datamesh_core::{Hash, MeshPath, VersionId};

use crate::base::Base;
use crate::fingerprint::{self, Fingerprint};
use crate::local::{Tree, reason};
use crate::mirror::Options;
use crate::plan::{Action, Terms};
use crate::remote::{self, Listed};
use crate::report::Report;
use crate::tree::{Content, Known, Local, LocalTree, RemoteTree};

/// Names that one request to remove has.
const REMOVALS: usize = 1000;

/// The version of what was stored without being told.
const UNTOLD: VersionId = VersionId([0; 16]);

/// A pass that does what was planned.
pub(crate) struct Run<'a> {
    operations: &'a dyn Operations,
    root: &'a Path,
    tree: Tree,
    remote: Option<&'a MeshPath>,
    options: &'a Options,
    base: &'a mut Base,
    report: &'a mut Report,
    totals: Totals,
}

impl<'a> Run<'a> {
    /// A run over the tree below `root`.
    ///
    /// # Errors
    /// [`OperationError`] where the folder cannot be opened any more.
    pub(crate) fn new(
        operations: &'a dyn Operations,
        root: &'a Path,
        remote: Option<&'a MeshPath>,
        options: &'a Options,
        base: &'a mut Base,
        report: &'a mut Report,
        events: EventFn,
    ) -> Result<Self, OperationError> {
        let tree = Tree::open(root).map_err(|error| {
            let message = format!("\"{}\" cannot be opened: {}", root.display(), reason(&error));
            OperationError::new(ErrorKind::Failed, message)
        })?;
        let totals = Totals::new(events);
        Ok(Self { operations, root, tree, remote, options, base, report, totals })
    }

    /// Notes what both sides have alike already.
    pub(crate) fn agree(
        &mut self,
        agreed: Vec<MeshPath>,
        local: &LocalTree,
        remote: &RemoteTree,
        begun: u64,
    ) {
        for path in agreed {
            let Some(remote) = remote.get(&path) else { continue };
            let fingerprint = match local.get(&path) {
                Some(Local::File { fingerprint, .. }) => Some(*fingerprint),
                _ => None,
            };
            let fingerprint = fingerprint.filter(|fingerprint| fingerprint.settled(begun));
            let known = Known { content: remote.content, version: remote.version, fingerprint };
            self.base.know(path, known);
        }
    }

    /// Does all of it.
    pub(crate) async fn all(
        &mut self,
        actions: Vec<Action>,
        local: &mut LocalTree,
        listed: &mut Listed,
        terms: &Terms,
    ) {
        let (mut removals, mut uploads, mut downloads) = (Vec::new(), Vec::new(), Vec::new());
        let (mut freed, mut blocked) = (BTreeSet::new(), BTreeSet::new());
        for action in actions {
            if self.report.stopped.is_some() {
                return;
            }
            let done = match &action {
                Action::RemoveRemote { path } => {
                    removals.push(path.clone());
                    continue;
                }
                Action::Upload { path, .. } => {
                    uploads.push(path.clone());
                    continue;
                }
                Action::Download { path, .. } => {
                    downloads.push(path.clone());
                    continue;
                }
                Action::SetAside { path, to, unless_stored } => {
                    self.set_aside(path, to, *unless_stored, local).await
                }
                Action::RenameLocal { path, to } => {
                    self.rename_local(path, to, local, &listed.tree)
                }
                Action::RenameRemote { path, to, files } => {
                    self.rename_remote(path, to, files, local).await
                }
                Action::RemoveLocal { path, if_stored } => {
                    let done = self.remove_local(path, *if_stored, local).await;
                    if let Ok(true) = done {
                        freed.insert(path.clone());
                    }
                    done
                }
                Action::RemoveFolder { path } => self.remove_folder(path),
                Action::MakeFolder { path } => self.make_folder(path, &listed.tree),
            };
            match done {
                Ok(true) => self.report.actions.push(action),
                Ok(false) => {}
                Err(reason) => {
                    // What could not be set aside must not be overwritten.
                    blocked.insert(path_of(&action).clone());
                    self.fail(path_of(&action), reason);
                }
            }
        }
        downloads.retain(|path| !blocked.contains(path));
        self.prune(freed, &listed.tree);
        self.remove_remote(removals, &listed.tree, terms).await;
        if self.report.stopped.is_none() {
            self.upload(uploads, local, &listed.tree, terms).await;
        }
        if self.report.stopped.is_none() {
            self.download(downloads, local, listed).await;
        }
    }

    fn fail(&mut self, path: &MeshPath, reason: String) {
        self.report.failed.push(EntryFailure { path: path.to_string(), reason });
    }

    /// The name on the mesh.
    fn whole(&self, path: &MeshPath) -> Result<MeshPath, String> {
        remote::whole(self.remote, path)
            .ok_or_else(|| "its name on the mesh would be longer than 4096 bytes".to_owned())
    }

    /// The versions of a path, the newest first.
    async fn versions(&self, whole: &MeshPath) -> Result<Vec<FileVersion>, OperationError> {
        let request = VersionsRequest { name: whole.to_string() };
        match self.operations.versions(request).await {
            Ok(reply) => Ok(reply.versions),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Whether a version of the path on the mesh has this content and can be fetched.
    async fn is_stored(&self, path: &MeshPath, hash: &Hash) -> Result<bool, String> {
        let versions = self.versions(&self.whole(path)?).await.map_err(|error| error.message)?;
        let mut there = versions.iter().filter(|it| !it.purged && !it.deleted);
        Ok(there.any(|version| version.hash == Some(*hash)))
    }

    /// Whether the mesh ever had a version of the path with this content, purged or not. What a pass stored
    /// and nobody was told of is lost with a catalog that is restored: the base knows it, the mesh does not, and
    /// nobody deleted or replaced it.
    async fn was_told(&self, path: &MeshPath, local: &Local) -> Result<bool, String> {
        let Local::File { hash: Some(hash), .. } = local else { return Ok(false) };
        let versions = self.versions(&self.whole(path)?).await.map_err(|error| error.message)?;
        Ok(versions.iter().any(|version| version.hash == Some(*hash)))
    }

    /// Leaves a file as it is whose content the mesh never had, for the next pass to store it.
    fn keep_untold(&mut self, path: &MeshPath) {
        let reason = "the mesh has never heard of its content";
        self.report.kept.push(crate::plan::Kept { path: path.clone(), reason });
        self.base.forget(path);
    }

    /// Removes a local file. False where its content is not known to be on the mesh, or never was, so that it
    /// stays.
    async fn remove_local(
        &mut self,
        path: &MeshPath,
        if_stored: bool,
        local: &mut LocalTree,
    ) -> Result<bool, String> {
        let Some(file @ Local::File { fingerprint, hash }) = local.get(path) else {
            return Ok(false);
        };
        if if_stored {
            let stored = match hash {
                Some(hash) => self.is_stored(path, hash).await?,
                None => false,
            };
            if !stored {
                let reason = "no version on the mesh has its content";
                self.report.kept.push(crate::plan::Kept { path: path.clone(), reason });
                return Ok(false);
            }
        }
        if !if_stored && !self.was_told(path, file).await? {
            self.keep_untold(path);
            return Ok(false);
        }
        self.tree.remove(path, fingerprint)?;
        local.remove(path);
        self.base.forget(path);
        Ok(true)
    }

    fn remove_folder(&mut self, path: &MeshPath) -> Result<bool, String> {
        let removed = self.tree.remove_folder(path)?;
        if removed {
            self.base.forget(path);
        }
        Ok(removed)
    }

    fn make_folder(&mut self, path: &MeshPath, remote: &RemoteTree) -> Result<bool, String> {
        self.tree.make_folder(path)?;
        let version = remote.get(path).map_or(UNTOLD, |remote| remote.version);
        let known = Known { content: Content::Folder, version, fingerprint: None };
        self.base.know(path.clone(), known);
        Ok(true)
    }

    /// Removes the folders that are empty since these files went, but for those that are entries of
    /// their own on the mesh.
    fn prune(&mut self, freed: BTreeSet<MeshPath>, remote: &RemoteTree) {
        let mut folders = BTreeMap::new();
        for path in &freed {
            for folder in crate::tree::folders_of(path) {
                folders.insert(folder, ());
            }
        }
        // Backwards, what lies deeper comes first.
        let is_entry = |folder: &MeshPath| {
            remote.get(folder).is_some_and(|remote| remote.content == Content::Folder)
        };
        for folder in folders.into_keys().rev().filter(|folder| !is_entry(folder)) {
            if let Err(reason) = self.tree.remove_folder(&folder) {
                tracing::debug!(%folder, reason, "an empty folder stays");
            }
        }
    }

    async fn remove_remote(&mut self, paths: Vec<MeshPath>, remote: &RemoteTree, terms: &Terms) {
        for batch in paths.chunks(REMOVALS) {
            let mut names = BTreeMap::new();
            for path in batch {
                match self.whole(path) {
                    Ok(whole) => drop(names.insert(whole.to_string(), path.clone())),
                    Err(reason) => self.fail(path, reason),
                }
            }
            match self.marked(names.keys().cloned().collect()).await {
                Ok(()) => self.note_removed(names.into_values()),
                // Something is gone already, so that nothing was removed: one by one.
                Err(error) if error.kind == ErrorKind::NotFound && names.len() > 1 => {
                    for (name, path) in names {
                        match self.marked(vec![name]).await {
                            Ok(()) => self.note_removed([path]),
                            Err(error) if error.kind == ErrorKind::NotFound => {
                                self.base.forget(&path);
                            }
                            Err(error) => self.fail(&path, error.message),
                        }
                    }
                }
                Err(error) if error.kind == ErrorKind::NotFound => {
                    for path in batch {
                        self.base.forget(path);
                    }
                }
                Err(error) => {
                    self.report.stopped = Some(error);
                    return;
                }
            }
        }
        self.check_removed(&paths, remote, terms).await;
    }

    async fn marked(&mut self, names: Vec<String>) -> Result<(), OperationError> {
        if names.is_empty() {
            return Ok(());
        }
        let reply = self.operations.remove(RemoveRequest { names, recursive: false }).await?;
        self.report.pending = reply.pending;
        Ok(())
    }

    fn note_removed(&mut self, paths: impl IntoIterator<Item = MeshPath>) {
        for path in paths {
            self.base.forget(&path);
            self.report.actions.push(Action::RemoveRemote { path });
        }
    }
}

/// The state of a file where a later change is sure to show in it.
fn settled(fingerprint: Fingerprint) -> Option<Fingerprint> {
    fingerprint.settled(fingerprint::now()).then_some(fingerprint)
}

/// The name that an action is about.
fn path_of(action: &Action) -> &MeshPath {
    match action {
        Action::SetAside { path, .. }
        | Action::RenameLocal { path, .. }
        | Action::RenameRemote { path, .. }
        | Action::RemoveLocal { path, .. }
        | Action::RemoveFolder { path }
        | Action::RemoveRemote { path }
        | Action::MakeFolder { path }
        | Action::Upload { path, .. }
        | Action::Download { path, .. } => path,
    }
}
