//! A device's process ends before, in the middle of and after every named step of the owner's side.
//!
//! A script of operations runs once undisturbed to see which steps each has. Then it runs again for
//! each step and each kind of end: the device begins anew on what its disk has, and the files are
//! what they were before the operation that was cut off or what they are after it, for the device
//! and for one that knows the words alone. Then the operation is done again, and the rest; in the end
//! each segment that is referred to has all its shards, and nothing else is kept.
//!
//! The crashes of nodes that repair and collect are in [`chaos`](crate::chaos).

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, available_parallelism};

use datamesh_catalog::AccountDb;
use datamesh_client::{
    CleanupOptions, ClientError, DuplicateOptions, LabelChange, PinTerms, PutOptions, Retention,
    ShareOptions, ShareState, ShareTo, SharingError, Wanted, derive_epochs, find_share, points,
};
use datamesh_core::{MeshPath, NodeId, SegmentId};
use datamesh_engine::points as engine_points;
use datamesh_testkit::sim::{self, World};
use datamesh_testkit::{Crash, fixtures};

use crate::cluster::{Cluster, folder};
use crate::devices::Device;
use crate::repair::count;
use crate::shares::hex;
use crate::streams::{Collected, Files};

const NUMBER: u8 = 21;
const DEVICE: NodeId = NodeId([NUMBER; 32]);
const DAY_MS: i64 = 24 * 3600 * 1000;
const NOW: Retention = Retention { keep: 1, younger_than_ms: 0, deleted_for_ms: 0 };

/// Forms of each torn step: where in it the process ends is chance.
const TORN: u64 = 3;

const PINNED: PinTerms = PinTerms { priority: 7, until: 0 };

type Tree = BTreeMap<MeshPath, Vec<u8>>;

