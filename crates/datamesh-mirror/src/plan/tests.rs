//! What holds for every plan, tried on trees of a few names that meet often.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};

use datamesh_core::{Hash, MeshPath, VersionId};
use proptest::prelude::*;

use super::*;
use crate::fingerprint::Fingerprint;
use crate::tree::{Known, Remote, folders_of};

/// Names with folders that are files elsewhere.
const NAMES: [&str; 8] = ["a", "a/b", "a/b/c", "b", "b/c", "c.txt", "d/c.txt", "d/e/c.txt"];

fn path(text: &str) -> MeshPath {
    text.parse().unwrap()
}

/// A content: 0 is a folder, others are files, of which two have the same size.
fn content(number: u8) -> Content {
    match number {
        0 => Content::Folder,
        number => Content::File { size: u64::from(1 + number / 2), hash: Hash([number; 32]) },
    }
}

fn fingerprint(size: u64) -> Fingerprint {
    Fingerprint { size, modified: 1, changed: 1, inode: 1 }
}

fn local(content: Content) -> Local {
    match content {
        Content::Folder => Local::Folder { empty: true },
        Content::File { size, hash } => {
            Local::File { fingerprint: fingerprint(size), hash: Some(hash) }
        }
    }
}

fn remote(content: Content, version: u64) -> Remote {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&version.to_le_bytes());
    Remote { content, version: VersionId(id), number: 1 }
}

/// A name by its number, and what is there here, on the mesh and in the base.
type Entry = (usize, Option<u8>, Option<u8>, Option<u8>);

/// Two sides and what they had in common, which plans are carried out on.
#[derive(Debug, Clone)]
struct World {
    local: BTreeMap<MeshPath, Content>,
    remote: BTreeMap<MeshPath, Remote>,
    base: KnownTree,
    versions: u64,
}

impl World {
    /// The base is what some of both sides once was.
    fn new(entries: Vec<Entry>) -> Self {
        let mut world = Self {
            local: BTreeMap::new(),
            remote: BTreeMap::new(),
            base: KnownTree::new(),
            versions: 9,
        };
        for (name, here, there, before) in entries {
            let path = path(NAMES[name]);
            if let Some(here) = here {
                world.set(&path, content(here));
            }
            if let Some(there) = there {
                world.versions += 1;
                world.remote.insert(path.clone(), remote(content(there), world.versions));
            }
            if let Some(before) = before {
                let known = Known {
                    content: content(before),
                    version: VersionId([0xFF; 16]),
                    fingerprint: None,
                };
                world.base.insert(path, known);
            }
        }
        world
    }

    /// Lays something here, unless a file is in the way.
    fn set(&mut self, path: &MeshPath, content: Content) -> bool {
        let above = folders_of(path)
            .any(|folder| matches!(self.local.get(&folder), Some(Content::File { .. })));
        if above || crate::tree::first_below(&self.local, path).is_some() {
            return false;
        }
        for folder in folders_of(path) {
            self.local.remove(&folder);
        }
        self.local.insert(path.clone(), content);
        true
    }

    fn tree(&self) -> LocalTree {
        let mut tree: LocalTree =
            self.local.iter().map(|(path, content)| (path.clone(), local(*content))).collect();
        for path in self.local.keys() {
            for folder in folders_of(path) {
                tree.insert(folder, Local::Folder { empty: false });
            }
        }
        tree
    }

    fn plan(&self, terms: &Terms) -> Plan {
        let (local, none) = (self.tree(), BTreeSet::new());
        let trees = Trees {
            local: &local,
            remote: &self.remote,
            ignored: &none,
            base: &self.base,
            unseen: &none,
        };
        plan(trees, terms)
    }

    fn know(&mut self, path: &MeshPath) {
        let Some(remote) = self.remote.get(path) else { return };
        let known = Known {
            content: remote.content,
            version: remote.version,
            fingerprint: Some(fingerprint(1)),
        };
        let known = match known.content {
            Content::File { size, .. } => Known { fingerprint: Some(fingerprint(size)), ..known },
            Content::Folder => Known { fingerprint: None, ..known },
        };
        self.base.insert(path.clone(), known);
    }

    fn store(&mut self, path: &MeshPath, content: Content) {
        self.versions += 1;
        self.remote.insert(path.clone(), remote(content, self.versions));
    }

