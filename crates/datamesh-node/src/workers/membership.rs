//! Background work of a running service.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datamesh_catalog::NodeDb;
use datamesh_core::{Advert, NodeId, Signer};
use datamesh_engine::Engine;
use datamesh_net::Network;
use datamesh_store::Store;
use tokio_util::sync::CancellationToken;

/// An advert is signed anew after this long at the latest: a fifth of the default time after which
/// a member counts as silent.
const ADVERT_REFRESH: Duration = Duration::from_secs(60);

/// An advert holds for 31 days, a day longer than its node counts as a member without it.
pub(crate) const ADVERT_LIFETIME_MS: u64 = 31 * 24 * 3600 * 1000;

/// Members that one round of gossip exchanges adverts with.
const GOSSIP_PEERS: usize = 1;

/// A member that has come is remembered on disk within this time.
const SAVE_DELAY: Duration = Duration::from_millis(500);

/// Adverts written in one transaction.
const SAVE_BATCH: usize = 4096;

/// Keeps this node's advert true and spreads adverts.
pub(crate) struct MembershipWorker {
    pub(crate) engine: Arc<Engine>,
    pub(crate) network: Network,
    pub(crate) store: Arc<Store>,
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) db: Arc<NodeDb>,
    pub(crate) advert: Mutex<Advert>,
    pub(crate) interval: Duration,
    /// The node is leaving, and its advert says so.
    pub(crate) draining: AtomicBool,
}

/// Free space in sixteenths of the capacity, rounded down.
pub(crate) fn free_class(free: u64, capacity: u64) -> u8 {
    if capacity == 0 {
        return 0;
    }
    (u128::from(free) * 16 / u128::from(capacity)).min(16) as u8
}

impl MembershipWorker {
    /// Signs this node's advert anew, with what is true now.
    async fn refresh(&self) -> Advert {
        let store = Arc::clone(&self.store);
        let usage = tokio::task::spawn_blocking(move || store.usage()).await;
        let mut advert = self.advert.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match usage {
            Ok(Ok(usage)) if usage.read_only.is_none() => {
                advert.free_class = free_class(usage.free, usage.capacity);
            }
            // A store that cannot be asked takes nothing.
            _ => advert.free_class = 0,
        }
        advert.draining = self.draining.load(Ordering::Relaxed);
        advert.addresses = self.network.announced();
        advert.addresses.truncate(datamesh_core::advert::ADDRESSES_MAX);
        let advert = self.engine.sign_advert(&*self.signer, advert, ADVERT_LIFETIME_MS);
        *self.advert.lock().unwrap_or_else(PoisonError::into_inner) = advert.clone();
        self.engine.learn_advert(advert.clone());
        advert
    }

    fn save(&self) {
        let adverts: Vec<Advert> =
            self.engine.peers().into_iter().map(|peer| peer.member.advert).collect();
        for batch in adverts.chunks(SAVE_BATCH) {
            if let Err(error) = self.db.save_adverts(batch) {
                tracing::warn!(%error, "adverts are not remembered");
            }
        }
    }

    /// Runs until `stop`.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut refreshed = tokio::time::Instant::now();
        let mut gossiped = refreshed;
        let mut saved = 0;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.interval.min(SAVE_DELAY)) => {}
            }
            // A member that has just come must be known after a crash too: commands without this
            // service begin with what is remembered here.
            let members = self.engine.member_count();
            let due = gossiped.elapsed() >= self.interval;
            // Who looks for this node where it was must hear of it soon.
            let moved = {
                let mut addresses = self.network.announced();
                addresses.truncate(datamesh_core::advert::ADDRESSES_MAX);
                let advert = self.advert.lock().unwrap_or_else(PoisonError::into_inner);
                advert.addresses != addresses
            };
            if moved {
                let advert = self.refresh().await;
                refreshed = tokio::time::Instant::now();
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = self.engine.announce_widely(&advert) => {}
                }
            }
            if due {
                if refreshed.elapsed() >= ADVERT_REFRESH.min(self.interval * 3) {
                    self.refresh().await;
                    refreshed = tokio::time::Instant::now();
                }
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = self.engine.gossip(GOSSIP_PEERS) => {}
                }
                gossiped = tokio::time::Instant::now();
            }
            if due || members != saved {
                let worker = Arc::clone(&self);
                if tokio::task::spawn_blocking(move || worker.save()).await.is_err() {
                    tracing::warn!("remembering adverts broke off");
                }
                saved = members;
            }
        }
    }

    /// The first round: meets the known members, side by side, and tells them of this node.
    pub(crate) async fn introduce(&self, first: &[NodeId]) {
        let advert = self.refresh().await;
        let meetings = first.iter().map(|peer| async move {
            if let Err(error) = self.engine.exchange_adverts(*peer).await {
                tracing::warn!(%peer, %error, "a known member does not answer");
            }
        });
        futures::future::join_all(meetings).await;
        self.engine.announce_widely(&advert).await;
    }
}
