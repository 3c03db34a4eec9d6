//! A mesh of nodes with a client, all in one world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use datamesh_catalog::{AccountDb, NodeDb, Owner};
use datamesh_client::{Client, ClientParts, Packs, PutOptions, PutReport, Wanted};
use datamesh_core::NodeCertificate;
use datamesh_core::certificate::NodeClaim;
use datamesh_core::{
    Advert, BoxFuture, Entropy, Genesis, Grant, LogId, MeshPath, Message, NodeId, Service,
    Signature, Signer, Transport, TransportError,
};
use datamesh_crypto::{DeviceKeys, IssuingKey, SigningKey, Words, authority};
use datamesh_engine::{Engine, EngineParts, Holder};
use datamesh_store::{Owner as StoreOwner, Store, StoreConfig, StoreError, StoreId};
use datamesh_testkit::sim::{Liar, Lie, World};
use datamesh_testkit::{FaultyDisk, fixtures};

use crate::streams::{Collected, Files};

/// The node id of a cluster's client.
pub(crate) const CLIENT: NodeId = NodeId([0xC1; 32]);

/// A node, its disk and the store on it.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) liar: Arc<Liar>,
    pub(crate) store: Arc<Store>,
    pub(crate) disk: FaultyDisk,
    pub(crate) engine: Arc<Engine>,
    pub(crate) signer: Arc<SigningKey>,
    pub(crate) advert: Advert,
    pub(crate) domain: String,
}

/// The mesh.
pub(crate) struct Cluster {
    pub(crate) world: World,
    pub(crate) nodes: Vec<Node>,
    pub(crate) client: Client,
    pub(crate) keys: Arc<DeviceKeys>,
    pub(crate) words: Words,
    pub(crate) grant: Arc<Grant>,
    pub(crate) genesis: Genesis,
    pub(crate) issuing: IssuingKey,
    pub(crate) adverts: Vec<Advert>,
    folder: tempfile::TempDir,
}

/// Bytes of a node's disk; half of them are offered.
pub(crate) const DISK_BYTES: u64 = 1 << 30;

/// How a cluster is laid out.
pub(crate) struct Shape {
    pub(crate) nodes: usize,
    /// The failure domain of node i.
    pub(crate) domain: fn(usize) -> String,
    /// Bytes of a pack of each store.
    pub(crate) pack_bytes: u64,
    /// Days that a lease lasts; 0 where it does not end.
    pub(crate) lease_days: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self { nodes: 7, domain: |i| format!("host-{i}"), pack_bytes: 64 << 20, lease_days: 0 }
    }
}

/// What founding a mesh makes.
pub(crate) struct Founding {
    pub(crate) genesis: Genesis,
    pub(crate) issuing: IssuingKey,
    pub(crate) grant: Grant,
    pub(crate) keys: DeviceKeys,
    pub(crate) words: Words,
}

/// Founds a mesh with an account.
pub(crate) fn found(entropy: &dyn Entropy, lease_days: u32) -> Founding {
    let words = Words::draw(entropy);
    let keys = DeviceKeys::set_up(&words, entropy, 1);
    let genesis = authority::found(keys.authority(), 1, lease_days, [7; 16]);
    let mesh = genesis.mesh_id();
    let delegate = SigningKey::draw(entropy);
    let delegation = authority::delegate(keys.authority(), &mesh, delegate.public_key(), 1, 0);
    let issuing = IssuingKey::delegate(mesh, delegate, delegation);
    let grant = issuing.grant(keys.grant().public_key(), u64::MAX, 1, 0);
    Founding { genesis, issuing, grant, keys, words }
}

/// A folder in memory, where there is such a thing: what is synced here is not what is tried.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let folder = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    folder.unwrap()
}

