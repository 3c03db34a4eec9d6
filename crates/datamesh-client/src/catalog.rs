//! The catalog on the mesh: what this device commits is published there, and what other devices
//! published is taken from there.
//!
//! The mesh has, for each log of the account, one head on a quorum of nodes; the head has the newest
//! operations itself and names the pages with the older ones. An operation is committed when a
//! quorum has a head that leads to it; until then it is pending. The database on this device is a
//! cache of all that, and an index over it.
//!
//! Promised: what was published is found again by whoever has the account's words, as long as a
//! quorum of the nodes that keep its heads answers and its pages can be read. A device that finds
//! that the mesh knows more of its own log than it does itself, because its files were put back from
//! a copy, takes another log, so that no sequence number is used twice.

mod catch_up;
mod devices;
mod epochs;
mod objects;
mod publish;
mod renewal;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use datamesh_core::head::{ObjectPlace, PagePlace};
use datamesh_core::{LogId, Timestamp};
use tokio::sync::Mutex;

use crate::pins::ToldPins;
use crate::share::SharesTold;

pub use catch_up::{CaughtUp, find_grant};
pub use devices::{DeviceLog, DeviceLogs};
pub use epochs::{Rotated, derive_epochs};
pub use publish::Published;

/// What is known of the account's heads on the mesh. Shared by all clients of one account in one
/// process, as they add to one log.
#[derive(Debug, Default)]
pub struct Publication {
    state: Mutex<State>,
    /// Counts how often the mesh was asked: whoever waited while it was does not ask again.
    asked: AtomicU64,
    /// Counts what comes of other devices: heads, pages and batches of operations. Whoever waits sees that it goes on.
    taken: AtomicU64,
    /// The newest epochs record.
    epochs: RwLock<Option<Arc<epochs::KnownEpochs>>>,
    /// Held while content is moved: two that move the content of one version at once would each take
    /// what the other leaves for its place.
    pub(crate) moving: Mutex<()>,
    /// What holders were told of pins.
    pub(crate) pins: Mutex<ToldPins>,
    /// How far the account's shares show what is current.
    pub(crate) shares: Mutex<SharesTold>,
}

impl Publication {
    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    /// The last operation of `log`, which is this device's, that is known to be published.
    pub(crate) async fn published(&self, log: &LogId) -> u64 {
        self.state.lock().await.own(log).map_or(0, |own| own.sequence)
    }
}

#[derive(Debug, Default)]
struct State {
    /// Revisions of the newest heads that were taken in, by their logs.
    revisions: BTreeMap<LogId, u64>,
    /// This device's log as the mesh has it; nothing until the mesh was asked.
    own: Option<Own>,
    /// How far heads say that other logs had come, whoever has those operations now.
    told: BTreeMap<LogId, u64>,
    /// When a quorum's heads were last taken in.
    caught_up: Option<Timestamp>,
    /// Where heads were read in earlier epochs was looked at since this epoch was learnt of.
    looked_back: bool,
}

impl State {
    /// A new epoch: heads lie elsewhere, and nothing is known of them.
    fn move_on(&mut self) {
        *self = Self::default();
    }

    /// What the mesh has of `log`; nothing while only another log's end is known, as after a call
    /// that took a log and was given up half-way.
    fn own(&self, log: &LogId) -> Option<&Own> {
        self.own.as_ref().filter(|own| own.log == *log)
    }
}

/// This device's log as the mesh has it.
#[derive(Debug, Clone)]
struct Own {
    /// The log.
    log: LogId,
    /// Revision of the newest head that was handed to any node; 0 before the first.
    revision: u64,
    /// The last operation that a quorum's head leads to.
    sequence: u64,
    /// Where the pages before `pages` are named.
    index: Option<ObjectPlace>,
    /// The newest pages, in order.
    pages: Vec<PagePlace>,
}

impl Own {
    /// A log of which the mesh has nothing.
    fn nothing(log: LogId) -> Self {
        Self { log, revision: 0, sequence: 0, index: None, pages: Vec::new() }
    }
}
