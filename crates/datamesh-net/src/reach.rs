//! Being reached: what others can dial this node at, and what is done where they cannot.
//!
//! Peers tell at which address they see this node; others are asked to dial it there (AutoNAT v2).
//! An address at which that worked, that the router gave (UPnP), or that the operator named counts
//! as external. A node without one keeps places at up to two relays, through which peers come to it
//! and then, where the NATs let them, straight (DCUtR). A node with one is a relay for others,
//! within limits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datamesh_core::{NodeId, Service};
use libp2p::core::transport::ListenerId;
use libp2p::{Multiaddr, PeerId, relay};
use tokio::time::Instant;

use crate::address;
use crate::identity::node_id;

/// Relays at which a node that cannot be reached keeps a place.
const RELAYS_MAX: usize = 2;

/// Addresses that a relay may tell of one place, renewals included.
const TOLD_MAX: usize = 256;

/// How long a relay that gave no place is left alone.
const RELAY_PAUSE: Duration = Duration::from_secs(30);

/// Peers remembered as relays.
const OFFERS_MAX: usize = 64;

/// External addresses remembered.
const EXTERNAL_MAX: usize = 16;

/// Ways to be found and to be reached. Each is off by default: a client needs none, and a node on
/// loopback must not send a packet elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Take part in the distributed hash table (Kademlia): addresses of peers and pointers to
    /// meshes, never files.
    pub dht: bool,
    /// Find peers on the local network, and be found there (mDNS). Never where all listeners are
    /// on loopback.
    pub mdns: bool,
    /// Ask the router for a port (UPnP). Never where all listeners are on loopback.
    pub upnp: bool,
    /// Have peers find out whether this node can be reached, and do the same for them (AutoNAT).
    /// Never where all listeners are on loopback.
    pub probe: bool,
    /// Keep places at relays where this node cannot be reached, and meet peers that come through
    /// them half-way (DCUtR). Never where all listeners are on loopback.
    pub relays: bool,
    /// Be a relay for others where this node can be reached.
    pub serve_relay: bool,
    /// Multiaddrs at which this node can be reached, as its operator knows.
    pub external: Vec<String>,
}

/// Whether others can dial this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nat {
    /// Nobody has found out.
    #[default]
    Unknown,
    /// They can.
    Reachable,
    /// They have tried and cannot.
    Unreachable,
}

/// How this node is reached, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reachability {
    /// Whether others can dial it.
    pub nat: Nat,
    /// Addresses outside the local network at which they can, sorted.
    pub external: Vec<String>,
    /// Addresses through relays at which it keeps a place, sorted.
    pub relayed: Vec<String>,
    /// A router gave it a port.
    pub mapped: bool,
    /// Places that other nodes keep here.
    pub reservations: usize,
    /// Connections of others that lead through this node now.
    pub circuits: usize,
    /// Peers that met this node straight after they came through a relay, since start.
    pub punched: u64,
}

#[derive(Debug, Default)]
struct State {
    external: BTreeMap<String, Multiaddr>,
    /// Someone tried an address outside the local network and failed.
    tried_in_vain: bool,
    mapped: bool,
    circuits: BTreeMap<String, Multiaddr>,
    reserved_here: BTreeSet<PeerId>,
    through_here: usize,
    punched: u64,
}

/// What is shared with the handle of the network.
#[derive(Debug, Default)]
pub(crate) struct Reached(Mutex<State>);

impl Reached {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read(&self) -> Reachability {
        let state = self.lock();
        Reachability {
            nat: match (state.external.is_empty(), state.tried_in_vain) {
                (false, _) => Nat::Reachable,
                (true, true) => Nat::Unreachable,
                (true, false) => Nat::Unknown,
            },
            external: state.external.keys().cloned().collect(),
            relayed: state.circuits.keys().cloned().collect(),
            mapped: state.mapped,
            reservations: state.reserved_here.len(),
            circuits: state.through_here,
            punched: state.punched,
        }
    }

    /// Notes an address at which others have dialled this node. Returns whether it says anything:
    /// an address of the local network does not.
    pub(crate) fn confirmed(&self, address: &Multiaddr) -> bool {
        let Some(address) = address::clean(address).filter(is_outside) else { return false };
        let mut state = self.lock();
        if state.external.len() < EXTERNAL_MAX {
            state.external.insert(address.to_string(), address);
        }
        true
    }

    /// Notes an address that the operator named, which may be of any network.
    pub(crate) fn named(&self, address: &Multiaddr) {
        let mut state = self.lock();
        if state.external.len() < EXTERNAL_MAX {
            state.external.insert(address.to_string(), address.clone());
        }
    }

    pub(crate) fn expired(&self, address: &Multiaddr) {
        if let Some(address) = address::clean(address) {
            self.lock().external.remove(&address.to_string());
        }
    }

