//! A mesh of nodes with a client, all in one world.

use std::collections::BTreeMap;
use std::sync::Arc;

use datamesh_catalog::{AccountDb, Owner};
use datamesh_client::{Client, ClientParts, Packs, PutOptions, PutReport, Wanted};
use datamesh_core::certificate::NodeClaim;
use datamesh_core::{
    Advert, Entropy, Genesis, Grant, LogId, MeshPath, NodeId, Service, Signature, Signer,
};
use datamesh_crypto::{DeviceKeys, IssuingKey, SigningKey, Words, authority};
use datamesh_engine::{Engine, EngineParts, Holder};
use datamesh_store::{Owner as StoreOwner, Store, StoreConfig};
use datamesh_testkit::sim::{Liar, Lie, World};
use datamesh_testkit::{FaultyDisk, fixtures};

use crate::streams::{Collected, Files};

/// A node's disk and the store on it.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) liar: Arc<Liar>,
    pub(crate) store: Arc<Store>,
    pub(crate) engine: Arc<Engine>,
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

const DISK_BYTES: u64 = 1 << 30;

/// How a cluster is laid out.
pub(crate) struct Shape {
    pub(crate) nodes: usize,
    /// The failure domain of node i.
    pub(crate) domain: fn(usize) -> String,
}

impl Default for Shape {
    fn default() -> Self {
        Self { nodes: 7, domain: |i| format!("host-{i}") }
    }
}

struct Founding {
    genesis: Genesis,
    issuing: IssuingKey,
    grant: Grant,
    keys: DeviceKeys,
    words: Words,
}

fn found(entropy: &dyn Entropy) -> Founding {
    let words = Words::draw(entropy);
    let keys = DeviceKeys::set_up(&words, entropy, 1);
    let genesis = authority::found(keys.authority(), 1, 0, [7; 16]);
    let mesh = genesis.mesh_id();
    let delegate = SigningKey::draw(entropy);
    let delegation = authority::delegate(keys.authority(), &mesh, delegate.public_key(), 1, 0);
    let issuing = IssuingKey::delegate(mesh, delegate, delegation);
    let grant = issuing.grant(keys.grant().public_key(), u64::MAX, 1, 0);
    Founding { genesis, issuing, grant, keys, words }
}

impl Cluster {
    pub(crate) fn seven(world: &World) -> Self {
        Self::new(world, &Shape::default())
    }

    pub(crate) fn new(world: &World, shape: &Shape) -> Self {
        let client_id = NodeId([0xC1; 32]);
        let entropy = world.entropy(client_id);
        let Founding { genesis, issuing, grant, keys, words } = found(&*entropy);
        let folder = tempfile::tempdir().unwrap();

        let mut nodes = Vec::new();
        let mut adverts = Vec::new();
        let mut engines = Vec::new();
        for i in 0..shape.nodes {
            let key = SigningKey::draw(&*entropy);
            let id = key.node_id();
            let claim = NodeClaim {
                node: id,
                operator: format!("op-{i}"),
                domain: (shape.domain)(i).parse().unwrap(),
                capacity_cap: DISK_BYTES,
                serial: 1,
                expiry: 0,
            };
            let certificate = issuing.certify(claim);
            let disk = FaultyDisk::new(world.seed() + i as u64, DISK_BYTES);
            let config =
                StoreConfig { capacity: DISK_BYTES / 2, reserve_min: 0, pack_bytes: 64 << 20 };
            let owner = StoreOwner { node: id, store: None };
            let store = Store::open(disk.mount(), config, &owner, &*world.entropy(id)).unwrap();
            let transport = world.attach(id);
            let engine = Arc::new(Engine::new(EngineParts {
                transport,
                clock: world.clock(id),
                entropy: world.entropy(id),
                executor: world.executor(id),
                node_db: None,
                genesis: genesis.clone(),
                offline_after_ms: 300_000,
            }));
            let advert = Advert {
                certificate: certificate.clone(),
                addresses: vec![world.address(id)],
                capacity: DISK_BYTES / 2,
                free_class: 16,
                draining: false,
                release: "test".into(),
                sequence: 0,
                expiry: 0,
                signature: Signature([0; 64]),
            };
            adverts.push(engine.sign_advert(&key, advert, 1 << 40));
            let signer: Arc<dyn Signer> = Arc::new(key);
            let holder: Arc<dyn Service> = Arc::new(Holder::new(
                Arc::clone(&engine),
                Arc::clone(&store),
                signer,
                certificate,
                None,
            ));
            let liar = Arc::new(Liar::new(holder, Lie::None, world.seed() + i as u64));
            world.serve(id, Arc::clone(&liar) as Arc<dyn Service>);
            engines.push(Arc::clone(&engine));
            nodes.push(Node { id, liar, store, engine });
        }
        let engine = Arc::new(Engine::new(EngineParts {
            transport: world.attach(client_id),
            clock: world.clock(client_id),
            entropy: world.entropy(client_id),
            executor: world.executor(client_id),
            node_db: None,
            genesis: genesis.clone(),
            offline_after_ms: 300_000,
        }));
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
        let engine = Arc::new(Engine::new(EngineParts {
            transport: self.world.attach(id),
            clock: self.world.clock(id),
            entropy: self.world.entropy(id),
            executor: self.world.executor(id),
            node_db: None,
            genesis: self.genesis.clone(),
            offline_after_ms: 300_000,
        }));
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
