//! The peers that a node turns to when it knows no better: an address each, with a priority and a
//! region, in a file of the home.
//!
//! They are turned to in order of priority, those that failed after pauses that double, with
//! jitter, up to half an hour. Until enough are connected the next is tried. Who answers is a peer
//! like any other; whether it is a member is asked as usual.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use datamesh_api::{BootstrapPeer, ErrorKind, OperationError};
use datamesh_core::{Clock, NodeId, Timestamp, Transport, seam};
use datamesh_engine::Engine;
use datamesh_net::{Network, check_dial};
use serde::{Deserialize, Serialize};

use crate::home::Home;
use crate::system::{SystemClock, SystemEntropy};

const FILE: &str = "bootstrap.json";

/// Most peers on the list.
const PEERS_MAX: usize = 64;

/// Longest region in bytes.
const REGION_BYTES_MAX: usize = 64;

/// Peers of the list that are enough for a start.
const ENOUGH: usize = 3;

/// How long a peer may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The pause after a first failure.
const PAUSE_MIN: Duration = Duration::from_secs(5);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30 * 60);

/// A peer as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    address: String,
    priority: u8,
    region: Option<String>,
}

/// The peers in a file's bytes.
fn entries_in(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let entries: Vec<Entry> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if entries.len() > PEERS_MAX {
        return Err(format!("it has more than {PEERS_MAX} peers"));
    }
    for entry in &entries {
        check_dial(&entry.address).map_err(|error| error.to_string())?;
    }
    Ok(entries)
}

/// Whether bytes are such a file, for the [fuzzer](crate::parsers).
pub(crate) fn is_list(bytes: &[u8]) -> bool {
    entries_in(bytes).is_ok()
}

/// What was seen of a peer.
#[derive(Debug, Clone, Default)]
struct Health {
    node: Option<NodeId>,
    answered: Option<Timestamp>,
    took: Option<Duration>,
    failures: u32,
    last_error: Option<String>,
    next_try: Option<Timestamp>,
}

/// The list of a home, and what this process has seen of its peers.
pub(crate) struct Bootstrap {
    home: Home,
    seen: Mutex<BTreeMap<String, Health>>,
}

