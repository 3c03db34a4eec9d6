//! Actions from decisions, in the order in which they must be done: names are freed before they are
//! taken.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_api::EntryFailure;
use datamesh_core::MeshPath;

use crate::tree::{Content, Local, Remote};

use super::decide::Decision;
use super::renames::Moved;
use super::{Action, Kept, Plan, Terms, Trees};

/// Names with a number that are tried for a conflict copy.
const COPIES_MAX: usize = 1000;

/// Adds to `plan` what the decisions and renames mean.
pub(super) fn emit(
    trees: Trees<'_>,
    terms: &Terms,
    (decisions, aside): (BTreeMap<MeshPath, Decision>, BTreeMap<MeshPath, Decision>),
    moved: Moved,
    plan: &mut Plan,
) {
    let mut steps = Steps::default();
    for step in moved.remote {
        let (path, to, files) = (step.from, step.to, step.files);
        steps.renames.push(Action::RenameRemote { path, to, files });
    }
    let mut taken: BTreeSet<MeshPath> = BTreeSet::new();
    for (path, to) in moved.local {
        taken.insert(to.clone());
        steps.renames.push(Action::RenameLocal { path, to });
    }
    for (path, decision) in decisions {
        let (local, remote) = (trees.local.get(&path), trees.remote.get(&path));
        match decision {
            Decision::Nothing => {}
            Decision::Agree => plan.agreed.push(path),
            Decision::Forget => plan.forgotten.push(path),
            Decision::Keep(reason) => plan.kept.push(Kept { path, reason }),
            Decision::Upload => steps.upload(path, local),
            Decision::Download => steps.fetch(path, local, remote),
            Decision::RemoveRemote => steps.removals.push(Action::RemoveRemote { path }),
            Decision::RemoveLocal => steps.remove(path, local, false),
            Decision::RemoveStored => steps.remove(path, local, true),
            Decision::Conflict | Decision::SetAside => {
                let Some(copy) = copy_name(trees, terms, &mut taken, &path) else {
                    plan.refused.push(no_copy(&path));
                    continue;
                };
                let unless_stored = decision == Decision::SetAside;
                let aside =
                    Action::SetAside { path: path.clone(), to: copy.clone(), unless_stored };
                steps.asides.push(aside);
                if !unless_stored {
                    steps.upload(copy, local);
                }
                steps.fetch(path, None, remote);
            }
        }
    }
    for (path, decision) in aside {
        let copies = (
            copy_name(trees, terms, &mut taken, &path),
            copy_name(trees, terms, &mut taken, &path),
        );
        match copies {
            (Some(copy), Some(other)) => {
                steps.step_aside(trees, path, decision, (copy, other));
            }
            _ => plan.refused.push(no_copy(&path)),
        }
    }
    // What lies deeper first, so that a folder is empty when its turn comes.
    steps.removals.reverse();
    plan.actions = [
        steps.asides,
        steps.removals,
        steps.renames,
        steps.folders,
        steps.uploads,
        steps.downloads,
    ]
    .into_iter()
    .flatten()
    .collect();
}

#[derive(Default)]
struct Steps {
    asides: Vec<Action>,
    removals: Vec<Action>,
    renames: Vec<Action>,
    folders: Vec<Action>,
    uploads: Vec<Action>,
    downloads: Vec<Action>,
}

impl Steps {
    fn upload(&mut self, path: MeshPath, local: Option<&Local>) {
        let size = match local {
            Some(Local::File { fingerprint, .. }) => fingerprint.size,
            _ => 0,
        };
        self.uploads.push(Action::Upload { path, size });
    }

    fn remove(&mut self, path: MeshPath, local: Option<&Local>, if_stored: bool) {
        self.removals.push(match local {
            Some(Local::Folder { .. }) => Action::RemoveFolder { path },
            _ => Action::RemoveLocal { path, if_stored },
        });
    }

    /// Gives a file another name on both sides, because its own is that of a folder now.
    fn step_aside(
        &mut self,
        trees: Trees<'_>,
        path: MeshPath,
        decision: Decision,
        (copy, other): (MeshPath, MeshPath),
    ) {
        let local = trees.local.get(&path).filter(|local| matches!(local, Local::File { .. }));
        let remote = trees.remote.get(&path);
        let rename = |to: &MeshPath, files| Action::RenameRemote {
            path: path.clone(),
            to: to.clone(),
            files,
        };
        let aside = Action::SetAside { path: path.clone(), to: copy.clone(), unless_stored: false };
        match (local, remote, decision) {
            (None, _, _) => self.renames.push(rename(&copy, Vec::new())),
            // What is here is an old version of what is there.
            (Some(_), Some(_), Decision::Download) => {
                self.renames.push(rename(&copy, Vec::new()));
                self.removals.push(Action::RemoveLocal { path, if_stored: false });
            }
            (Some(_), Some(_), Decision::Nothing | Decision::Agree) => {
                self.asides.push(aside);
                let files = vec![(path.clone(), copy.clone())];
                self.renames.push(rename(&copy, files));
            }
            (local, remote, decision) => {
                self.asides.push(aside);
                match remote {
                    Some(_) if decision == Decision::Conflict => {
                        self.renames.push(rename(&other, Vec::new()));
                    }
                    Some(_) => self.removals.push(Action::RemoveRemote { path }),
                    None => {}
                }
                self.upload(copy, local);
            }
        }
    }

    /// Brings what is on the mesh in the place of `local`.
    fn fetch(&mut self, path: MeshPath, local: Option<&Local>, remote: Option<&Remote>) {
        let Some(remote) = remote else { return };
        match (remote.content, local) {
            (Content::Folder, Some(Local::File { .. })) => {
                self.removals.push(Action::RemoveLocal { path: path.clone(), if_stored: false });
                self.folders.push(Action::MakeFolder { path });
            }
            (Content::Folder, _) => self.folders.push(Action::MakeFolder { path }),
            (Content::File { size, .. }, local) => {
                if matches!(local, Some(Local::Folder { empty: true })) {
                    self.removals.push(Action::RemoveFolder { path: path.clone() });
                }
                self.downloads.push(Action::Download { path, size });
            }
        }
    }
}

/// Why a file that cannot keep its name is left alone.
fn no_copy(path: &MeshPath) -> EntryFailure {
    let reason = "both sides have something else there, and its name leaves no room for that of a \
                  conflict copy: rename it here";
    EntryFailure { path: path.to_string(), reason: reason.to_owned() }
}

/// A name for a conflict copy that nobody has, which is taken from then on.
fn copy_name(
    trees: Trees<'_>,
    terms: &Terms,
    taken: &mut BTreeSet<MeshPath>,
    path: &MeshPath,
) -> Option<MeshPath> {
    let is_free = |name: &MeshPath| {
        !trees.local.contains_key(name)
            && !trees.remote.contains_key(name)
            && !trees.ignored.contains(name)
            && !trees.base.contains_key(name)
            && !taken.contains(name)
    };
    let free = (1..COPIES_MAX).find_map(|number| {
        let name = match number {
            1 => path.beside(&format!("({})", terms.mark))?,
            _ => path.beside(&format!("({} {number})", terms.mark))?,
        };
        is_free(&name).then_some(name)
    })?;
    taken.insert(free.clone());
    Some(free)
}