    /// Carries a plan out as it is meant. `is_stored`: whether the mesh has a version of a file.
    fn carry_out(&mut self, plan: &Plan, is_stored: bool) {
        for path in &plan.forgotten {
            self.base.remove(path);
        }
        for path in &plan.agreed {
            self.know(path);
        }
        for action in &plan.actions {
            match action {
                Action::SetAside { unless_stored: true, .. } if is_stored => {}
                Action::SetAside { path, to, .. } => {
                    let content = self.local.remove(path).unwrap();
                    assert!(!self.local.contains_key(to) && self.set(to, content), "{action:?}");
                }
                Action::RenameLocal { path, to } => {
                    let content = self.local.remove(path).unwrap();
                    assert!(self.set(to, content), "{action:?}");
                    self.base.remove(path);
                    self.know(to);
                }
                Action::RenameRemote { path, to, files } => {
                    let mut moved: Vec<(MeshPath, MeshPath)> = vec![(path.clone(), to.clone())];
                    for (inner, _) in crate::tree::below(&self.remote, path) {
                        // A file and what would be below it are apart on the mesh.
                        if !self.remote.contains_key(path) {
                            let below = inner.below(path).unwrap();
                            moved.push((inner.clone(), format!("{to}/{below}").parse().unwrap()));
                        }
                    }
                    for (from, to) in moved {
                        let Some(before) = self.remote.remove(&from) else { continue };
                        assert!(!self.remote.contains_key(&to), "{action:?}");
                        self.store(&to, before.content);
                    }
                    self.base.remove(path);
                    for (from, to) in files {
                        self.base.remove(from);
                        self.know(to);
                    }
                }
                Action::RemoveLocal { if_stored: true, .. } if !is_stored => {}
                Action::RemoveLocal { path, .. } => {
                    assert!(matches!(self.local.remove(path), Some(Content::File { .. })));
                    self.base.remove(path);
                }
                Action::RemoveFolder { path } => {
                    assert_eq!(self.local.remove(path), Some(Content::Folder));
                    self.base.remove(path);
                }
                Action::RemoveRemote { path } => {
                    self.remote.remove(path).unwrap();
                    self.base.remove(path);
                }
                Action::MakeFolder { path } => {
                    if crate::tree::first_below(&self.local, path).is_none() {
                        assert!(self.set(path, Content::Folder), "{action:?}");
                    }
                    self.know(path);
                }
                Action::Upload { path, .. } => {
                    // A folder that something was laid in meanwhile is still there.
                    let content = self.local.get(path).copied().unwrap_or(Content::Folder);
                    self.store(path, content);
                    self.know(path);
                }
                Action::Download { path, .. } => {
                    let content = self.remote[path].content;
                    assert!(self.set(path, content), "{action:?}");
                    self.know(path);
                }
            }
        }
    }

    /// Contents of the files here.
    fn here(&self) -> BTreeSet<[u8; 32]> {
        self.local.values().filter_map(hash).collect()
    }

    /// Contents of the files on the mesh.
    fn there(&self) -> BTreeSet<[u8; 32]> {
        self.remote.values().filter_map(|remote| hash(&remote.content)).collect()
    }

    fn remote_contents(&self) -> BTreeMap<MeshPath, Content> {
        self.remote.iter().map(|(path, remote)| (path.clone(), remote.content)).collect()
    }

    /// Contents that one side changed since they were alike, and so must not vanish.
    fn changed(&self, side: &BTreeMap<MeshPath, Content>) -> BTreeSet<[u8; 32]> {
        let changed = |(path, content): &(&MeshPath, &Content)| {
            self.base.get(*path).is_none_or(|known| known.content != **content)
        };
        side.iter().filter(changed).filter_map(|(_, content)| hash(content)).collect()
    }
}

fn hash(content: &Content) -> Option<[u8; 32]> {
    match content {
        Content::File { hash, .. } => Some(hash.0),
        Content::Folder => None,
    }
}

fn terms(direction: Direction) -> Terms {
    Terms {
        direction,
        delete_unknown: false,
        may_delete: true,
        folding: Folding::default(),
        mark: "conflict 01234567 2026-11-30".to_owned(),
    }
}