/// What a node keeps over its restarts, beside what it remembers of others.
pub(crate) struct Seat {
    pub(crate) id: NodeId,
    pub(crate) signer: Arc<SigningKey>,
    pub(crate) certificate: NodeCertificate,
    pub(crate) disk: FaultyDisk,
    pub(crate) domain: String,
    /// Bytes that it offers.
    pub(crate) capacity: u64,
    pack_bytes: u64,
    number: u64,
}

/// A node's answer to its peers, and what lies under it.
pub(crate) struct Answering {
    pub(crate) liar: Arc<Liar>,
    pub(crate) engine: Arc<Engine>,
}

impl Seat {
    /// The `number`-th node, on a fresh disk.
    pub(crate) fn new(
        world: &World,
        issuing: &IssuingKey,
        number: usize,
        domain: &str,
        pack_bytes: u64,
    ) -> Self {
        let entropy = world.entropy(CLIENT);
        let signer = Arc::new(SigningKey::draw(&*entropy));
        let id = signer.node_id();
        let claim = NodeClaim {
            node: id,
            operator: format!("op-{number}"),
            domain: domain.parse().unwrap(),
            capacity_cap: DISK_BYTES,
            serial: 1,
            expiry: 0,
        };
        let certificate = issuing.certify(claim);
        let number = number as u64;
        let disk = FaultyDisk::new(world.seed() + number, DISK_BYTES);
        let (domain, capacity) = (domain.to_owned(), DISK_BYTES / 2);
        Self { id, signer, certificate, disk, domain, capacity, pack_bytes, number }
    }

    /// Opens its store, or makes it where it was never opened.
    pub(crate) fn open(
        &self,
        world: &World,
        store: Option<StoreId>,
    ) -> Result<Arc<Store>, StoreError> {
        self.open_on(&self.disk, world, store)
    }

    /// Opens its store on a copy of its disk.
    pub(crate) fn open_on(
        &self,
        disk: &FaultyDisk,
        world: &World,
        store: Option<StoreId>,
    ) -> Result<Arc<Store>, StoreError> {
        let pack_bytes = self.pack_bytes;
        let config = StoreConfig { capacity: self.capacity, reserve_min: 0, pack_bytes };
        let owner = StoreOwner { node: self.id, store };
        Store::open(disk.mount(), config, &owner, &*world.entropy(self.id))
    }

    /// Lets it answer from now on.
    pub(crate) fn answer(
        &self,
        world: &World,
        genesis: &Genesis,
        store: &Arc<Store>,
        node_db: Option<Arc<NodeDb>>,
    ) -> Answering {
        let id = self.id;
        let own = Arc::new(OnceLock::new());
        let transport = Loopback { transport: world.attach(id), own: Arc::clone(&own) };
        let engine = Arc::new(Engine::new(EngineParts {
            node_db,
            ..engine_parts(world, id, genesis, Arc::new(transport))
        }));
        let signer: Arc<dyn Signer> = Arc::clone(&self.signer) as Arc<dyn Signer>;
        let holder: Arc<dyn Service> = Arc::new(Holder::new(
            Arc::clone(&engine),
            Arc::clone(store),
            signer,
            self.certificate.clone(),
            None,
        ));
        let liar = Arc::new(Liar::new(holder, Lie::None, world.seed() + self.number));
        let service = Arc::clone(&liar) as Arc<dyn Service>;
        drop(own.set(Arc::downgrade(&service)));
        world.serve(id, service);
        Answering { liar, engine }
    }

    /// What it says of itself, not yet signed.
    pub(crate) fn advert(&self, world: &World) -> Advert {
        Advert {
            certificate: self.certificate.clone(),
            addresses: vec![world.address(self.id)],
            capacity: self.capacity,
            free_class: 16,
            draining: false,
            release: "test".into(),
            sequence: 0,
            expiry: 0,
            signature: Signature([0; 64]),
        }
    }
}

/// The parts of an engine that remembers nothing over restarts.
fn engine_parts(
    world: &World,
    id: NodeId,
    genesis: &Genesis,
    transport: Arc<dyn Transport>,
) -> EngineParts {
    EngineParts {
        transport,
        clock: world.clock(id),
        entropy: world.entropy(id),
        executor: world.executor(id),
        node_db: None,
        genesis: genesis.clone(),
        offline_after_ms: 300_000,
    }
}