    /// Notes that nobody could dial this node at an address.
    pub(crate) fn in_vain(&self, address: &Multiaddr) {
        if address::clean(address).is_some_and(|address| is_outside(&address)) {
            self.lock().tried_in_vain = true;
        }
    }

    pub(crate) fn mapped(&self, is_mapped: bool) {
        self.lock().mapped = is_mapped;
    }

    pub(crate) fn punched(&self) {
        self.lock().punched += 1;
    }

    pub(crate) fn circuit(&self, address: &Multiaddr, is_there: bool) {
        let Some(address) = address::clean(address) else { return };
        let mut state = self.lock();
        if is_there {
            state.circuits.insert(address.to_string(), address);
        } else {
            state.circuits.remove(&address.to_string());
        }
    }

    /// Counts what others do through this node.
    pub(crate) fn on_relay(&self, event: &relay::Event) {
        let mut state = self.lock();
        match event {
            relay::Event::ReservationReqAccepted { src_peer_id, .. } => {
                state.reserved_here.insert(*src_peer_id);
            }
            relay::Event::ReservationClosed { src_peer_id }
            | relay::Event::ReservationTimedOut { src_peer_id } => {
                state.reserved_here.remove(src_peer_id);
            }
            relay::Event::CircuitReqAccepted { .. } => state.through_here += 1,
            relay::Event::CircuitClosed { .. } => {
                state.through_here = state.through_here.saturating_sub(1);
            }
            _ => {}
        }
    }
}

/// Whether an address is of no local network (RFC 1918, 3927, 4193, 6598, loopback). Names count
/// as outside: whoever has one in public meant it so.
fn is_outside(address: &Multiaddr) -> bool {
    match address::ip(address) {
        Some(IpAddr::V4(ip)) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b);
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared)
        }
        Some(IpAddr::V6(ip)) => {
            !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local())
        }
        None => !address::is_relayed(address),
    }
}

/// Whether a node that listens at these multiaddrs is to be reached on its machine alone. True where
/// there are none.
pub fn only_on_loopback(listen: &[String]) -> bool {
    listen.iter().all(|text| text.parse().is_ok_and(|address| is_loopback(&address)))
}

/// Whether an address is on loopback.
pub(crate) fn is_loopback(address: &Multiaddr) -> bool {
    address::ip(address).is_some_and(|ip| ip.is_loopback())
}

/// A place at a relay.
#[derive(Debug)]
struct Place {
    relay: PeerId,
    /// Where it was asked for: what is announced, whatever the relay says of its addresses.
    address: Multiaddr,
    /// Addresses that the relay told.
    told: usize,
}

/// The relays at which this node has a place or wants one.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    /// Connected peers that are relays, and where.
    offers: BTreeMap<PeerId, Multiaddr>,
    places: HashMap<ListenerId, Place>,
    not_before: BTreeMap<PeerId, Instant>,
}

impl Relays {
    /// Notes that a connected peer is a relay.
    pub(crate) fn offered(&mut self, relay: PeerId, place: Multiaddr) {
        if self.offers.len() < OFFERS_MAX || self.offers.contains_key(&relay) {
            self.offers.insert(relay, place);
        }
    }

    /// Forgets a peer that is not connected any more.
    pub(crate) fn left(&mut self, relay: &PeerId) {
        self.offers.remove(relay);
    }

    /// The relay to ask for a place next, and the address to listen on for it. Peers that are known
    /// come first.
    pub(crate) fn next(
        &self,
        now: Instant,
        knows: impl Fn(NodeId) -> bool,
    ) -> Option<(PeerId, Multiaddr)> {
        if self.places.len() >= RELAYS_MAX {
            return None;
        }
        let usable = self.offers.iter().filter(|(relay, _)| {
            !self.places.values().any(|place| place.relay == **relay)
                && self.not_before.get(relay).is_none_or(|at| *at <= now)
        });
        let (relay, place) = usable.min_by_key(|(relay, _)| !node_id(relay).is_some_and(&knows))?;
        Some((*relay, address::through(place, *relay)))
    }

    /// Notes that a place at a relay was asked for.
    pub(crate) fn asked(&mut self, listener: ListenerId, relay: PeerId, address: Multiaddr) {
        self.places.insert(listener, Place { relay, address, told: 0 });
    }

    /// Notes that a relay told an address of a place. Returns where the place was asked for; nothing
    /// where the relay tells too many, which is a reason to leave it.
    pub(crate) fn told(&mut self, listener: &ListenerId) -> Option<Multiaddr> {
        let place = self.places.get_mut(listener)?;
        place.told += 1;
        (place.told <= TOLD_MAX).then(|| place.address.clone())
    }

    /// Where the place was asked for that a listener stands for.
    pub(crate) fn address(&self, listener: &ListenerId) -> Option<Multiaddr> {
        self.places.get(listener).map(|place| place.address.clone())
    }

