//! A device of the account at work, and what must be true of its files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datamesh_catalog::{AccountDb, Owner as LogOwner};
use datamesh_client::{
    CleanupOptions, Client, ClientError, ClientParts, DuplicateOptions, GetItem, LeaseRenewal,
    LeaseScope, Packs, Publication, PutOptions, Retention, Wanted,
};
use datamesh_core::{LogId, MeshPath, NodeId, SegmentId, VersionId};
use datamesh_crypto::DeviceKeys;
use datamesh_testkit::fixtures;
use datamesh_testkit::sim::World;
use tokio::time::{sleep, timeout};

use super::mesh::Mesh;
use crate::streams::{Collected, Files};

/// Paths of one device.
const PATHS: u64 = 6;

const NOW: Retention = Retention { keep: 1, younger_than_ms: 0, deleted_for_ms: 0 };

/// A file's bytes, by their seed and length.
type Content = (u64, usize);

fn bytes(content: Content) -> Vec<u8> {
    fixtures::noise(content.0, content.1)
}

/// What must be true of a device's files.
#[derive(Default)]
pub(super) struct Truth {
    /// What may be current; more than one where an operation's end is not known.
    current: BTreeMap<MeshPath, BTreeSet<Option<Content>>>,
    /// Versions whose content is known.
    versions: BTreeMap<VersionId, Content>,
    /// Everything that was ever tried.
    tried: BTreeMap<MeshPath, BTreeSet<Content>>,
    /// Operations that were acknowledged.
    pub(super) acknowledged: u64,
}

impl Truth {
    fn certain(&mut self, path: &MeshPath, is: Option<Content>) {
        self.acknowledged += 1;
        self.current.insert(path.clone(), BTreeSet::from([is]));
    }

    fn may_be(&mut self, path: &MeshPath, is: Option<Content>) {
        self.current.entry(path.clone()).or_insert_with(|| BTreeSet::from([None])).insert(is);
    }

    fn is(&self, path: &MeshPath) -> BTreeSet<Option<Content>> {
        self.current.get(path).cloned().unwrap_or_else(|| BTreeSet::from([None]))
    }

    /// Whether a version of a path may have these bytes.
    fn allows(&self, path: &MeshPath, version: &VersionId, found: &[u8]) -> bool {
        match self.versions.get(version) {
            Some(content) => found == bytes(*content),
            None => {
                let tried = self.tried.get(path).into_iter().flatten();
                tried.into_iter().any(|content| found == bytes(*content))
            }
        }
    }
}

/// One device of the account.
pub(super) struct Device {
    pub(super) id: NodeId,
    pub(super) client: Client,
    keys: Arc<DeviceKeys>,
    folder: PathBuf,
}

impl Device {
    /// A device that knows the words and nothing else.
    pub(super) async fn blank(mesh: &Mesh, number: u8) -> Self {
        let id = NodeId([number; 32]);
        let keys = DeviceKeys::set_up(&mesh.founding.words, &*mesh.world.entropy(id), 2);
        let folder = mesh.folder().join(format!("device-{number}"));
        std::fs::create_dir_all(&folder).unwrap();
        let keys = Arc::new(keys);
        let catalog = Self::owner(&keys, number);
        let catalog = AccountDb::restore(&folder.join("catalog.db"), catalog).unwrap();
        let client = Self::client(mesh, id, &keys, catalog).await;
        Self { id, client, keys, folder }
    }

    fn owner(keys: &DeviceKeys, number: u8) -> LogOwner {
        let log_key = keys.log_certificate().log_key;
        LogOwner { account: keys.account(), log: LogId([number; 16]), log_key }
    }

    async fn client(mesh: &Mesh, id: NodeId, keys: &Arc<DeviceKeys>, catalog: AccountDb) -> Client {
        Client::new(ClientParts {
            engine: mesh.device_engine(id).await,
            catalog: Arc::new(catalog),
            keys: Arc::clone(keys),
            grant: Arc::clone(&mesh.grant),
            entropy: mesh.world.entropy(id),
            publication: Arc::new(Publication::default()),
            packs: Packs::new(),
        })
    }

