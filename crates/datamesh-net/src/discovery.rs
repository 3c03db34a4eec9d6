//! Finding peers whose address nobody told: through the distributed hash table (Kademlia) and on
//! the local network (mDNS).
//!
//! The table holds addresses of peers and pointers to meshes, which are provider records under the
//! mesh's id; other records are refused. What is found is a hint: the peer that answers at an
//! address proves its key like any other.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datamesh_core::NodeId;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig, RecordStore};
use libp2p::kad::{
    self, GetClosestPeersOk, GetProvidersOk, InboundRequest, Mode, QueryId, QueryResult, RecordKey,
    StoreInserts,
};
use libp2p::{Multiaddr, PeerId, StreamProtocol, mdns};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::address;
use crate::identity::{node_id, peer_id};

/// The name under which nodes speak Kademlia. It is our own, so that our table holds no others.
pub(crate) const DHT_PROTOCOL: StreamProtocol = StreamProtocol::new("/datamesh/kad/1");

/// Look-ups that run at once; more are refused.
const QUERIES_MAX: usize = 32;

/// How long a look-up may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

/// Keys under which others may leave pointers here.
const POINTERS_MAX: usize = 1024;

/// A pointer holds for this long and is renewed four times in it.
const POINTER_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Bytes of a key: those of a mesh's id.
const KEY_BYTES: usize = 32;

/// Peers seen that are remembered.
const SIGHTINGS_MAX: usize = 1024;

/// Addresses remembered of one.
const ADDRESSES_MAX: usize = 8;

/// How a peer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// On the local network.
    Mdns,
    /// In the distributed hash table.
    Dht,
}

/// A peer that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The peer.
    pub peer: NodeId,
    /// Where it may be reached.
    pub addresses: Vec<String>,
    /// How it was found last.
    pub source: Source,
    /// When it was found last.
    pub at: Instant,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Sightings(Mutex<BTreeMap<NodeId, Sighting>>);

impl Sightings {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Sighting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a peer was found. The one found longest ago makes room.
    pub(crate) fn saw(&self, peer: NodeId, address: Option<&Multiaddr>, source: Source) {
        let now = Instant::now();
        let mut seen = self.lock();
        if seen.len() >= SIGHTINGS_MAX && !seen.contains_key(&peer) {
            let oldest = seen.values().min_by_key(|it| it.at).map(|it| it.peer);
            if let Some(oldest) = oldest {
                seen.remove(&oldest);
            }
        }
        let sighting = seen.entry(peer).or_insert_with(|| Sighting {
            peer,
            addresses: Vec::new(),
            source,
            at: now,
        });
        (sighting.source, sighting.at) = (source, now);
        if let Some(address) = address.map(ToString::to_string)
            && !sighting.addresses.contains(&address)
        {
            sighting.addresses.truncate(ADDRESSES_MAX - 1);
            sighting.addresses.insert(0, address);
        }
    }

    /// Those found, in the order of ids.
    pub(crate) fn read(&self) -> Vec<Sighting> {
        self.lock().values().cloned().collect()
    }
}

/// The answer to a look-up.
pub(crate) type Found = oneshot::Sender<Result<Vec<NodeId>, String>>;

/// Look-ups that run.
#[derive(Debug, Default)]
pub(crate) struct Queries(HashMap<QueryId, Query>);

#[derive(Debug)]
struct Query {
    done: Found,
    /// The peer that is looked for, where it is one.
    wanted: Option<PeerId>,
    found: Vec<NodeId>,
}

/// The table's behaviour.
pub(crate) fn dht(local: PeerId, is_server: bool) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(DHT_PROTOCOL);
    config
        .set_query_timeout(QUERY_TIMEOUT)
        .set_record_filtering(StoreInserts::FilterBoth)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_record_ttl(Some(POINTER_LIFETIME))
        .set_provider_publication_interval(Some(POINTER_LIFETIME / 4))
        .set_caching(kad::Caching::Disabled)
        .disjoint_query_paths(true);
    let store = MemoryStoreConfig {
        // Records with values are refused before they come here.
        max_records: 1,
        max_value_bytes: 1,
        max_provided_keys: POINTERS_MAX,
        ..MemoryStoreConfig::default()
    };
    let store = MemoryStore::with_config(local, store);
    let mut dht = kad::Behaviour::with_config(local, store, config);
    dht.set_mode(Some(if is_server { Mode::Server } else { Mode::Client }));
    dht
}

/// What is looked for.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// The addresses of a peer.
    Peer(NodeId),
    /// Peers that point to a key.
    Pointers([u8; KEY_BYTES]),
}