    /// Notes that a relay gives no place.
    pub(crate) fn refused(&mut self, relay: PeerId, now: Instant) {
        self.not_before.retain(|_, at| *at > now);
        if self.not_before.len() < OFFERS_MAX {
            self.not_before.insert(relay, now + RELAY_PAUSE);
        }
    }

    /// Notes that a listener ended; true if it was a place at a relay.
    pub(crate) fn ended(&mut self, listener: ListenerId, now: Instant) -> bool {
        let Some(place) = self.places.remove(&listener) else { return false };
        self.refused(place.relay, now);
        true
    }

    /// Whether a listener is a place at a relay.
    pub(crate) fn has(&self, listener: &ListenerId) -> bool {
        self.places.contains_key(listener)
    }

    /// The listeners of all places, to end them.
    pub(crate) fn listeners(&self) -> Vec<ListenerId> {
        self.places.keys().copied().collect()
    }
}

/// The limits of this node as a relay. Only peers that the service knows get a place; anybody may
/// come to them through it, since whoever commands its node from elsewhere is nobody's peer yet.
pub(crate) fn relay_limits(service: Arc<dyn Service>) -> relay::Config {
    let mut config = relay::Config {
        max_reservations: 128,
        max_reservations_per_peer: 2,
        max_circuits: 64,
        max_circuits_per_peer: 8,
        // Long enough for files where no hole can be punched; a connection that is cut is made
        // again.
        max_circuit_duration: Duration::from_secs(30 * 60),
        max_circuit_bytes: 1 << 30,
        reservation_rate_limiters: Vec::new(),
        circuit_src_rate_limiters: Vec::new(),
        ..relay::Config::default()
    };
    config.reservation_rate_limiters.push(Box::new(
        move |peer: PeerId, _: &Multiaddr, _: std::time::Instant| {
            node_id(&peer).is_some_and(|node| service.knows(node))
        },
    ));
    const ONE_MINUTE: Duration = Duration::from_secs(60);
    const RESERVATIONS: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");
    const CIRCUITS: NonZeroU32 = NonZeroU32::new(60).expect("sixty is not zero");
    config
        .reservation_rate_per_peer(RESERVATIONS, ONE_MINUTE)
        .circuit_src_per_peer(CIRCUITS, ONE_MINUTE)
        .circuit_src_per_ip(CIRCUITS, ONE_MINUTE)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_what_is_outside_the_local_network_says_anything() {
        let reached = Reached::default();
        for local in [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/192.168.1.5/tcp/1",
            "/ip4/10.1.1.1/udp/1/quic-v1",
            "/ip4/100.64.0.1/tcp/1",
            "/ip4/169.254.7.7/tcp/1",
            "/ip6/fd00::1/tcp/1",
            "/ip6/fe80::1/tcp/1",
        ] {
            assert!(!reached.confirmed(&at(local)), "{local}");
            reached.in_vain(&at(local));
            assert_eq!(reached.read().nat, Nat::Unknown, "{local}");
        }
        reached.in_vain(&at("/ip4/203.0.113.5/tcp/1"));
        assert_eq!(reached.read().nat, Nat::Unreachable);
        assert!(reached.confirmed(&at("/ip6/2001:db8::5/tcp/1")));
        assert_eq!(reached.read().nat, Nat::Reachable);
        reached.expired(&at("/ip6/2001:db8::5/tcp/1"));
        assert_eq!(reached.read().nat, Nat::Unreachable);
    }

    #[test]
    fn places_are_kept_at_two_relays_and_one_that_refuses_is_left_alone() {
        let relays: Vec<PeerId> = (0..4).map(|_| PeerId::random()).collect();
        let mut kept = Relays::default();
        let now = Instant::now();
        for (n, relay) in relays.iter().enumerate() {
            kept.offered(*relay, at(&format!("/ip4/203.0.113.{n}/tcp/1")));
        }
        for _ in 0..2 {
            let (relay, address) = kept.next(now, |_| false).unwrap();
            assert!(address.to_string().ends_with(&format!("/p2p/{relay}/p2p-circuit")));
            kept.asked(ListenerId::next(), relay, address);
        }
        assert_eq!(kept.next(now, |_| false), None);
        let lost = kept.listeners()[0];
        let relay = kept.places[&lost].relay;
        for told in 0..2 * TOLD_MAX {
            assert_eq!(kept.told(&lost).is_some(), told < TOLD_MAX, "{told}");
        }
        assert!(kept.ended(lost, now) && !kept.ended(lost, now));
        let (other, _) = kept.next(now, |_| false).unwrap();
        assert_ne!(other, relay);
        for relay in &relays {
            if *relay != other {
                kept.left(relay);
            }
        }
        kept.refused(other, now);
        assert_eq!(kept.next(now, |_| false), None);
        assert!(kept.next(now + RELAY_PAUSE, |_| false).is_some());
    }
}