    /// Its process ends, wherever it is, and another one begins.
    async fn restart(self, mesh: &Mesh) -> Self {
        let Self { id, client, keys, folder } = self;
        mesh.world.kill(id);
        drop(client);
        let owner = Self::owner(&keys, id.0[0]);
        let catalog = AccountDb::open(&folder.join("catalog.db"), owner).unwrap();
        let client = Self::client(mesh, id, &keys, catalog).await;
        Self { id, client, keys, folder }
    }

    /// Everything that the mesh knows comes here, and everything from here is on the mesh.
    pub(super) async fn settle(&self, mesh: &Mesh, patience: Duration) {
        let end = mesh.world.elapsed() + patience;
        loop {
            let caught = self.client.catch_up().await;
            let published = self.client.publish().await;
            let settled = matches!(&caught, Ok(caught) if !caught.may_be_old)
                && matches!(&published, Ok(published) if published.pending == 0);
            if settled {
                return;
            }
            if mesh.world.elapsed() >= end {
                let keepers = self.keepers(mesh).await;
                panic!("not settled: {caught:?}, {published:?}; {keepers}");
            }
            sleep(Duration::from_secs(20)).await;
            self.meet().await;
        }
    }

    /// What the nodes that keep heads and epochs of the account come to, as this device sees them.
    async fn keepers(&self, mesh: &Mesh) -> String {
        let id = mesh.founding.genesis.mesh_id();
        let slots = [self.keys.pseudonym(&id), self.keys.epochs_slot(&id)];
        let (engine, living) = (self.client.engine(), mesh.living());
        let mut told = String::new();
        for slot in slots {
            let slot = slot.unwrap();
            let read = engine.read_heads(&slot, &[]).await;
            let keepers = engine.head_keepers(&slot);
            let lost = keepers.iter().filter(|node| !living.contains(node)).count();
            told += &format!(
                "{} of {} keepers answer, {} needed, {lost} lost, {} heads; ",
                read.answered,
                keepers.len(),
                read.needed,
                read.heads.len()
            );
        }
        told
    }

    /// What a command without a service does first: it hears who there is.
    async fn meet(&self) {
        let engine = self.client.engine();
        let known: Vec<NodeId> =
            engine.peers().iter().map(|peer| peer.member.advert.node()).take(8).collect();
        engine.fetch_view(&known).await;
        engine.look_around().await;
    }

    /// A version's bytes.
    async fn fetch(&self, path: &MeshPath, number: u64) -> Result<Vec<u8>, String> {
        let version = self.client.resolve(path.as_str(), Some(number)).await;
        let version = version.map_err(|error| error.to_string())?;
        let put = Box::new(version.put().unwrap().clone());
        let mut sink = Collected::default();
        let item = GetItem { put, path: path.clone(), range: None };
        let report = self.client.get(Wanted::One(item), &mut sink, None).await.unwrap();
        match sink.files.remove(path) {
            Some(bytes) => Ok(bytes),
            None => Err(format!("{:?} {:?}", report.error, report.faults)),
        }
    }

    /// Renews leases as far as that can be done now.
    pub(super) async fn renew(&self, mesh: &Mesh, scope: LeaseScope) {
        let renewal = LeaseRenewal { scope, pause: Duration::ZERO, progress: &|_, _| {} };
        match self.client.renew_leases(renewal).await {
            Ok(done) => mesh.world.note(format!("leases: {done:?}")),
            Err(error) => mesh.world.note(format!("leases: {error}")),
        }
    }

