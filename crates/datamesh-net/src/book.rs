//! The peer book: where peers may be reached, when to try again, and a file that survives.
//!
//! Addresses come from [`learn`](Book::learn), that is from signed adverts and invites, and from
//! peers themselves, but then only for the IP address they are seen at. The book is bounded in
//! peers and in addresses of a peer; what was reached last stays longest.
//!
//! The file is a hint. One that is missing, damaged or of an unknown version is an empty book and
//! a warning, never a failure: addresses are learnt again. Layout, integers little-endian:
//!
//! ```text
//! "datamesh-peers"  14 bytes
//! version           u8, 1
//! peers             u32, then for each:
//!   node id         32 bytes
//!   last success    u64, milliseconds since 1970, 0 for never
//!   failures        u32, dials that failed since
//!   addresses       u8, the most useful first, then for each:
//!     last success  u64
//!     address       u32 length, multiaddr as text
//! checksum          BLAKE3 of all bytes before, 32 bytes
//! ```

mod file;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use datamesh_core::NodeId;
use libp2p::Multiaddr;
use tokio::time::Instant;

use crate::Limits;
use crate::address;

/// Whether bytes are no book, or one that is written and read again as the same; for the
/// [fuzzer](crate::parsers).
pub(crate) fn reads_again(bytes: &[u8]) -> bool {
    let Ok(book) = file::decode(bytes) else { return true };
    let written = file::encode(&book);
    file::decode(&written).is_ok_and(|again| file::encode(&again) == written)
}

/// What to do about a peer that is not connected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DialPlan {
    /// Dial these, all at once.
    Dial(Vec<Multiaddr>),
    /// No address is known.
    Unknown,
    /// The last dial failed a moment ago.
    Wait { pause: Duration, last_error: String },
}

/// One address of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KnownAddress {
    address: Multiaddr,
    /// Milliseconds since 1970; 0 for never.
    last_success: u64,
}

/// What is known of one peer.
#[derive(Debug, Clone, Default)]
struct Known {
    /// The most useful first.
    addresses: Vec<KnownAddress>,
    last_success: u64,
    failures: u32,
    retry_at: Option<Instant>,
    last_error: String,
}

impl Known {
    /// Adds an address, replacing the least useful one if there are too many. Returns whether it
    /// is new.
    fn add(&mut self, address: Multiaddr, addresses_max: usize) -> bool {
        if self.addresses.iter().any(|known| known.address == address) {
            return false;
        }
        if self.addresses.len() >= addresses_max.max(1) {
            self.addresses.pop();
        }
        // Behind those that have worked, before those that never have: a restarted peer tells
        // its new port and the old ones are the stale ones.
        let place = self.addresses.iter().take_while(|known| known.last_success > 0).count();
        self.addresses.insert(place, KnownAddress { address, last_success: 0 });
        true
    }
}

#[derive(Debug, Default)]
struct Table {
    peers: BTreeMap<NodeId, Known>,
    changed: bool,
}

/// All known peers.
#[derive(Debug)]
pub(crate) struct Book {
    path: Option<PathBuf>,
    peers_max: usize,
    addresses_max: usize,
    backoff_min: Duration,
    backoff_max: Duration,
    table: Mutex<Table>,
    /// Held while the file is written.
    saving: Mutex<()>,
}