#[derive(Debug, Clone)]
enum Op {
    CatchUp,
    /// Files that lie on a disk.
    Put(Tree),
    Remove(Vec<&'static str>),
    Undelete(&'static str),
    Duplicate(&'static str, &'static str),
    Rename(&'static str, &'static str),
    /// Another note.
    Label(&'static str),
    Pin(&'static str),
    /// By a link.
    Share(&'static str),
    /// All that is shared.
    Unshare,
    Purge(&'static str),
    Cleanup,
    Rotate,
    /// Another device put something before this.
    TakeIn(Tree),
    /// The device's files were put back from a copy before this.
    PutBack,
    /// A put was cut off before this.
    CleanLeft,
}

fn file(path: &str, seed: u64, size: usize) -> Tree {
    BTreeMap::from([(path.parse().unwrap(), fixtures::noise(seed, size))])
}

fn many(folder: &str, seed: u64, count: u64, size: usize) -> Tree {
    let one = |n| (format!("{folder}/{n:02}").parse().unwrap(), fixtures::noise(seed + n, size));
    (0..count).map(one).collect()
}

/// Scripts that together have every step.
fn scripts() -> Vec<Vec<Op>> {
    const GONE: [&str; 10] = [
        "many/00", "many/01", "many/02", "many/03", "many/04", "many/05", "many/06", "many/07",
        "many/08", "many/09",
    ];
    let files = vec![
        Op::CatchUp,
        Op::Put(file("a", 1, 100_000)),
        Op::Put(file("a", 3, 90_000)),
        Op::Remove(vec!["a"]),
        Op::Undelete("a"),
        Op::Duplicate("a", "twin"),
        Op::Label("twin"),
        Op::Rename("twin", "brother"),
        Op::Pin("brother"),
        Op::Share("brother"),
        Op::Put(file("brother", 5, 70_000)),
        Op::Unshare,
        Op::Share("brother"),
        Op::Purge("a"),
        Op::CleanLeft,
        Op::Put(file("large", 2, 5_000_000)),
        Op::Put(file("again", 2, 5_000_000)),
    ];
    let mut log = vec![Op::CatchUp];
    log.extend((0..5).map(|n| Op::Put(many(&format!("in {n}"), 100 * n, 10, 4000))));
    let room = vec![
        Op::CatchUp,
        Op::Put(many("many", 1000, 12, 60_000)),
        Op::Remove(GONE.to_vec()),
        Op::Cleanup,
    ];
    let devices = vec![
        Op::CatchUp,
        Op::Put(file("of one", 1, 5000)),
        Op::TakeIn(file("of two", 2, 5000)),
        Op::Rotate,
        Op::Put(file("of one", 3, 6000)),
        Op::PutBack,
        Op::Put(file("last", 4, 5000)),
    ];
    vec![files, log, room, devices]
}

/// The files once an operation is done.
fn after(op: &Op, before: &Tree, removed: &Tree) -> Tree {
    let mut tree = before.clone();
    match op {
        Op::Put(files) | Op::TakeIn(files) => tree.extend(files.clone()),
        Op::Remove(names) => tree.retain(|path, _| !names.contains(&path.as_str())),
        Op::Undelete(name) => {
            let path: MeshPath = name.parse().unwrap();
            tree.insert(path.clone(), removed[&path].clone());
        }
        Op::Duplicate(from, to) => {
            tree.insert(to.parse().unwrap(), before[&from.parse().unwrap()].clone());
        }
        Op::Rename(from, to) => {
            let content = tree.remove(&from.parse().unwrap()).unwrap();
            tree.insert(to.parse().unwrap(), content);
        }
        Op::CatchUp
        | Op::Label(_)
        | Op::Pin(_)
        | Op::Share(_)
        | Op::Unshare
        | Op::Purge(_)
        | Op::Cleanup
        | Op::Rotate
        | Op::PutBack
        | Op::CleanLeft => {}
    }
    tree
}

struct Owner<'a> {
    world: World,
    cluster: &'a Cluster,
    device: Option<Device>,
    /// What the files are.
    tree: Tree,
    /// What was removed last.
    removed: Tree,
    /// Every name that was ever used.
    paths: BTreeSet<MeshPath>,
    observers: u8,
    /// A copy of the home, with what was there before the last operation of all.
    copy: Option<tempfile::TempDir>,
}

impl<'a> Owner<'a> {
    fn new(world: &World, cluster: &'a Cluster) -> Self {
        Self {
            world: world.clone(),
            cluster,
            device: Some(Device::blank(cluster, NUMBER)),
            tree: Tree::new(),
            removed: Tree::new(),
            paths: BTreeSet::new(),
            observers: 100,
            copy: None,
        }
    }

    fn device(&self) -> &Device {
        self.device.as_ref().unwrap()
    }

    /// Ends the device's process and lets it begin anew on what its disk has.
    fn restart(&mut self) {
        self.restart_on(None);
    }

    fn restart_on(&mut self, copy: Option<tempfile::TempDir>) {
        let Device { client, keys, folder, number } = self.device.take().unwrap();
        self.world.kill(DEVICE);
        drop(client);
        let folder = copy.unwrap_or(folder);
        self.device = Some(Device::over(self.cluster, number, keys, folder, AccountDb::open));
    }

    /// What happens before an operation.
    async fn prepare(&mut self, op: &Op) {
        match op {
            Op::TakeIn(files) => {
                let other = self.observer().await;
                put(&other, files).await;
            }
            Op::PutBack => {
                let copy = self.copy.take().unwrap();
                self.restart_on(Some(copy));
            }
            Op::CleanLeft => {
                let left = file("left", 9, 100_000);
                let world = self.world.clone();
                world.crash_at(Some(DEVICE), engine_points::SEGMENT_SEND, Crash::After, 1);
                tokio::select! {
                    biased;
                    node = world.crashed() => assert_eq!(node, DEVICE),
                    () = put(self.device(), &left) => panic!("it was to be cut off"),
                }
                self.restart();
                self.settle().await;
            }
            _ => {}
        }
    }

    /// What happens when all of an operation is done.
    fn done(&mut self, op: &Op) {
        let new = after(op, &self.tree, &self.removed);
        self.removed = self.tree.clone();
        self.paths.extend(new.keys().cloned());
        self.tree = new;
        if matches!(op, Op::Rotate) {
            self.copy_home();
        }
    }

    fn copy_home(&mut self) {
        let copy = folder();
        for entry in std::fs::read_dir(self.device().folder.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        self.copy = Some(copy);
    }

    /// A device that was put together from the words now.
    async fn observer(&mut self) -> Device {
        self.observers += 1;
        let device = Device::blank(self.cluster, self.observers);
        let words = &self.cluster.words;
        assert!(derive_epochs(device.client.engine(), &device.keys, words).await.unwrap());
        let caught = device.client.catch_up().await.unwrap();
        assert!(!caught.may_be_old, "{caught:?}");
        device
    }

    /// Everything that is known comes here, and everything from here is on the mesh.
    async fn settle(&self) {
        for _ in 0..5 {
            let caught = self.device().client.catch_up().await.unwrap();
            let published = self.device().client.publish().await.unwrap();
            if !caught.may_be_old && published.pending == 0 {
                return;
            }
        }
        panic!("not settled");
    }

    /// What the device and whoever has the words read: the same.
    async fn seen(&mut self) -> Tree {
        self.settle().await;
        let own = bytes(self.device()).await;
        let words = self.observer().await;
        assert!(bytes(&words).await == own, "the words lead to other files");
        own
    }
}

/// All files; none where there is nothing.
async fn bytes(device: &Device) -> Tree {
    let mut sink = Collected::default();
    match device.client.get(Wanted::Below(None), &mut sink, None).await {
        Ok(report) => assert!(report.failed.is_empty(), "{:?}", report.failed),
        Err(ClientError::NothingBelow { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    sink.files
}

/// The segments of all versions of these files that were not given up.
async fn segments(device: &Device, paths: &BTreeSet<MeshPath>) -> BTreeSet<SegmentId> {
    let mut segments = BTreeSet::new();
    for path in paths {
        let versions = match device.client.versions(path.as_str()).await {
            Ok(versions) => versions,
            Err(ClientError::NotFound { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        for put in versions.iter().filter(|version| !version.purged).filter_map(|v| v.put()) {
            segments.extend(device.client.segments(put).await.unwrap());
        }
    }
    segments
}

async fn put(device: &Device, files: &Tree) {
    let report = device.client.put(&mut Files::placed(files), &PutOptions::default(), None).await;
    let report = report.unwrap();
    assert!(report.failed.is_empty() && report.stopped.is_none(), "{report:?}");
    assert_eq!((report.stored.len(), report.pending), (files.len(), 0));
}

async fn operate(cluster: &Cluster, device: &Device, op: &Op) {
    let client = &device.client;
    let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    match op {
        Op::CatchUp | Op::TakeIn(_) | Op::PutBack => {
            let caught = client.catch_up().await.unwrap();
            assert!(!caught.may_be_old, "{caught:?}");
        }
        Op::Put(files) => put(device, files).await,
        Op::Remove(names) => {
            let removed = client.remove(&strings(names)).await.unwrap();
            assert_eq!((removed.paths.len(), removed.pending), (names.len(), 0));
        }
        Op::Undelete(name) => assert_eq!(client.undelete(name, None).await.unwrap().pending, 0),
        Op::Duplicate(from, to) => {
            let options = DuplicateOptions::default();
            let placed = client.duplicate(from, &to.parse().unwrap(), options).await.unwrap();
            assert_eq!((placed.files.len(), placed.pending), (1, 0));
        }
        Op::Rename(from, to) => {
            let placed = client.rename(from, &to.parse().unwrap(), false).await.unwrap();
            assert_eq!((placed.files.len(), placed.pending), (1, 0));
        }
        Op::Label(name) => {
            let change = LabelChange {
                add: strings(&["red"]),
                note: Some("a note".to_owned()),
                ..LabelChange::default()
            };
            let done = client.label(vec![name.parse().unwrap()], &change, false).await.unwrap();
            assert_eq!((done.files.len(), done.failed.len(), done.pending), (1, 0, 0));
        }
        Op::Pin(name) => {
            let done = client.pin(vec![name.parse().unwrap()], Some(PINNED)).await.unwrap();
            assert_eq!((done.files.len(), done.failed.len(), done.pending), (1, 0, 0));
        }
        Op::Share(name) => {
            let options = ShareOptions { to: ShareTo::Link(None), expiry: 0 };
            let view = client.share(name, options).await.unwrap();
            assert_eq!(view.state, ShareState::Current);
        }
        Op::Unshare => {
            let all = client.shares(None).await.unwrap();
            let names: Vec<String> = all.iter().map(|view| hex(&view.share)).collect();
            for view in client.unshare(&names).await.unwrap() {
                assert_eq!(view.state, ShareState::Revoked);
            }
        }
        Op::Purge(name) => {
            client.purge(&strings(&[name]), &NOW, false).await.unwrap();
        }
        Op::Cleanup | Op::CleanLeft => {
            let options = CleanupOptions { force: true, ..CleanupOptions::default() };
            client.cleanup(options).await.unwrap();
        }
        Op::Rotate => {
            client.rotate(&cluster.words, &[]).await.unwrap();
        }
    }
}

/// The steps of each operation of a script, and how often each is begun in it.
fn steps(ops: &[Op]) -> Vec<BTreeMap<&'static str, u64>> {
    sim::run(1, |world| async move {
        let cluster = Cluster::seven(&world);
        let mut owner = Owner::new(&world, &cluster);
        let mut all = Vec::new();
        for op in ops {
            owner.prepare(op).await;
            let before = world.steps_begun();
            operate(&cluster, owner.device(), op).await;
            let new = world
                .steps_begun()
                .into_iter()
                .map(|(point, times)| (point, times - before.get(point).copied().unwrap_or(0)));
            all.push(new.filter(|(_, times)| *times > 0).collect());
            owner.done(op);
            assert!(owner.seen().await == owner.tree, "{op:?}");
        }
        finish(&mut owner, true).await;
        all
    })
}

/// All shards that are referred to are there, and where `only` says so nothing else is.
async fn finish(owner: &mut Owner<'_>, only: bool) {
    let (world, cluster) = (owner.world.clone(), owner.cluster);
    for id in cluster.nodes.iter().map(|node| node.id).chain([DEVICE]) {
        world.jump_clock(id, 8 * DAY_MS);
    }
    owner.device().client.engine().look_around().await;
    for node in &cluster.nodes {
        node.engine.look_around().await;
    }
    owner.settle().await;
    let client = &owner.device().client;
    // Who holds what is pinned knows it.
    client.tell_pins().await.unwrap();
    for pin in client.pins().await.unwrap() {
        let version = client.resolve(pin.path.unwrap().as_str(), None).await.unwrap();
        for segment in client.segments(version.put().unwrap()).await.unwrap() {
            let holders = cluster.nodes.iter().filter(|node| node.store.held(segment) != 0);
            let known: Vec<u8> = holders.map(|node| node.store.priority(segment, 1)).collect();
            assert!(
                !known.is_empty() && known.iter().all(|it| *it == PINNED.priority),
                "{known:?}"
            );
        }
    }
    // What is shared shows the newest version, and what was ended nothing.
    for view in client.shares(None).await.unwrap() {
        let found = find_share(client.engine(), &view.share).await;
        match view.state {
            ShareState::Revoked => {
                assert!(matches!(found, Err(ClientError::Sharing(SharingError::Revoked))))
            }
            state => {
                assert_eq!(state, ShareState::Current);
                let secret = view.link.secret.as_ref().unwrap();
                let opening = found.unwrap();
                let body = opening.open_by_link(client.engine(), secret, None).await.unwrap();
                let current = client.resolve(view.path.unwrap().as_str(), None).await.unwrap();
                assert_eq!(body.version, current.id());
            }
        }
    }
    let all = CleanupOptions { orphaned: true, force: true, ..CleanupOptions::default() };
    client.cleanup(all).await.unwrap();
    let census = count(&world, cluster, |node, segment, shard| {
        node.store.read_shard(segment, shard).is_ok()
    });
    let live = segments(owner.device(), &owner.paths).await;
    for segment in &live {
        assert_eq!(census.get(segment).map_or(0, BTreeMap::len), 6, "{segment} lacks shards");
    }
    for segment in census.keys().filter(|segment| only && !live.contains(segment)) {
        // Pages of the catalog are coded with k = 1.
        let node = cluster.nodes.iter().find(|node| node.store.held(*segment) != 0).unwrap();
        let scheme = node.store.descriptor(*segment).unwrap().scheme;
        assert_eq!(scheme.k(), 1, "{segment} is garbage");
    }
}

/// Runs a script whose operation `cut` is cut off, and checks what is said above.
fn crashed(ops: &[Op], cut: usize, (point, crash, time): (&'static str, Crash, u64), seed: u64) {
    sim::run(seed, |world| async move {
        let cluster = Cluster::seven(&world);
        let mut owner = Owner::new(&world, &cluster);
        for (number, op) in ops.iter().enumerate() {
            let context = format!("{point} {crash:?} {time}: {op:?}");
            owner.prepare(op).await;
            if number != cut {
                operate(&cluster, owner.device(), op).await;
                owner.done(op);
                continue;
            }
            world.crash_at(Some(DEVICE), point, crash, time);
            let ended = tokio::select! {
                biased;
                node = world.crashed() => {
                    assert_eq!(node, DEVICE);
                    true
                }
                () = operate(&cluster, owner.device(), op) => false,
            };
            // What is still under way when the operation is done may be what was to be cut off.
            assert!(ended || crash == Crash::Torn || time > 1, "{context}: not reached");
            if ended {
                owner.restart();
            }
            let (old, new) = (owner.tree.clone(), after(op, &owner.tree, &owner.removed));
            let seen = owner.seen().await;
            assert!(seen == new || (ended && seen == old), "{context}: neither old nor new");
            if seen == old || old == new {
                // What was taken back is current already where nobody was told.
                operate(&cluster, owner.device(), op).await;
            }
            owner.done(op);
            break;
        }
        // It goes on, with the operation that follows.
        if let Some(op) = ops.get(cut + 1).filter(|op| !matches!(op, Op::PutBack)) {
            owner.prepare(op).await;
            operate(&cluster, owner.device(), op).await;
            owner.done(op);
        }
        assert!(owner.seen().await == owner.tree, "{point} {crash:?} {time}: it goes on otherwise");
        // A renewal that came to no version keeps its segment: docs/collection.md.
        let renews = [points::PUT_RENEW, points::REFER_RENEW, engine_points::LEASES_RENEW];
        finish(&mut owner, !renews.contains(&point)).await;
    });
}

/// Does something for each of these, on all of this machine's cores.
pub(crate) fn each_on_all_cores<T: Sync>(all: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = available_parallelism().map_or(1, NonZero::get);
    #[expect(clippy::disallowed_methods, reason = "each thread has worlds of its own")]
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(one);
                }
            });
        }
    });
}

/// The steps of nodes, whose processes are not the owner's.
pub(crate) fn is_of_nodes(point: &str) -> bool {
    ["repair.", "collect.", "head.move"].iter().any(|of| point.starts_with(of))
}

#[test]
#[expect(clippy::print_stdout, reason = "how many there are is what is asked of it")]
fn a_device_that_ends_at_any_step_leaves_the_old_or_the_new() {
    let scripts = scripts();
    // Where each step is taken: the script, the operation, and how often there.
    let mut places: BTreeMap<&'static str, (usize, usize, u64)> = BTreeMap::new();
    for (script, ops) in scripts.iter().enumerate() {
        for (op, steps) in steps(ops).into_iter().enumerate() {
            for (point, times) in steps {
                places.entry(point).or_insert((script, op, times));
            }
        }
    }
    let all = points::ALL.into_iter().chain(engine_points::ALL);
    let mine: Vec<&'static str> = all.filter(|point| !is_of_nodes(point)).collect();
    let missed: Vec<_> = mine.iter().filter(|point| !places.contains_key(*point)).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
    let mut runs = Vec::new();
    for point in &mine {
        let (script, op, times) = places[point];
        for crash in Crash::ALL {
            let forms = if crash == Crash::Torn { TORN } else { 1 };
            let times = BTreeSet::from([1, times.div_ceil(2)]);
            runs.extend((0..forms).flat_map(|form| {
                times.iter().map(move |time| (script, op, (*point, crash, *time), 1 + form))
            }));
        }
    }
    each_on_all_cores(&runs, |(script, op, at, seed)| crashed(&scripts[*script], *op, *at, *seed));
    println!("{} points of the owner's side, {} crashes", mine.len(), runs.len());
    let all = [
        datamesh_store::points::ALL.len(),
        datamesh_catalog::points::ALL.len(),
        engine_points::ALL.len(),
        points::ALL.len(),
    ];
    let count: usize = all.iter().sum();
    println!("{count} points in all: {all:?}");
    assert!(count >= 60);
}