    /// Compares everything that is here with what must be true.
    pub(super) async fn compare(&self, truths: &[&Truth]) {
        for truth in truths {
            for path in truth.tried.keys() {
                let versions = match self.client.versions(path.as_str()).await {
                    Ok(versions) => versions,
                    Err(ClientError::NotFound { .. }) => Vec::new(),
                    Err(error) => panic!("{path}: {error}"),
                };
                let mut current = None;
                for version in &versions {
                    let Some(put) = version.put() else {
                        current = None;
                        continue;
                    };
                    if version.purged {
                        current = Some(Vec::new());
                        continue;
                    }
                    let found = self.fetch(path, version.number).await;
                    let found = found.unwrap_or_else(|error| {
                        panic!("{path}, version {} {}: {error}", version.number, put.version)
                    });
                    assert!(
                        truth.allows(path, &put.version, &found),
                        "{path}, version {}: other bytes",
                        version.number
                    );
                    current = Some(found);
                }
                let expected = truth.is(path);
                let holds = expected.iter().any(|content| current == content.map(bytes));
                let length = current.map(|bytes| bytes.len());
                assert!(holds, "{path} has {length:?} bytes and should be {expected:?}");
            }
        }
    }

    /// The segments that versions refer to which were not given up.
    pub(super) async fn segments(&self, truths: &[&Truth]) -> BTreeSet<SegmentId> {
        let mut segments = BTreeSet::new();
        for path in truths.iter().flat_map(|truth| truth.tried.keys()) {
            let Ok(versions) = self.client.versions(path.as_str()).await else { continue };
            for version in versions.iter().filter(|version| !version.purged) {
                let Some(put) = version.put() else { continue };
                let placed = self.client.placement(put).await.unwrap();
                segments.extend(placed.iter().map(|placed| placed.segment));
            }
        }
        segments
    }
}

/// Uses a device for so many operations, and says what must be true then.
pub(super) async fn work(mesh: &Mesh, mut device: Device, steps: u64) -> (Device, Truth) {
    let mut truth = Truth::default();
    let world = &mesh.world;
    for step in 0..steps {
        sleep(Duration::from_secs(world.draw(240))).await;
        device.meet().await;
        let path = path_of(&device, world.draw(PATHS));
        let seed = world.seed() << 20 | u64::from(device.id.0[0]) << 12 | step;
        // One in eight ends in the middle.
        let patience = match world.draw(8) {
            0 => Duration::from_millis(world.draw(3000)),
            _ => Duration::from_secs(600),
        };
        let draw = world.draw(100);
        let ended = timeout(patience, operate(&device, &mut truth, &path, draw, seed, mesh)).await;
        if ended.is_err() {
            device = device.restart(mesh).await;
        }
    }
    (device, truth)
}

fn path_of(device: &Device, number: u64) -> MeshPath {
    format!("of {}/file {number}", device.id.0[0]).parse().unwrap()
}

/// Duplicates a file, or gives it another name, where another may be already.
async fn place(
    device: &Device,
    truth: &mut Truth,
    path: &MeshPath,
    to: &MeshPath,
    stays: bool,
    world: &World,
) {
    let contents: BTreeSet<Content> = truth.is(path).into_iter().flatten().collect();
    for content in &contents {
        truth.may_be(to, Some(*content));
        truth.tried.entry(to.clone()).or_default().insert(*content);
    }
    if path == to {
        return;
    }
    let (client, name) = (&device.client, path.as_str());
    let placed = if stays {
        let options = DuplicateOptions { replace: true, ..DuplicateOptions::default() };
        client.duplicate(name, to, options).await
    } else {
        truth.may_be(path, None);
        client.rename(name, to, true).await
    };
    match placed {
        Ok(placed) if placed.pending == 0 => {
            truth.acknowledged += 1;
            truth.current.insert(to.clone(), contents.into_iter().map(Some).collect());
            if !stays {
                truth.certain(path, None);
            }
        }
        Ok(placed) => world.note(format!("place: {} pending", placed.pending)),
        Err(error) => world.note(format!("place: {error}")),
    }
}