impl Book {
    /// Opens the book at `path`, or an empty one that is kept in memory.
    pub(crate) fn open(path: Option<PathBuf>, limits: &Limits) -> Self {
        let mut peers = match path.as_deref().map(file::read) {
            None => BTreeMap::new(),
            Some(Ok(peers)) => peers,
            Some(Err(error)) => {
                tracing::warn!(%error, "the peer book is not readable, starting with an empty one");
                BTreeMap::new()
            }
        };
        while peers.len() > limits.book_peers_max {
            peers.pop_last();
        }
        Self {
            path,
            peers_max: limits.book_peers_max,
            addresses_max: limits.book_addresses_max.min(usize::from(u8::MAX)),
            backoff_min: limits.dial_backoff_min,
            backoff_max: limits.dial_backoff_max,
            table: Mutex::new(Table { peers, changed: false }),
            saving: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds addresses of a peer. An address that is new ends a pause between dials.
    pub(crate) fn learn(&self, id: NodeId, addresses: impl IntoIterator<Item = Multiaddr>) {
        let mut addresses = addresses.into_iter().peekable();
        if addresses.peek().is_none() {
            return;
        }
        let mut table = self.lock();
        self.make_room(&mut table, &id);
        let known = table.peers.entry(id).or_default();
        let mut changed = false;
        for address in addresses.take(self.addresses_max) {
            changed |= known.add(address, self.addresses_max);
        }
        if changed {
            known.retry_at = None;
        }
        table.changed |= changed;
    }

    /// Forgets the peer that was reached longest ago if another one has to fit.
    fn make_room(&self, table: &mut Table, id: &NodeId) {
        if table.peers.len() < self.peers_max.max(1) || table.peers.contains_key(id) {
            return;
        }
        let worst = table
            .peers
            .iter()
            .min_by_key(|(_, known)| (known.last_success, std::cmp::Reverse(known.failures)));
        if let Some(worst) = worst.map(|(id, _)| *id) {
            table.peers.remove(&worst);
        }
    }

    /// What to do to reach `id`.
    pub(crate) fn plan(&self, id: &NodeId, now: Instant) -> DialPlan {
        let table = self.lock();
        let Some(known) = table.peers.get(id).filter(|known| !known.addresses.is_empty()) else {
            return DialPlan::Unknown;
        };
        match known.retry_at {
            Some(at) if at > now => {
                DialPlan::Wait { pause: at - now, last_error: known.last_error.clone() }
            }
            _ => DialPlan::Dial(known.addresses.iter().map(|it| it.address.clone()).collect()),
        }
    }

    /// How long until `id` may be dialled; `None` if no address is known.
    pub(crate) fn pause(&self, id: &NodeId, now: Instant) -> Option<Duration> {
        match self.plan(id, now) {
            DialPlan::Dial(_) => Some(Duration::ZERO),
            DialPlan::Wait { pause, .. } => Some(pause),
            DialPlan::Unknown => None,
        }
    }

    /// Notes that a dial to `address` succeeded.
    pub(crate) fn succeeded(&self, id: NodeId, address: &Multiaddr) {
        let now = milliseconds_now();
        let mut table = self.lock();
        let Some(known) = table.peers.get_mut(&id) else { return };
        known.failures = 0;
        known.retry_at = None;
        known.last_error.clear();
        known.last_success = now;
        if let Some(place) = known.addresses.iter().position(|it| it.address == *address) {
            let mut found = known.addresses.remove(place);
            found.last_success = now;
            known.addresses.insert(0, found);
        }
        table.changed = true;
    }

    /// Notes that the peer was reached by a connection it opened itself.
    pub(crate) fn came(&self, id: NodeId) {
        let mut table = self.lock();
        if let Some(known) = table.peers.get_mut(&id) {
            known.failures = 0;
            known.retry_at = None;
        }
    }

    /// Notes that a dial failed and sets the pause until the next: it doubles each time, and
    /// `chance` in 0..1 takes up to half of it away, so that peers do not dial in step.
    pub(crate) fn failed(&self, id: NodeId, reason: &str, chance: f64, now: Instant) {
        let mut table = self.lock();
        let Some(known) = table.peers.get_mut(&id) else { return };
        let doubled = self.backoff_min.saturating_mul(1 << known.failures.min(20));
        let pause = doubled.min(self.backoff_max).mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0);
        known.failures = known.failures.saturating_add(1);
        known.retry_at = Some(now + pause);
        known.last_error = reason.to_owned();
        table.changed = true;
    }

    /// The known addresses of a peer, the most useful first.
    pub(crate) fn addresses(&self, id: &NodeId) -> Vec<String> {
        let table = self.lock();
        let known = table.peers.get(id);
        known.iter().flat_map(|it| &it.addresses).map(|it| it.address.to_string()).collect()
    }

    /// Writes the file if anything changed, and waits for another call that is writing: whoever
    /// returns from here may count on the file. Blocks on the disk.
    pub(crate) fn save(&self) {
        let Some(path) = &self.path else { return };
        let _one_at_a_time = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = {
            let mut table = self.lock();
            if !std::mem::take(&mut table.changed) {
                return;
            }
            file::encode(&table.peers)
        };
        if let Err(error) = file::write(path, &bytes) {
            self.lock().changed = true;
            tracing::warn!(%error, path = %path.display(), "the peer book was not written");
        }
    }
}

/// Parses what `learn` was given; what is not an address is left out.
pub(crate) fn parse(addresses: &[String]) -> impl Iterator<Item = Multiaddr> {
    addresses.iter().filter_map(|text| address::dialable(text))
}

fn milliseconds_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    fn at(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
    }

