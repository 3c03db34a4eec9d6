//! What is to be done so that two folders become alike: a pure function of three trees.
//!
//! Nothing here opens a file, asks a clock or calls the mesh. [`questions`] says which local files
//! must be read before it can be judged, [`plan`] says what to do.
//!
//! Promised, and held by property tests: a plan removes or replaces a local file only where the base
//! says that its content is on the mesh, or marks that this is to be looked up first; where both
//! sides changed a file, both stay; a side that was changed is never overwritten by one that was
//! not, but in a one-way mirror, whose target gets a new version or keeps a copy.

mod decide;
mod emit;
mod renames;
mod room;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use datamesh_api::EntryFailure;
use datamesh_core::{Hash, MeshPath};
use serde::Serialize;

use crate::folding::Folding;
use crate::tree::{Content, KnownTree, Local, LocalTree, RemoteTree};

use self::decide::{Decision, decide};

/// Which side follows which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The mesh folder follows the local one.
    Up,
    /// The local folder follows the mesh.
    Down,
    /// Each takes over what changed in the other.
    Both,
}

/// How to plan.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Which side follows which.
    pub direction: Direction,
    /// A one-way mirror also removes from its target what no earlier pass knows.
    pub delete_unknown: bool,
    /// Entries may be removed at all: the base is believed, and the mesh was listed to its end.
    pub may_delete: bool,
    /// What names the local file system takes for the same.
    pub folding: Folding,
    /// What stands in the names of conflict copies, for instance `conflict 4f1c9a2b 2026-11-23`.
    pub mark: String,
}

/// The trees of a pass.
#[derive(Debug, Clone, Copy)]
pub struct Trees<'a> {
    /// The local folder.
    pub local: &'a LocalTree,
    /// The mesh folder, without what is ignored.
    pub remote: &'a RemoteTree,
    /// What is on the mesh and is ignored.
    pub ignored: &'a BTreeSet<MeshPath>,
    /// What both had when they were last alike.
    pub base: &'a KnownTree,
    /// Local names, and all below them, that could not be looked at: nothing is said of them.
    pub unseen: &'a BTreeSet<MeshPath>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Give a local file another name, because its own is needed for what is on the mesh.
    SetAside {
        /// The file.
        path: MeshPath,
        /// Its name from then on.
        to: MeshPath,
        /// Not needed where a version on the mesh has its content.
        unless_stored: bool,
    },
    /// Follow a rename on the mesh.
    RenameLocal {
        /// The old name.
        path: MeshPath,
        /// The new name.
        to: MeshPath,
    },
    /// Follow a local rename, of a file or of a folder with everything below it.
    RenameRemote {
        /// The old name.
        path: MeshPath,
        /// The new name.
        to: MeshPath,
        /// The files' old and new names.
        #[serde(skip)]
        files: Vec<(MeshPath, MeshPath)>,
    },
    /// Remove a local file.
    RemoveLocal {
        /// The file.
        path: MeshPath,
        /// Only where a version on the mesh has its content: the base does not say so.
        if_stored: bool,
    },
    /// Remove an empty local folder.
    RemoveFolder {
        /// The folder.
        path: MeshPath,
    },
    /// Mark as deleted on the mesh.
    RemoveRemote {
        /// The entry.
        path: MeshPath,
    },
    /// Make a local folder.
    MakeFolder {
        /// The folder.
        path: MeshPath,
    },
    /// Store a local file or empty folder.
    Upload {
        /// The entry.
        path: MeshPath,
        /// Bytes when it was looked at.
        size: u64,
    },
    /// Fetch a file.
    Download {
        /// The file.
        path: MeshPath,
        /// Bytes.
        size: u64,
    },
}

/// Something in a mirror's target that its source does not have and that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Its name.
    pub path: MeshPath,
    /// Why it stays.
    pub reason: &'static str,
}

/// What is to be done.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// In the order in which it must be done.
    pub actions: Vec<Action>,
    /// Names at which both sides are alike and the base does not say so yet.
    pub agreed: Vec<MeshPath>,
    /// Names that the base still has and nobody else.
    pub forgotten: Vec<MeshPath>,
    /// What stays in the target of a mirror though its source does not have it.
    pub kept: Vec<Kept>,
    /// What cannot be done, and why.
    pub refused: Vec<EntryFailure>,
    /// Files and empty folders at which nothing changed.
    pub unchanged: u64,
}

/// The local files whose content must be known before a plan can be made: those that changed and
/// may nevertheless be the same, or be another's new name.
pub fn questions(trees: Trees<'_>, direction: Direction) -> Vec<MeshPath> {
    // Sizes of files that the local folder had and has no longer.
    let mut gone = BTreeSet::new();
    if direction != Direction::Down {
        for (path, known) in trees.base {
            if let Content::File { size, .. } = known.content
                && size > 0
                && !matches!(trees.local.get(path), Some(Local::File { .. }))
            {
                gone.insert(size);
            }
        }
    }
    let size_at = |content: Option<&Content>| match content {
        Some(Content::File { size, .. }) => Some(*size),
        _ => None,
    };
    let asked = |(path, local): (&MeshPath, &Local)| {
        let Local::File { fingerprint, hash: None } = local else { return None };
        let size = Some(fingerprint.size);
        let base = trees.base.get(path).map(|known| &known.content);
        let remote = trees.remote.get(path).map(|remote| &remote.content);
        let wanted = size_at(base) == size
            || size_at(remote) == size
            || base.is_none() && remote.is_none() && gone.contains(&fingerprint.size)
            || direction == Direction::Down;
        wanted.then(|| path.clone())
    };
    trees.local.iter().filter_map(asked).collect()
}

/// Says what to do.
pub fn plan(trees: Trees<'_>, terms: &Terms) -> Plan {
    let mut plan = Plan::default();
    let mut decisions = BTreeMap::new();
    for path in names(trees) {
        match decide(trees, terms, path) {
            Decision::Nothing => {
                let full = trees.local.get(path).is_some_and(Local::is_full_folder);
                plan.unchanged += u64::from(!full);
            }
            decision => {
                decisions.insert(path.clone(), decision);
            }
        }
    }
    let aside = room::make(trees, terms, &mut decisions, &mut plan);
    let moved = renames::find(trees, terms, &mut decisions);
    emit::emit(trees, terms, (decisions, aside), moved, &mut plan);
    plan
}

/// All names, each once, but for those that nothing is said of.
fn names(trees: Trees<'_>) -> BTreeSet<&MeshPath> {
    let all = trees.local.keys().chain(trees.remote.keys()).chain(trees.base.keys());
    let seen = |path: &&MeshPath| !is_unseen(trees.unseen, path);
    all.filter(seen).collect()
}

fn is_unseen(unseen: &BTreeSet<MeshPath>, path: &MeshPath) -> bool {
    !unseen.is_empty()
        && (unseen.contains(path)
            || crate::tree::folders_of(path).any(|folder| unseen.contains(&folder)))
}

/// The content of a file with this hash and size; what has no hash yet matches nothing.
fn file_hash(local: Option<&Local>) -> Option<(Hash, u64)> {
    match local {
        Some(Local::File { fingerprint, hash: Some(hash) }) => Some((*hash, fingerprint.size)),
        _ => None,
    }
}