/// One operation. What it may leave behind is true from its beginning on, in case it is cut off.
async fn operate(
    device: &Device,
    truth: &mut Truth,
    path: &MeshPath,
    draw: u64,
    seed: u64,
    mesh: &Mesh,
) {
    let (client, world) = (&device.client, &mesh.world);
    let name = path.to_string();
    match draw {
        0..45 => {
            let size = match world.draw(12) {
                0..2 => world.draw(4096),
                2..11 => 4097 + world.draw(200_000),
                _ => 1_000_000 + world.draw(2_000_000),
            };
            let content = (seed, size as usize);
            truth.may_be(path, Some(content));
            truth.tried.entry(path.clone()).or_default().insert(content);
            let files = BTreeMap::from([(path.clone(), bytes(content))]);
            let report = client.put(&mut Files::new(&files), &PutOptions::default(), None).await;
            match report {
                Ok(report) => {
                    for entry in &report.stored {
                        truth.versions.insert(entry.version, content);
                    }
                    if report.stored.len() == 1 && report.pending == 0 {
                        truth.certain(path, Some(content));
                    } else {
                        world.note(format!("not acknowledged: {:?}", report.stopped));
                    }
                }
                Err(error) => world.note(format!("put: {error}")),
            }
        }
        45..62 => {
            let expected = truth.is(path);
            let found = match client.resolve(&name, None).await {
                Ok(version) => match device.fetch(path, version.number).await {
                    Ok(found) => Some(found),
                    // Too few holders answer now; they will.
                    Err(error) => return world.note(format!("get: {error}")),
                },
                Err(ClientError::NotFound { .. } | ClientError::Deleted { .. }) => None,
                Err(error) => return world.note(format!("get: {error}")),
            };
            let right = expected.iter().any(|content| found == content.map(bytes));
            let length = found.map(|bytes| bytes.len());
            assert!(right, "{path} has {length:?} bytes and should be {expected:?}");
        }
        62..70 => {
            let to = path_of(device, world.draw(PATHS));
            place(device, truth, path, &to, draw < 66, world).await;
        }
        70..80 => {
            truth.may_be(path, None);
            match client.remove(&[name]).await {
                Ok(removed) if removed.pending == 0 => truth.certain(path, None),
                Ok(removed) => world.note(format!("remove: {} pending", removed.pending)),
                Err(error) => world.note(format!("remove: {error}")),
            }
        }
        80..87 => {
            let Ok(versions) = client.versions(&name).await else { return };
            let old = versions.iter().rev().filter(|version| !version.purged);
            let Some(put) = old.filter_map(|version| version.put()).next() else { return };
            let known = truth.versions.get(&put.version).copied();
            let all = truth.tried.get(path).cloned().unwrap_or_default();
            for content in known.map_or(all, |content| BTreeSet::from([content])) {
                truth.may_be(path, Some(content));
            }
            match client.undelete(&name, None).await {
                Ok(undeleted) => {
                    if let Some(content) = known {
                        truth.versions.insert(undeleted.version, content);
                        if undeleted.pending == 0 {
                            truth.certain(path, Some(content));
                        }
                    }
                }
                Err(error) => world.note(format!("undelete: {error}")),
            }
        }
        87..94 => match client.purge(&[name], &NOW, false).await {
            Ok(_) => truth.acknowledged += 1,
            Err(error) => world.note(format!("purge: {error}")),
        },
        _ if client.engine().genesis().lease_days != 0 && world.draw(2) == 0 => {
            device.renew(mesh, LeaseScope::All).await;
        }
        _ => {
            let options = CleanupOptions {
                orphaned: world.draw(2) == 0,
                force: world.draw(2) == 0,
                ..CleanupOptions::default()
            };
            match client.cleanup(options).await {
                Ok(_) => truth.acknowledged += 1,
                Err(error) => world.note(format!("cleanup: {error}")),
            }
        }
    }
}