impl Bootstrap {
    pub(crate) fn of(home: &Home) -> Self {
        Self { home: home.clone(), seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<String, Health>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The list in the order in which its peers are turned to.
    fn read(&self) -> Result<Vec<Entry>, OperationError> {
        self.entries(self.home.read(FILE)?)
    }

    fn entries(&self, bytes: Option<Vec<u8>>) -> Result<Vec<Entry>, OperationError> {
        let Some(bytes) = bytes else { return Ok(Vec::new()) };
        let wrong = |why: String| {
            OperationError::usage(format!(
                "{} cannot be used: {why}",
                self.home.file(FILE).display()
            ))
            .hint("mend it, or delete it and add its peers anew: datamesh bootstrap add")
        };
        let mut entries = entries_in(&bytes).map_err(wrong)?;
        entries.sort_by(|a, b| (a.priority, &a.address).cmp(&(b.priority, &b.address)));
        Ok(entries)
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Vec<Entry>) -> Result<(), OperationError>,
    ) -> Result<(), OperationError> {
        self.home.change(FILE, |bytes| {
            let mut entries = self.entries(bytes)?;
            change(&mut entries)?;
            serde_json::to_vec_pretty(&entries)
                .map_err(|error| OperationError::of(ErrorKind::Failed, &error))
        })
    }

    /// The list with what was seen of its peers.
    pub(crate) fn list(&self) -> Result<Vec<BootstrapPeer>, OperationError> {
        let entries = self.read()?;
        let seen = self.seen();
        let peer = |entry: Entry| {
            let health = seen.get(&entry.address).cloned().unwrap_or_default();
            BootstrapPeer {
                address: entry.address,
                priority: entry.priority,
                region: entry.region,
                node: health.node,
                answered: health.answered,
                took_ms: health.took.map(|took| took.as_secs_f64() * 1000.0),
                failures: health.failures,
                last_error: health.last_error,
                next_try: health.next_try,
            }
        };
        Ok(entries.into_iter().map(peer).collect())
    }

    /// Adds a peer, or changes what is said of it.
    pub(crate) fn add(
        &self,
        address: &str,
        priority: u8,
        region: Option<String>,
    ) -> Result<(), OperationError> {
        check_dial(address).map_err(OperationError::usage)?;
        if let Some(region) = &region
            && (region.len() > REGION_BYTES_MAX || region.chars().any(char::is_control))
        {
            return Err(OperationError::usage(format!(
                "a region has at most {REGION_BYTES_MAX} bytes and no control characters"
            )));
        }
        self.change(|entries| {
            entries.retain(|entry| entry.address != address);
            if entries.len() >= PEERS_MAX {
                return Err(OperationError::usage(format!(
                    "the list has {PEERS_MAX} peers, which is all it takes"
                ))
                .hint("take one off: datamesh bootstrap remove <address>"));
            }
            entries.push(Entry { address: address.to_owned(), priority, region });
            Ok(())
        })
    }

    /// Takes a peer off.
    pub(crate) fn remove(&self, address: &str) -> Result<(), OperationError> {
        self.change(|entries| {
            let before = entries.len();
            entries.retain(|entry| entry.address != address);
            if entries.len() == before {
                let message = format!("{address} is not on the list");
                return Err(OperationError::new(ErrorKind::NotFound, message)
                    .hint("the list: datamesh bootstrap list"));
            }
            Ok(())
        })?;
        self.seen().remove(address);
        Ok(())
    }

    /// Turns to one peer and compares membership views with it.
    async fn turn_to(&self, entry: &Entry, network: &Network, engine: Option<&Engine>) -> bool {
        let known = self.seen().get(&entry.address).and_then(|health| health.node);
        if known.is_some_and(|node| network.connected().contains(&node)) {
            return true;
        }
        let begun = Instant::now();
        let met = network.meet(&entry.address, DEADLINE).await;
        let took = begun.elapsed();
        let now = SystemClock.now();
        let answered = met.is_ok();
        let node = match met {
            Ok(node) => {
                self.seen().insert(
                    entry.address.clone(),
                    Health {
                        node: Some(node),
                        answered: Some(now),
                        took: Some(took),
                        ..Health::default()
                    },
                );
                node
            }
            Err(error) => {
                let chance = f64::from(u32::from_le_bytes(seam::random(&SystemEntropy)));
                let jitter = 1.0 - chance / f64::from(u32::MAX) / 2.0;
                let mut seen = self.seen();
                let health = seen.entry(entry.address.clone()).or_default();
                let pause = PAUSE_MIN.saturating_mul(1 << health.failures.min(16));
                let pause = pause.min(PAUSE_MAX).mul_f64(jitter);
                health.failures = health.failures.saturating_add(1);
                health.last_error = Some(error.to_string());
                health.next_try = Some(now.saturating_add(pause.as_millis() as u64));
                return false;
            }
        };
        if let Some(engine) = engine
            && let Err(error) = engine.exchange_adverts(node).await
        {
            tracing::debug!(peer = %node, %error, "a bootstrap peer tells of no members");
        }
        answered
    }

    /// Turns to peers of the list until enough have answered; to all of them, whatever their
    /// pauses, where `everybody` is asked for.
    pub(crate) async fn start(
        &self,
        network: &Network,
        engine: Option<&Engine>,
        everybody: bool,
    ) -> Result<usize, OperationError> {
        let entries = self.read()?;
        if everybody {
            let all = entries.iter().map(|entry| self.turn_to(entry, network, engine));
            let answers = futures::future::join_all(all).await;
            return Ok(answers.into_iter().filter(|answered| *answered).count());
        }
        let mut answered = 0;
        for entry in &entries {
            let due = {
                let seen = self.seen();
                let next = seen.get(&entry.address).and_then(|health| health.next_try);
                next.is_none_or(|next| next <= SystemClock.now())
            };
            if due && self.turn_to(entry, network, engine).await {
                answered += 1;
                if answered >= ENOUGH {
                    break;
                }
            }
        }
        Ok(answered)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn the_list_is_kept_in_order_and_what_is_wrong_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().to_owned());
        let list = Bootstrap::of(&home);
        assert_eq!(list.list().unwrap(), []);
        list.add("/dns4/b.example/tcp/4001", 2, None).unwrap();
        list.add("/ip4/203.0.113.1/udp/4001/quic-v1", 9, Some("north".to_owned())).unwrap();
        list.add("/dns4/a.example/tcp/4001", 2, None).unwrap();
        list.add("/ip4/203.0.113.1/udp/4001/quic-v1", 1, Some("south".to_owned())).unwrap();
        let shown: Vec<_> = Bootstrap::of(&home)
            .list()
            .unwrap()
            .into_iter()
            .map(|it| (it.priority, it.address))
            .collect();
        assert_eq!(
            shown,
            [
                (1, "/ip4/203.0.113.1/udp/4001/quic-v1".to_owned()),
                (2, "/dns4/a.example/tcp/4001".to_owned()),
                (2, "/dns4/b.example/tcp/4001".to_owned()),
            ]
        );
        assert_eq!(list.add("example.org:4001", 1, None).unwrap_err().kind, ErrorKind::Usage);
        let region = Some("x".repeat(REGION_BYTES_MAX + 1));
        assert!(list.add("/dns4/c.example/tcp/4001", 1, region).is_err());
        list.remove("/dns4/a.example/tcp/4001").unwrap();
        let gone = list.remove("/dns4/a.example/tcp/4001").unwrap_err();
        assert_eq!(gone.kind, ErrorKind::NotFound);
        for n in 0..PEERS_MAX - 2 {
            list.add(&format!("/ip4/203.0.113.7/tcp/{}", n + 1), 5, None).unwrap();
        }
        assert!(list.add("/ip4/203.0.113.8/tcp/1", 5, None).is_err());
        // One that is on the list may still be changed.
        list.add("/dns4/b.example/tcp/4001", 0, None).unwrap();

        home.write(FILE, b"[{\"address\": \"junk\", \"priority\": 1, \"region\": null}]").unwrap();
        let error = list.list().unwrap_err();
        assert!(error.message.contains("bootstrap.json") && error.hint.is_some());
    }
}
