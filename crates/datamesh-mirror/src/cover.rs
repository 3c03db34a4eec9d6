//! Few requests for many files: a folder of which all is wanted is fetched at once.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_core::MeshPath;

use crate::tree::{Content, RemoteTree};

/// Fewer files are fetched one by one.
const FILES_MIN: usize = 8;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// One file.
    File(MeshPath),
    /// All below a folder; below the mirrored one where there is none.
    Folder(Option<MeshPath>),
}

/// Covers the `wanted` files with requests that fetch nothing else: `parallel` of them where folders can
/// be taken apart into so many.
pub(crate) fn cover(
    wanted: &BTreeSet<MeshPath>,
    tree: &RemoteTree,
    ignored: &BTreeSet<MeshPath>,
    parallel: usize,
) -> Vec<Piece> {
    if wanted.len() < FILES_MIN {
        return wanted.iter().cloned().map(Piece::File).collect();
    }
    // Files below each folder that are not wanted yet, of those folders that have wanted ones.
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    for path in wanted {
        for folder in folders(path) {
            *others.entry(folder).or_default() += 1;
        }
    }
    let mut files: BTreeMap<&str, usize> = others.keys().map(|folder| (*folder, 0)).collect();
    let stored = tree.iter().filter(|(_, remote)| remote.content != Content::Folder);
    for path in stored.map(|(path, _)| path).chain(ignored) {
        for folder in folders(path) {
            if let Some(count) = files.get_mut(folder) {
                *count += 1;
            }
        }
    }
    let is_whole = |folder: &str| others.get(folder) == files.get(folder);
    let mut pieces = BTreeSet::new();
    for path in wanted {
        // The outermost folder comes last.
        let whole = folders(path).filter(|folder| is_whole(folder)).last();
        pieces.insert(whole.unwrap_or_else(|| path.as_str()));
    }
    let piece = |text: &str| match text {
        "" => Some(Piece::Folder(None)),
        text => {
            let path: MeshPath = text.parse().ok()?;
            let file = wanted.contains(&path) && !others.contains_key(text);
            Some(if file { Piece::File(path) } else { Piece::Folder(Some(path)) })
        }
    };
    let mut pieces: Vec<Piece> = pieces.into_iter().filter_map(piece).collect();
    let mut at = 0;
    while pieces.len() < parallel && at < pieces.len() {
        match apart(&pieces[at], wanted) {
            Some(parts) => drop(pieces.splice(at..=at, parts)),
            None => at += 1,
        }
    }
    pieces
}

/// What is directly in a folder of which all is wanted, if that is folders and few files.
fn apart(piece: &Piece, wanted: &BTreeSet<MeshPath>) -> Option<Vec<Piece>> {
    let Piece::Folder(folder) = piece else { return None };
    let before = folder.as_ref().map_or(0, |folder| folder.as_str().len() + 1);
    let (mut files, mut folders) = (Vec::new(), BTreeSet::new());
    for path in wanted {
        if folder.as_ref().is_some_and(|folder| path.below(folder).is_none()) {
            continue;
        }
        match path.as_str()[before..].find('/') {
            Some(end) => drop(folders.insert(&path.as_str()[..before + end])),
            None => files.push(Piece::File(path.clone())),
        }
    }
    if files.len() >= FILES_MIN || folders.is_empty() {
        return None;
    }
    let folders = folders.into_iter().filter_map(|folder| folder.parse().ok());
    files.extend(folders.map(|folder| Piece::Folder(Some(folder))));
    Some(files)
}

/// The folders that a path lies in, the nearest first, "" at last.
fn folders(path: &MeshPath) -> impl Iterator<Item = &str> {
    let text = path.as_str();
    text.rmatch_indices('/').map(|(at, _)| &text[..at]).chain([""])
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use datamesh_core::{Hash, VersionId};

    use super::*;
    use crate::tree::Remote;

    fn path(text: &str) -> MeshPath {
        text.parse().unwrap()
    }

    fn tree(names: &[String]) -> RemoteTree {
        let content = Content::File { size: 1, hash: Hash([0; 32]) };
        let remote = Remote { content, version: VersionId([0; 16]), number: 1 };
        names.iter().map(|name| (path(name), remote.clone())).collect()
    }

    #[test]
    fn folders_of_which_all_is_wanted_are_fetched_at_once() {
        let mut names: Vec<String> = (0..10).map(|i| format!("a/b/{i}")).collect();
        names.extend((0..10).map(|i| format!("a/c/{i}")));
        names.extend(["a/other".to_owned(), "top".to_owned()]);
        let tree = tree(&names);
        let wanted = |keep: &dyn Fn(&str) -> bool| -> BTreeSet<MeshPath> {
            names.iter().filter(|name| keep(name)).map(|name| path(name)).collect()
        };
        let none = BTreeSet::new();
        assert_eq!(cover(&wanted(&|_| true), &tree, &none, 1), [Piece::Folder(None)]);
        let apart = [
            Piece::File(path("top")),
            Piece::File(path("a/other")),
            Piece::Folder(Some(path("a/b"))),
            Piece::Folder(Some(path("a/c"))),
        ];
        assert_eq!(cover(&wanted(&|_| true), &tree, &none, 4), apart);
        let some = wanted(&|name| name.starts_with("a/b/") || name == "top" || name == "a/c/3");
        let expected = [
            Piece::Folder(Some(path("a/b"))),
            Piece::File(path("a/c/3")),
            Piece::File(path("top")),
        ];
        assert_eq!(cover(&some, &tree, &none, 1), expected);
        let all_but_ignored = wanted(&|name| name.starts_with("a/b/"));
        let ignored = BTreeSet::from([path("a/b/hidden")]);
        assert_eq!(cover(&all_but_ignored, &tree, &ignored, 1).len(), 10);
    }
}