/// The engine of a device that comes up now and answers nothing.
pub(crate) fn device_engine(world: &World, id: NodeId, genesis: &Genesis) -> Engine {
    Engine::new(engine_parts(world, id, genesis, world.attach(id)))
}

impl Node {
    /// A node that answers, on a fresh disk.
    pub(crate) fn new(
        world: &World,
        genesis: &Genesis,
        issuing: &IssuingKey,
        i: usize,
        domain: &str,
        pack_bytes: u64,
    ) -> Self {
        let seat = Seat::new(world, issuing, i, domain, pack_bytes);
        let store = seat.open(world, None).unwrap();
        let Answering { liar, engine } = seat.answer(world, genesis, &store, None);
        let advert = engine.sign_advert(&*seat.signer, seat.advert(world), 1 << 40);
        let Seat { id, signer, disk, domain, .. } = seat;
        Self { id, liar, store, disk, engine, signer, advert, domain }
    }
}

/// A transport that answers calls to its own side by the node's service.
struct Loopback {
    transport: Arc<dyn Transport>,
    own: Arc<OnceLock<Weak<dyn Service>>>,
}

impl Transport for Loopback {
    fn local(&self) -> NodeId {
        self.transport.local()
    }

    fn exchange(
        &self,
        peer: NodeId,
        request: Message,
        reply_max: usize,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Message, TransportError>> {
        if peer != self.local() {
            return self.transport.exchange(peer, request, reply_max, deadline);
        }
        Box::pin(async move {
            let own = self.own.get().and_then(Weak::upgrade).ok_or(TransportError::Shutdown)?;
            Ok(own.serve(peer, request).await)
        })
    }

    fn learn(&self, peer: NodeId, addresses: &[String]) {
        self.transport.learn(peer, addresses);
    }

    fn connected(&self) -> Vec<NodeId> {
        self.transport.connected()
    }
}

impl Cluster {
    pub(crate) fn seven(world: &World) -> Self {
        Self::new(world, &Shape::default())
    }

    pub(crate) fn new(world: &World, shape: &Shape) -> Self {
        let client_id = CLIENT;
        let entropy = world.entropy(client_id);
        let Founding { genesis, issuing, grant, keys, words } = found(&*entropy, shape.lease_days);
        let folder = folder();

        let mut nodes = Vec::new();
        let mut adverts = Vec::new();
        let mut engines = Vec::new();
        for i in 0..shape.nodes {
            let domain = (shape.domain)(i);
            let node = Node::new(world, &genesis, &issuing, i, &domain, shape.pack_bytes);
            adverts.push(node.advert.clone());
            engines.push(Arc::clone(&node.engine));
            nodes.push(node);
        }
        let engine = Arc::new(device_engine(world, client_id, &genesis));
        engines.push(Arc::clone(&engine));
        for engine in &engines {
            for advert in &adverts {
                assert!(engine.learn_advert(advert.clone()));
            }
        }
        let certificate = keys.log_certificate();
        let owner = Owner {
            account: certificate.account,
            log: LogId([7; 16]),
            log_key: certificate.log_key,
        };
        let catalog = AccountDb::open(&folder.path().join("catalog.db"), owner).unwrap();
        let (keys, grant) = (Arc::new(keys), Arc::new(grant));
        let client = Client::new(ClientParts {
            engine,
            catalog: Arc::new(catalog),
            keys: Arc::clone(&keys),
            grant: Arc::clone(&grant),
            entropy,
            publication: Arc::default(),
            packs: Packs::new(),
        });
        let world = world.clone();
        Self { world, nodes, client, keys, words, grant, genesis, issuing, adverts, folder }
    }

