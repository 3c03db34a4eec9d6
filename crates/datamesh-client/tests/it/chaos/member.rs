//! A node with all its workers, over its restarts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use datamesh_catalog::{NodeDb, NodeLimits};
use datamesh_core::{Advert, Genesis, NodeId};
use datamesh_engine::audit::{Auditor, AuditorParts};
use datamesh_engine::repair::{RepairConfig, Repairer};
use datamesh_engine::scrub::{Scrubber, ScrubberParts, recall_damaged};
use datamesh_engine::{Collector, CollectorConfig, Engine, Finding, Findings, HeadMover};
use datamesh_store::{CollectionTerms, Store, StoreError, StoreId};
use datamesh_testkit::FaultyDisk;
use datamesh_testkit::sim::World;
use tokio::time::sleep;

use crate::cluster::{Answering, Seat};

/// As a node's, shorter, so that a run of a few hours sees every worker do all its work.
const REPAIR: RepairConfig = RepairConfig {
    offline_after: Duration::from_secs(300),
    grace: Duration::from_secs(900),
    interval: Duration::from_secs(1200),
    rate: 32 << 20,
    expired: Duration::from_secs(30 * 24 * 3600),
};

const GOSSIP: Duration = Duration::from_secs(30);
const HEADS: Duration = Duration::from_secs(15);
const PERIOD: Duration = Duration::from_secs(3600);
const COLLECTION: Duration = Duration::from_secs(300);

/// An advert holds for 31 days.
const ADVERT_LIFETIME_MS: u64 = 31 * 24 * 3600 * 1000;

/// Members that a starting node meets first.
const FIRST_PEERS: usize = 8;

/// A node, whether its process runs or not.
pub(super) struct Member {
    pub(super) seat: Seat,
    pub(super) life: Option<Life>,
    /// It will never come back.
    pub(super) lost: bool,
    folder: PathBuf,
    store: Option<StoreId>,
}

/// A node's running process.
pub(super) struct Life {
    pub(super) engine: Arc<Engine>,
    pub(super) store: Arc<Store>,
    pub(super) collector: Arc<Collector>,
    pub(super) repairer: Arc<Repairer>,
}

/// A copy of what a node has.
pub(super) struct Image {
    disk: FaultyDisk,
    memory: Vec<u8>,
}

/// Audits and scrubs are believed by nobody: repair looks for itself.
struct Unheeded;

impl Findings for Unheeded {
    fn take(&self, _finding: Finding) {}
}