impl Queries {
    /// Starts a look-up.
    pub(crate) fn start(
        &mut self,
        dht: Option<&mut kad::Behaviour<MemoryStore>>,
        lookup: &Lookup,
        done: Found,
    ) {
        let refuse = |done: Found, why: &str| {
            let _caller_gone = done.send(Err(why.to_owned()));
        };
        let Some(dht) = dht else {
            return refuse(done, "the distributed hash table is off");
        };
        if self.0.len() >= QUERIES_MAX {
            return refuse(done, "too many look-ups run already");
        }
        let (id, wanted) = match lookup {
            Lookup::Peer(node) => match peer_id(node) {
                Some(peer) => (dht.get_closest_peers(peer), Some(peer)),
                None => return refuse(done, "the id is not a key"),
            },
            Lookup::Pointers(key) => (dht.get_providers(RecordKey::new(key)), None),
        };
        self.0.insert(id, Query { done, wanted, found: Vec::new() });
    }

    /// Takes what the table tells. Addresses of the peer looked for are handed to `learn`.
    pub(crate) fn on_event(
        &mut self,
        dht: &mut kad::Behaviour<MemoryStore>,
        event: kad::Event,
        sightings: &Sightings,
        mut learn: impl FnMut(NodeId, Vec<Multiaddr>),
    ) {
        match event {
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => {
                let Some(query) = self.0.get_mut(&id) else { return };
                match result {
                    QueryResult::GetClosestPeers(Ok(GetClosestPeersOk { peers, .. })) => {
                        for peer in peers {
                            let Some(node) = node_id(&peer.peer_id) else { continue };
                            let addresses: Vec<Multiaddr> = peer
                                .addrs
                                .iter()
                                .filter_map(address::clean)
                                .take(ADDRESSES_MAX)
                                .collect();
                            for address in &addresses {
                                sightings.saw(node, Some(address), Source::Dht);
                            }
                            if query.wanted == Some(peer.peer_id) {
                                query.found.push(node);
                                learn(node, addresses);
                            }
                        }
                    }
                    QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders {
                        providers,
                        ..
                    })) => {
                        for node in providers.iter().filter_map(node_id) {
                            if query.found.len() < SIGHTINGS_MAX && !query.found.contains(&node) {
                                query.found.push(node);
                                sightings.saw(node, None, Source::Dht);
                            }
                        }
                    }
                    _ => {}
                }
                if step.last
                    && let Some(query) = self.0.remove(&id)
                {
                    let _caller_gone = query.done.send(Ok(query.found));
                }
            }
            kad::Event::InboundRequest {
                request: InboundRequest::AddProvider { record: Some(mut record) },
            } => {
                record.addresses = record.addresses.iter().filter_map(address::clean).collect();
                record.addresses.truncate(ADDRESSES_MAX);
                if record.key.to_vec().len() == KEY_BYTES && node_id(&record.provider).is_some() {
                    // A full store keeps what it has.
                    let _full = dht.store_mut().add_provider(record);
                }
            }
            _ => {}
        }
    }
}

/// Keeps what the local network told bounded: whoever is on it chooses ids and addresses.
#[expect(deprecated, reason = "nothing else bounds what the library remembers")]
pub(crate) fn bound_mdns(mdns: &mut mdns::tokio::Behaviour) {
    let surplus: Vec<PeerId> = mdns.discovered_nodes().skip(SIGHTINGS_MAX).copied().collect();
    for peer in surplus {
        mdns.expire_node(&peer);
    }
}

/// Takes what the local network tells; addresses are handed to `learn`.
pub(crate) fn on_mdns(
    event: mdns::Event,
    sightings: &Sightings,
    mut learn: impl FnMut(NodeId, Multiaddr),
) {
    let mdns::Event::Discovered(found) = event else { return };
    for (peer, address) in found.into_iter().take(SIGHTINGS_MAX) {
        if let (Some(node), Some(address)) = (node_id(&peer), address::clean(&address)) {
            sightings.saw(node, Some(&address), Source::Mdns);
            learn(node, address);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn what_was_seen_is_bounded_in_peers_and_in_addresses_of_each() {
        let sightings = Sightings::default();
        let at =
            |port: usize| -> Multiaddr { format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap() };
        let node = |n: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_le_bytes());
            NodeId(id)
        };
        for port in 1..100 {
            sightings.saw(node(0), Some(&at(port)), Source::Mdns);
            sightings.saw(node(0), Some(&at(port)), Source::Dht);
        }
        let seen = sightings.read();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].addresses.len(), ADDRESSES_MAX);
        assert_eq!(seen[0].addresses[0], at(99).to_string());
        assert_eq!(seen[0].source, Source::Dht);
        for n in 1..2 * SIGHTINGS_MAX {
            sightings.saw(node(n), None, Source::Dht);
        }
        let seen = sightings.read();
        assert_eq!(seen.len(), SIGHTINGS_MAX);
        assert!(seen.iter().any(|it| it.peer == node(2 * SIGHTINGS_MAX - 1)));
        assert!(seen.iter().all(|it| it.peer != node(0)));
    }
}
