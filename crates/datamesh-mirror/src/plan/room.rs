//! Whether what comes from the mesh has room in the local folder: not where a file would have to be
//! a folder too, nor where the file system takes two names for one. In a mirror of both directions the
//! file steps aside for the folder, on both sides; a one-way mirror lists it.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_api::EntryFailure;
use datamesh_core::MeshPath;

use crate::tree::{Content, Local, first_below, folders_of};

use super::decide::Decision;
use super::{Direction, Plan, Terms, Trees};

type Decisions = BTreeMap<MeshPath, Decision>;

/// Takes what has no room out of the decisions and lists it. Returns the files that step aside, with what
/// was decided about them.
pub(super) fn make(
    trees: Trees<'_>,
    terms: &Terms,
    decisions: &mut Decisions,
    plan: &mut Plan,
) -> Decisions {
    let mut aside = Decisions::new();
    if terms.direction == Direction::Up {
        return aside;
    }
    if terms.folding.folds() {
        fold(trees, terms, decisions, plan);
    }
    // Files that will be there, and empty folders.
    let mut there: BTreeMap<MeshPath, ()> = BTreeMap::new();
    for (path, local) in trees.local {
        // What goes only where a version has it may stay.
        let goes = matches!(decisions.get(path), Some(Decision::RemoveLocal));
        if !goes && !local.is_full_folder() {
            there.insert(path.clone(), ());
        }
    }
    there.extend(coming(decisions).map(|path| (path.clone(), ())));
    let is_file = |path: &MeshPath| match (decisions.get(path), trees.local.get(path)) {
        (Some(decision), _) if comes(*decision) => {
            trees.remote.get(path).is_some_and(|remote| remote.content != Content::Folder)
        }
        (_, local) => matches!(local, Some(Local::File { .. })),
    };
    let mut refused = Vec::new();
    for path in coming(decisions) {
        let above = folders_of(path).find(|folder| there.contains_key(folder) && is_file(folder));
        if terms.direction == Direction::Both {
            let inner = is_file(path).then(|| first_below(&there, path)).flatten();
            let stepping = above.into_iter().chain(inner.map(|_| path.clone()));
            for path in stepping {
                let decision = decisions.get(&path).copied().unwrap_or(Decision::Nothing);
                aside.insert(path, decision);
            }
            continue;
        }
        let reason = match (above, is_file(path).then(|| first_below(&there, path)).flatten()) {
            (Some(above), _) => format!("\"{above}\" is a file, and would have to be a folder too"),
            (None, Some(inner)) => format!("it would have to be a folder too, for \"{inner}\""),
            (None, None) => continue,
        };
        refused.push(EntryFailure { path: path.to_string(), reason });
    }
    refuse(decisions, plan, refused);
    decisions.retain(|path, _| !aside.contains_key(path));
    aside
}

fn comes(decision: Decision) -> bool {
    matches!(decision, Decision::Download | Decision::Conflict | Decision::SetAside)
}

fn coming(decisions: &Decisions) -> impl Iterator<Item = &MeshPath> {
    decisions.iter().filter(|(_, decision)| comes(**decision)).map(|(path, _)| path)
}

fn refuse(decisions: &mut Decisions, plan: &mut Plan, refused: Vec<EntryFailure>) {
    for failure in refused {
        decisions.retain(|path, _| path.as_str() != failure.path);
        plan.refused.push(failure);
    }
}

/// Of names that the file system takes for one, the one that is there stays, or else the first; the
/// others are left on the mesh.
fn fold(trees: Trees<'_>, terms: &Terms, decisions: &mut Decisions, plan: &mut Plan) {
    let mut taken: BTreeMap<String, MeshPath> = BTreeMap::new();
    let mut take = |path: &MeshPath| -> Option<MeshPath> {
        // The folders on the way are names too.
        for part in folders_of(path).chain([path.clone()]) {
            match taken.get(&terms.folding.key(part.as_str())) {
                Some(other) if *other != part => return Some(other.clone()),
                _ => {}
            }
        }
        for part in folders_of(path).chain([path.clone()]) {
            taken.insert(terms.folding.key(part.as_str()), part);
        }
        None
    };
    let goes = |path: &MeshPath| matches!(decisions.get(path), Some(Decision::RemoveLocal));
    for path in trees.local.keys().filter(|path| !goes(path)) {
        take(path);
    }
    let mut refused = Vec::new();
    let names: BTreeSet<&MeshPath> = coming(decisions).collect();
    for path in names {
        if let Some(other) = take(path) {
            let reason = format!("the file system here takes its name for that of \"{other}\"");
            refused.push(EntryFailure { path: path.to_string(), reason });
        }
    }
    refuse(decisions, plan, refused);
}
