//! Files that have another name, found by their content, so that no byte of them is moved.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_core::{Hash, MeshPath};

use crate::tree::{Content, Local, below, first_below, folders_of};

use super::decide::Decision;
use super::{Direction, Terms, Trees, file_hash};

/// Files that have another name on one side, which the other is to follow.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Old and new names that the mesh follows, folders as a whole where all of one moved.
    pub(super) remote: Vec<Step>,
    /// Old and new names that the local folder follows.
    pub(super) local: Vec<(MeshPath, MeshPath)>,
}

/// One rename on the mesh.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) from: MeshPath,
    pub(super) to: MeshPath,
    /// The files that move with it.
    pub(super) files: Vec<(MeshPath, MeshPath)>,
}

/// Takes renames out of the decisions.
pub(super) fn find(
    trees: Trees<'_>,
    terms: &Terms,
    decisions: &mut BTreeMap<MeshPath, Decision>,
) -> Moved {
    let mut moved = Moved::default();
    if terms.direction != Direction::Down {
        let gone = |path: &MeshPath| {
            let (known, remote) = (trees.base.get(path)?, trees.remote.get(path)?);
            remote.is(known).then(|| file(&known.content)).flatten()
        };
        let came = |path: &MeshPath| {
            let free = !trees.remote.contains_key(path)
                && !trees.base.contains_key(path)
                && first_below(trees.remote, path).is_none();
            free.then(|| file_hash(trees.local.get(path))).flatten().filter(|(_, size)| *size > 0)
        };
        let pairs = pair(decisions, (Decision::RemoveRemote, &gone), (Decision::Upload, &came));
        moved.remote = together(trees, pairs);
    }
    if terms.direction != Direction::Up {
        let gone = |path: &MeshPath| file_hash(trees.local.get(path));
        let came = |path: &MeshPath| {
            let content = &trees.remote.get(path)?.content;
            // A file that is in the way, where a folder must be, is not gone before all renames are done.
            let is_file =
                |path: MeshPath| matches!(trees.local.get(&path), Some(Local::File { .. }));
            let free = !trees.local.contains_key(path) && !folders_of(path).any(is_file);
            free.then(|| file(content)).flatten()
        };
        moved.local = pair(decisions, (Decision::RemoveLocal, &gone), (Decision::Download, &came));
    }
    moved
}

/// Hash and size of a file with content.
fn file(content: &Content) -> Option<(Hash, u64)> {
    match content {
        Content::File { size, hash } if *size > 0 => Some((*hash, *size)),
        _ => None,
    }
}

/// A decision, and the content of the names that it was made for.
type Side<'a> = (Decision, &'a dyn Fn(&MeshPath) -> Option<(Hash, u64)>);

/// Pairs names that go with names that come and have the same content; those with the same last
/// part first.
fn pair(
    decisions: &mut BTreeMap<MeshPath, Decision>,
    (goes, gone): Side<'_>,
    (comes, came): Side<'_>,
) -> Vec<(MeshPath, MeshPath)> {
    let mut old: BTreeMap<(Hash, u64), Vec<MeshPath>> = BTreeMap::new();
    let mut fresh: Vec<((Hash, u64), MeshPath)> = Vec::new();
    for (path, decision) in decisions.iter() {
        if *decision == goes
            && let Some(content) = gone(path)
        {
            old.entry(content).or_default().push(path.clone());
        } else if *decision == comes
            && let Some(content) = came(path)
        {
            fresh.push((content, path.clone()));
        }
    }
    let mut pairs = Vec::new();
    for same_name in [true, false] {
        fresh.retain(|(content, to)| {
            let Some(candidates) = old.get_mut(content) else { return true };
            let fits = |from: &MeshPath| !same_name || from.name() == to.name();
            let Some(at) = candidates.iter().position(fits) else { return true };
            pairs.push((candidates.remove(at), to.clone()));
            false
        });
    }
    for (from, to) in &pairs {
        decisions.remove(from);
        decisions.remove(to);
    }
    pairs.sort();
    pairs
}

/// Puts renames together that are one of a folder: everything that the mesh has below it has the
/// same name below the other, and nothing is there yet.
fn together(trees: Trees<'_>, pairs: Vec<(MeshPath, MeshPath)>) -> Vec<Step> {
    let mut groups: BTreeMap<(MeshPath, MeshPath), Vec<(MeshPath, MeshPath)>> = BTreeMap::new();
    let mut steps = Vec::new();
    let single = |(from, to): (MeshPath, MeshPath)| Step {
        files: vec![(from.clone(), to.clone())],
        from,
        to,
    };
    for (from, to) in pairs {
        match folders(&from, &to) {
            Some(folders) => groups.entry(folders).or_default().push((from, to)),
            None => steps.push(single((from, to))),
        }
    }
    let ignored: BTreeMap<MeshPath, ()> =
        trees.ignored.iter().map(|path| (path.clone(), ())).collect();
    let mut targets = BTreeSet::new();
    for ((from, to), files) in groups {
        let whole = files.len() > 1
            && below(trees.remote, &from).count() == files.len()
            && !trees.remote.contains_key(&from)
            && first_below(&ignored, &from).is_none()
            && first_below(&ignored, &to).is_none()
            && first_below(trees.remote, &to).is_none()
            && !trees.remote.contains_key(&to)
            && to.below(&from).is_none()
            && from.below(&to).is_none()
            && targets.insert(to.clone());
        if whole {
            steps.push(Step { from, to, files });
        } else {
            steps.extend(files.into_iter().map(single));
        }
    }
    steps
}

/// The folders whose rename would make the one name the other: what is left of both without the
/// parts that they end with in common.
fn folders(from: &MeshPath, to: &MeshPath) -> Option<(MeshPath, MeshPath)> {
    let (mut from, mut to) = (from.as_str(), to.as_str());
    let mut cut = false;
    while let (Some((from_folder, from_name)), Some((to_folder, to_name))) =
        (from.rsplit_once('/'), to.rsplit_once('/'))
        && from_name == to_name
    {
        (from, to, cut) = (from_folder, to_folder, true);
    }
    cut.then(|| Some((from.parse().ok()?, to.parse().ok()?))).flatten()
}