    /// A client of the same account that remembers nothing of placements and descriptors.
    pub(crate) fn forgetful(&self, number: u8) -> Client {
        let id = NodeId([number; 32]);
        let engine = Arc::new(device_engine(&self.world, id, &self.genesis));
        for advert in &self.adverts {
            assert!(engine.learn_advert(advert.clone()));
        }
        Client::new(ClientParts {
            engine,
            catalog: Arc::clone(self.client.catalog()),
            keys: Arc::clone(&self.keys),
            grant: Arc::clone(&self.grant),
            entropy: self.world.entropy(id),
            publication: Arc::default(),
            packs: Packs::new(),
        })
    }

    /// Where the catalog is.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) async fn put(&self, files: &BTreeMap<MeshPath, Vec<u8>>) -> PutReport {
        let report =
            self.client.put(&mut Files::new(files), &PutOptions::default(), None).await.unwrap();
        if let Some(error) = &report.stopped {
            self.world.note(format!("put stopped: {error}"));
        }
        report
    }

    /// Fetches every file and compares it with what was stored.
    pub(crate) async fn assert_intact(&self, files: &BTreeMap<MeshPath, Vec<u8>>) {
        let mut sink = Collected::default();
        let report = self.client.get(Wanted::Below(None), &mut sink, None).await.unwrap();
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        assert!(sink.broken.is_empty());
        sink.files.retain(|path, _| files.contains_key(path));
        assert!(sink.files == *files, "what came back is not what was stored");
    }

    /// Who holds the shards of a file's first segment, in the order of shards.
    pub(crate) async fn holders(&self, path: &MeshPath) -> Vec<NodeId> {
        let version = self.client.resolve(path.as_str(), None).await.unwrap();
        let placed = self.client.placement(version.put().unwrap()).await.unwrap();
        placed[0].holders.iter().map(|(_, node)| *node).collect()
    }
}

/// Files at every boundary that the pipeline has, and some between.
pub(crate) fn files() -> BTreeMap<MeshPath, Vec<u8>> {
    /// Plaintext of a frame, and of a segment.
    const FRAME: usize = 65_520;
    const SEGMENT: usize = 64 * FRAME;
    let sizes = [
        0,
        1,
        4095,
        4096,
        4097,
        FRAME - 1,
        FRAME,
        FRAME + 1,
        300_000,
        SEGMENT - 1,
        SEGMENT,
        SEGMENT + 1,
        2 * SEGMENT,
        2 * SEGMENT + 77_777,
    ];
    sizes
        .iter()
        .map(|&size| {
            let path = format!("files/of {size} bytes").parse().unwrap();
            (path, fixtures::noise(size as u64, size))
        })
        .collect()
}

/// One file of that many bytes.
pub(crate) fn single(size: usize) -> BTreeMap<MeshPath, Vec<u8>> {
    BTreeMap::from([("a file".parse().unwrap(), fixtures::noise(1, size))])
}

/// The shards in failure domains of their own: the most that can be chosen so.
pub(crate) fn spread_over<'a>(
    shards: &BTreeMap<u8, BTreeSet<NodeId>>,
    domain: impl Fn(&NodeId) -> &'a str,
) -> usize {
    fn place<'a>(
        shard: u8,
        of: &dyn Fn(u8) -> Vec<&'a str>,
        owner: &mut BTreeMap<&'a str, u8>,
        seen: &mut BTreeSet<&'a str>,
    ) -> bool {
        for domain in of(shard) {
            if !seen.insert(domain) {
                continue;
            }
            let other = owner.get(domain).copied();
            if other.is_none_or(|other| place(other, of, owner, seen)) {
                owner.insert(domain, shard);
                return true;
            }
        }
        false
    }
    let of = |shard: u8| shards.get(&shard).into_iter().flatten().map(&domain).collect::<Vec<_>>();
    let mut owner = BTreeMap::new();
    shards.keys().filter(|s| place(**s, &of, &mut owner, &mut BTreeSet::new())).count()
}