    fn book(limits: &Limits) -> Book {
        Book::open(None, limits)
    }

    #[test]
    fn the_address_that_worked_comes_first_and_stays() {
        let limits = Limits { book_addresses_max: 3, ..Limits::default() };
        let book = book(&limits);
        book.learn(node(1), [at(1), at(2)]);
        book.succeeded(node(1), &at(1));
        for port in 3..20 {
            book.learn(node(1), [at(port)]);
        }
        let DialPlan::Dial(addresses) = book.plan(&node(1), Instant::now()) else { panic!() };
        assert_eq!(addresses.len(), 3);
        assert_eq!(addresses[0], at(1));
        assert_eq!(addresses[1], at(19));
    }

    #[test]
    fn pauses_double_to_a_bound_and_a_new_address_ends_them() {
        let limits = Limits {
            dial_backoff_min: Duration::from_secs(1),
            dial_backoff_max: Duration::from_secs(8),
            ..Limits::default()
        };
        let book = book(&limits);
        book.learn(node(1), [at(1)]);
        let now = Instant::now();
        for expected in [1, 2, 4, 8, 8, 8] {
            book.failed(node(1), "refused", 0.0, now);
            assert_eq!(book.pause(&node(1), now), Some(Duration::from_secs(expected)));
        }
        book.failed(node(1), "refused", 1.0, now);
        assert_eq!(book.pause(&node(1), now), Some(Duration::from_secs(4)));
        assert_eq!(book.pause(&node(1), now + Duration::from_secs(4)), Some(Duration::ZERO));
        book.learn(node(1), [at(1)]);
        assert!(matches!(book.plan(&node(1), now), DialPlan::Wait { .. }));
        book.learn(node(1), [at(2)]);
        assert!(matches!(book.plan(&node(1), now), DialPlan::Dial(_)));
        assert_eq!(book.plan(&node(2), now), DialPlan::Unknown);
    }

    #[test]
    fn the_number_of_peers_is_bounded_and_reached_ones_stay() {
        let limits = Limits { book_peers_max: 4, ..Limits::default() };
        let book = book(&limits);
        book.learn(node(1), [at(1)]);
        book.succeeded(node(1), &at(1));
        for n in 2..200 {
            book.learn(node(n), [at(1)]);
        }
        assert_eq!(book.lock().peers.len(), 4);
        assert!(matches!(book.plan(&node(1), Instant::now()), DialPlan::Dial(_)));
    }

    #[test]
    fn what_is_not_an_address_is_not_learnt() {
        let book = book(&Limits::default());
        let texts = ["junk".to_owned(), "/ip4/0.0.0.0/tcp/5".to_owned(), String::new()];
        book.learn(node(1), parse(&texts));
        assert_eq!(book.plan(&node(1), Instant::now()), DialPlan::Unknown);
        assert!(book.lock().peers.is_empty());
    }
}