impl Member {
    pub(super) fn new(seat: Seat, folder: &Path) -> Self {
        let folder = folder.join(seat.id.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        Self { seat, life: None, lost: false, folder, store: None }
    }

    pub(super) fn id(&self) -> NodeId {
        self.seat.id
    }

    fn memory(&self) -> PathBuf {
        self.folder.join("memory.db")
    }

    /// Starts its process. `known` is what it hears of the mesh beside what it remembers.
    pub(super) fn start(
        &mut self,
        world: &World,
        genesis: &Genesis,
        known: &[Advert],
    ) -> Result<(), StoreError> {
        assert!(!self.lost && self.life.is_none());
        let id = self.seat.id;
        let store = self.seat.open(world, self.store)?;
        self.store = Some(store.id());
        let db = Arc::new(NodeDb::open(&self.memory(), NodeLimits::default()).unwrap());
        let Answering { engine, .. } =
            self.seat.answer(world, genesis, &store, Some(Arc::clone(&db)));
        for advert in db.adverts().unwrap() {
            engine.recall_advert(advert);
        }
        for advert in known {
            engine.learn_advert(advert.clone());
        }
        recall_damaged(&store, &db).unwrap();
        let executor = world.executor(id);
        let mut membership = Membership {
            engine: Arc::clone(&engine),
            store: Arc::clone(&store),
            db,
            advert: self.seat.advert(world),
            signer: Arc::clone(&self.seat.signer),
        };
        membership.refresh();
        executor.spawn(Box::pin(membership.run()));
        let mover = HeadMover::new(Arc::clone(&engine), Arc::clone(&store));
        executor.spawn(Box::pin(async move {
            loop {
                mover.pass().await;
                sleep(HEADS).await;
            }
        }));
        let auditor = Auditor::new(AuditorParts {
            engine: Arc::clone(&engine),
            store: Arc::clone(&store),
            findings: Arc::new(Unheeded),
            period: PERIOD,
            rate: 8 << 20,
        });
        executor.spawn(Box::pin(async move {
            auditor.recall().await;
            loop {
                if !auditor.turn().await.more {
                    sleep(auditor.pause()).await;
                }
            }
        }));
        let scrubber = Scrubber::new(ScrubberParts {
            engine: Arc::clone(&engine),
            store: Arc::clone(&store),
            findings: Arc::new(Unheeded),
            period: PERIOD,
            rate: 16 << 20,
        });
        executor.spawn(Box::pin(async move {
            scrubber.recall().await;
            loop {
                sleep(scrubber.step().await.unwrap_or(Duration::from_secs(60))).await;
            }
        }));
        let repairer = Arc::new(Repairer::new(Arc::clone(&engine), Arc::clone(&store), REPAIR));
        let repairs = Arc::clone(&repairer);
        executor.spawn(Box::pin(async move { repairs.run().await }));
        let collection = store.collection(CollectionTerms::default()).unwrap();
        let config = CollectorConfig { clock_bound_ms: 600_000, reconcile_ms: 24 * 3_600_000 };
        let collector = Arc::new(Collector::new(Arc::clone(&engine), collection, config));
        let collects = Arc::clone(&collector);
        executor.spawn(Box::pin(async move {
            sleep(Duration::from_secs(10)).await;
            loop {
                // Where the clock or the disk does not allow it, the next pass tries again.
                drop(collects.pass().await);
                sleep(COLLECTION).await;
            }
        }));
        self.life = Some(Life { engine, store, collector, repairer });
        Ok(())
    }

    /// Ends its process at once; with the power, if so: what was not synced is lost or torn then.
    pub(super) fn kill(&mut self, world: &World, power: bool) {
        world.kill(self.seat.id);
        self.life = None;
        if power {
            self.seat.disk.crash();
        } else {
            self.seat.disk.kill();
        }
    }

    /// Its store as it would be found now, on a copy of its disk; none where it was never opened.
    pub(super) fn look(&self, world: &World) -> Option<Arc<Store>> {
        self.store?;
        Some(self.seat.open_on(&self.seat.disk.image(), world, self.store).unwrap())
    }

    /// Copies what it has, while its process does not run.
    pub(super) fn image(&self) -> Image {
        assert!(self.life.is_none());
        let memory = std::fs::read(self.memory()).unwrap_or_default();
        Image { disk: self.seat.disk.image(), memory }
    }

    /// Puts a copy back, while its process does not run.
    pub(super) fn put_back(&mut self, image: &Image) {
        assert!(self.life.is_none());
        self.seat.disk.put_back(&image.disk);
        for suffix in ["", "-wal", "-shm"] {
            drop(std::fs::remove_file(self.folder.join(format!("memory.db{suffix}"))));
        }
        if !image.memory.is_empty() {
            std::fs::write(self.memory(), &image.memory).unwrap();
        }
    }
}

/// Keeps a node's advert true and spreads adverts, as a service does.
struct Membership {
    engine: Arc<Engine>,
    store: Arc<Store>,
    db: Arc<NodeDb>,
    advert: Advert,
    signer: Arc<datamesh_crypto::SigningKey>,
}

impl Membership {
    fn refresh(&mut self) {
        let free = match self.store.usage() {
            Ok(usage) if usage.read_only.is_none() => usage.free * 16 / usage.capacity.max(1),
            _ => 0,
        };
        let mut advert = self.advert.clone();
        advert.free_class = free.min(16) as u8;
        self.advert = self.engine.sign_advert(&*self.signer, advert, ADVERT_LIFETIME_MS);
        self.engine.learn_advert(self.advert.clone());
    }

    async fn run(mut self) {
        let own = self.engine.transport().local();
        let known = self.engine.peers().into_iter().map(|peer| peer.member.advert.node());
        for peer in known.filter(|peer| *peer != own).take(FIRST_PEERS).collect::<Vec<_>>() {
            // Who does not answer is met later.
            drop(self.engine.exchange_adverts(peer).await);
        }
        self.engine.announce_widely(&self.advert).await;
        for round in 1_u64.. {
            if round.is_multiple_of(5) {
                self.refresh();
            }
            self.engine.gossip(1).await;
            if round.is_multiple_of(4) {
                let adverts: Vec<Advert> =
                    self.engine.peers().into_iter().map(|peer| peer.member.advert).collect();
                self.db.save_adverts(&adverts).unwrap();
            }
            sleep(GOSSIP).await;
        }
    }
}