fn worlds() -> impl Strategy<Value = World> {
    let side = || proptest::option::weighted(0.6, 0_u8..5);
    let entry = (side(), side(), side()).prop_map(|(here, there, before)| (here, there, before));
    proptest::collection::vec(entry, NAMES.len()).prop_map(|entries| {
        let entries = entries.into_iter().enumerate();
        World::new(entries.map(|(at, (here, there, before))| (at, here, there, before)).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_nothing_that_changed_vanishes_and_it_comes_to_rest(world in worlds()) {
        let mut world = world;
        let terms = terms(Direction::Both);
        let local = world.local.clone();
        let kept: Vec<_> = world.changed(&local).into_iter()
            .chain(world.changed(&world.remote_contents())).collect();
        let mut rounds = 0;
        loop {
            let plan = world.plan(&terms);
            prop_assert!(plan.refused.is_empty() && plan.kept.is_empty());
            let done = plan.actions.is_empty();
            world.carry_out(&plan, false);
            if done {
                break;
            }
            rounds += 1;
            prop_assert!(rounds < 6, "no rest");
        }
        let (here, there) = (world.here(), world.there());
        prop_assert_eq!(&here, &there);
        for content in kept {
            prop_assert!(here.contains(&content));
        }
        let files = |side: BTreeMap<MeshPath, Content>| -> BTreeMap<_, _> {
            side.into_iter().filter(|(_, content)| *content != Content::Folder).collect()
        };
        prop_assert_eq!(files(world.local.clone()), files(world.remote_contents()));
    }

    #[test]
    fn upwards_the_local_folder_is_not_touched(world in worlds(), delete in any::<bool>()) {
        let mut world = world;
        let terms = Terms { delete_unknown: delete, ..terms(Direction::Up) };
        let before = world.local.clone();
        let mut kept = BTreeSet::new();
        for _ in 0..4 {
            let plan = world.plan(&terms);
            kept = plan.kept.iter().map(|kept| kept.path.clone()).collect();
            world.carry_out(&plan, false);
            prop_assert_eq!(&world.local, &before);
        }
        prop_assert!(!delete || kept.is_empty());
        for (path, content) in &world.local {
            if let Content::File { .. } = content {
                prop_assert_eq!(&world.remote[path].content, content);
            }
        }
        for path in world.remote.keys() {
            let has = world.tree().contains_key(path);
            prop_assert!(has || kept.contains(path), "{} is too much", path);
        }
        prop_assert!(world.plan(&terms).actions.is_empty());
    }

    #[test]
    fn downwards_only_what_the_mesh_has_goes(world in worlds(), delete in any::<bool>()) {
        let mut world = world;
        let terms = Terms { delete_unknown: delete, ..terms(Direction::Down) };
        let remote = world.remote.clone();
        let changed = world.changed(&world.local.clone());
        let mut refused = BTreeSet::new();
        for _ in 0..4 {
            let plan = world.plan(&terms);
            refused = plan.refused.iter().map(|refused| refused.path.clone()).collect();
            world.carry_out(&plan, false);
            prop_assert_eq!(&world.remote, &remote);
        }
        for content in changed {
            prop_assert!(world.here().contains(&content));
        }
        for (path, remote) in &world.remote {
            let alike = world.tree().get(path).is_some_and(|local| local.is(&remote.content));
            prop_assert!(alike || refused.contains(path.as_str()), "{} is not here", path);
        }
        // What goes only where a version has it is asked about each time.
        let asks = |action: &Action| matches!(action, Action::RemoveLocal { if_stored: true, .. });
        prop_assert!(world.plan(&terms).actions.iter().all(asks));
    }

    #[test]
    fn nothing_goes_where_the_base_is_not_believed(world in worlds(), up in any::<bool>()) {
        let mut world = World { base: KnownTree::new(), ..world };
        let direction = if up { Direction::Up } else { Direction::Both };
        let terms = Terms { may_delete: false, delete_unknown: up, ..terms(direction) };
        let (here, there) = (world.here(), world.there());
        let plan = world.plan(&terms);
        let gone = |action: &Action| matches!(action, Action::RemoveRemote { .. });
        prop_assert!(!plan.actions.iter().any(gone));
        world.carry_out(&plan, false);
        prop_assert!(world.here().is_superset(&here));
        prop_assert!(up || world.there().is_superset(&there));
    }
}

#[test]
fn a_folder_with_another_name_is_one_rename() {
    let mut world = World::new(Vec::new());
    for name in ["a/x/1", "a/x/2", "a/3"] {
        let path = path(name);
        let number = name.as_bytes()[name.len() - 1];
        world.store(&path, content(number));
        world.know(&path);
        let to: MeshPath = name.replacen('a', "b", 1).parse().unwrap();
        world.set(&to, content(number));
    }
    let plan = world.plan(&terms(Direction::Up));
    let [Action::RenameRemote { path: from, to, files }] = plan.actions.as_slice() else {
        panic!("{:?}", plan.actions);
    };
    assert_eq!((from.as_str(), to.as_str(), files.len()), ("a", "b", 3));
    world.carry_out(&plan, false);
    assert!(world.plan(&terms(Direction::Up)).actions.is_empty());

    // What another device laid in the folder meanwhile does not move along.
    let mut world = World::new(Vec::new());
    for (name, number) in [("a/1", 11), ("a/2", 12)] {
        world.store(&path(name), content(number));
        world.know(&path(name));
        world.set(&name.replacen('a', "b", 1).parse().unwrap(), content(number));
    }
    world.store(&path("a/other"), content(13));
    let plan = world.plan(&terms(Direction::Both));
    let renames = plan.actions.iter().filter(|it| matches!(it, Action::RenameRemote { .. }));
    assert_eq!(renames.count(), 2, "{:?}", plan.actions);
}

#[test]
fn files_that_go_below_each_others_names_find_room() {
    let mut world = World::new(Vec::new());
    for (from, to, number) in [("a/b", "b/c", 1), ("b", "a/b/c", 4)] {
        world.set(&path(from), content(number));
        world.store(&path(from), content(number));
        world.know(&path(from));
        world.store(&path(to), content(number));
    }
    for from in ["a/b", "b"] {
        world.remote.remove(&path(from));
    }
    let terms = terms(Direction::Both);
    for _ in 0..3 {
        let plan = world.plan(&terms);
        world.carry_out(&plan, false);
    }
    assert_eq!(world.plan(&terms).actions, []);
    let alike: BTreeMap<_, _> =
        [("a/b/c", content(4)), ("b/c", content(1))].map(|(at, what)| (path(at), what)).into();
    assert_eq!(world.local, alike);
    assert_eq!(world.remote_contents(), alike);
}

#[test]
fn names_that_are_one_to_the_file_system_do_not_overwrite_each_other() {
    let mut world = World::new(Vec::new());
    for (name, number) in
        [("Readme", 11), ("README", 12), ("x/Caf\u{e9}", 13), ("x/Cafe\u{301}", 14)]
    {
        world.store(&path(name), content(number));
    }
    let folding = Folding { case: true, form: true };
    let terms = Terms { folding, ..terms(Direction::Both) };
    let first = world.plan(&terms);
    assert_eq!((first.actions.len(), first.refused.len()), (2, 2), "{first:?}");
    world.carry_out(&first, false);
    let second = world.plan(&terms);
    assert_eq!(second.actions, [], "what is here stays, and nothing goes from the mesh");
    assert_eq!(second.refused.len(), 2);
    assert_eq!(world.remote.len(), 4);
}

#[test]
fn what_was_not_seen_is_not_gone() {
    let mut world = World::new(Vec::new());
    for name in ["closed/1", "closed/2", "open"] {
        world.store(&path(name), content(11));
        world.know(&path(name));
    }
    let (local, none) = (world.tree(), BTreeSet::new());
    let unseen = BTreeSet::from([path("closed")]);
    let trees = Trees {
        local: &local,
        remote: &world.remote,
        ignored: &none,
        base: &world.base,
        unseen: &unseen,
    };
    let plan = plan(trees, &terms(Direction::Both));
    assert_eq!(plan.actions, [Action::RemoveRemote { path: path("open") }]);
}

#[test]
fn only_files_that_may_be_the_same_are_read() {
    let mut world = World::new(Vec::new());
    world.store(&path("same-size"), content(2));
    world.store(&path("other-size"), content(9));
    world.base.insert(
        path("gone"),
        Known { content: content(4), version: VersionId([1; 16]), fingerprint: None },
    );
    let mut local = LocalTree::new();
    let unread = |number| match content(number) {
        Content::File { size, .. } => Local::File { fingerprint: fingerprint(size), hash: None },
        Content::Folder => Local::Folder { empty: true },
    };
    local.insert(path("same-size"), unread(3));
    local.insert(path("other-size"), unread(2));
    local.insert(path("fresh"), unread(6));
    local.insert(path("moved"), unread(5));
    let none = BTreeSet::new();
    let trees = Trees {
        local: &local,
        remote: &world.remote,
        ignored: &none,
        base: &world.base,
        unseen: &none,
    };
    assert_eq!(questions(trees, Direction::Up), [path("moved"), path("same-size")]);
}
