//! Which multiaddrs mean something here: a host with a TCP port, a host with a UDP port and QUIC,
//! or a relay at such a place.

use std::net::IpAddr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::error::NetworkError;

/// Longest address in bytes of its binary form: a DNS name of 253 bytes with its port and a relay's
/// id fits.
const ADDRESS_BYTES_MAX: usize = 350;

/// The ways to a peer, the one that is tried first first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// TCP: the fastest for bulk.
    Tcp,
    /// QUIC, for reach through NATs.
    Quic,
    /// Through a relay.
    Relay,
}

/// Parses an address that can be dialled, without the peer id that may follow.
pub(crate) fn dialable(text: &str) -> Option<Multiaddr> {
    if text.len() > 2 * ADDRESS_BYTES_MAX {
        return None;
    }
    clean(&text.parse().ok()?)
}

/// The same for an address that is parsed already.
pub(crate) fn clean(address: &Multiaddr) -> Option<Multiaddr> {
    let mut parts = address.iter().peekable();
    let mut clean = host_and_port(&mut parts)?;
    // What follows is the peer itself, or a relay and then the peer itself.
    if let Some(Protocol::P2p(relay)) = parts.next() {
        match (parts.next(), parts.next(), parts.next()) {
            (None, _, _) => {}
            (Some(Protocol::P2pCircuit), None | Some(Protocol::P2p(_)), None) => {
                clean = clean.with(Protocol::P2p(relay)).with(Protocol::P2pCircuit);
            }
            _ => return None,
        }
    }
    (clean.len() <= ADDRESS_BYTES_MAX).then_some(clean)
}

/// The beginning of an address that says where to send packets to. What is left are a peer's id
/// and what comes after it, or nothing.
fn host_and_port<'a>(
    parts: &mut std::iter::Peekable<impl Iterator<Item = Protocol<'a>>>,
) -> Option<Multiaddr> {
    let host = parts.next()?;
    let usable = match &host {
        Protocol::Ip4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        Protocol::Ip6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => !name.is_empty(),
        _ => false,
    };
    let place = Multiaddr::empty().with(host);
    let place = match parts.next()? {
        Protocol::Tcp(port) if usable && port != 0 => place.with(Protocol::Tcp(port)),
        Protocol::Udp(port) if usable && port != 0 && parts.next() == Some(Protocol::QuicV1) => {
            place.with(Protocol::Udp(port)).with(Protocol::QuicV1)
        }
        _ => return None,
    };
    matches!(parts.peek(), None | Some(Protocol::P2p(_))).then_some(place)
}

/// How an address is reached.
pub(crate) fn way(address: &Multiaddr) -> Way {
    let mut way = Way::Tcp;
    for part in address {
        match part {
            Protocol::QuicV1 => way = Way::Quic,
            Protocol::P2pCircuit => return Way::Relay,
            _ => {}
        }
    }
    way
}

/// Whether an address leads through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    way(address) == Way::Relay
}

/// The address under which this node is reached through `relay`, which is reached at `place`.
pub(crate) fn through(place: &Multiaddr, relay: PeerId) -> Multiaddr {
    place.clone().with(Protocol::P2p(relay)).with(Protocol::P2pCircuit)
}

/// The IP address at the front, if there is one and it is the peer's own.
pub(crate) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    if is_relayed(address) {
        return None;
    }
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(ip.to_canonical()),
        _ => None,
    }
}

/// An address that a node can listen on.
pub(crate) struct Listenable {
    pub(crate) address: Multiaddr,
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    pub(crate) way: Way,
}

/// Parses an address that a node can listen on: an IP address with a TCP port, or with a UDP port
/// and QUIC.
pub(crate) fn listenable(text: &str) -> Result<Listenable, NetworkError> {
    let wrong = |reason: &str| NetworkError::Address {
        address: text.to_owned(),
        reason: reason.to_owned(),
    };
    let address: Multiaddr = text.parse().map_err(|_| wrong("not a multiaddr"))?;
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    let (ip, port, way) = match (ip(&address), parts.as_slice()) {
        (Some(ip), [_, Protocol::Tcp(port)]) => (ip, *port, Way::Tcp),
        (Some(ip), [_, Protocol::Udp(port), Protocol::QuicV1]) => (ip, *port, Way::Quic),
        _ => return Err(wrong("expected /ip4/…/tcp/…, /ip6/…/tcp/… or /ip4/…/udp/…/quic-v1")),
    };
    Ok(Listenable { address, ip, port, way })
}

/// Whether a node could be told to listen on this address. Nothing is tried.
///
/// # Errors
/// [`NetworkError::Address`] where it is none.
pub fn check_listen(text: &str) -> Result<(), NetworkError> {
    listenable(text).map(drop)
}

/// Whether a peer could be dialled at this address. Nothing is tried.
///
/// # Errors
/// [`NetworkError::Address`] where it could not.
pub fn check_dial(text: &str) -> Result<(), NetworkError> {
    parse_dial(text).map(drop)
}

/// An address that can be dialled and the peer that it names, if it names one.
pub(crate) fn parse_dial(
    text: &str,
) -> Result<(Multiaddr, Option<datamesh_core::NodeId>), NetworkError> {
    let wrong = |reason: &str| NetworkError::Address {
        address: text.to_owned(),
        reason: reason.to_owned(),
    };
    let dialable = dialable(text).ok_or_else(|| {
        wrong("an IP address or a DNS name is needed, and /tcp/<port> or /udp/<port>/quic-v1")
    })?;
    let whole: Multiaddr = text.parse().map_err(|_| wrong("not a multiaddr"))?;
    let named = match whole.iter().last() {
        Some(Protocol::P2p(peer)) => Some(
            crate::identity::node_id(&peer)
                .ok_or_else(|| wrong("what follows /p2p/ is no node's id"))?,
        ),
        _ => None,
    };
    if is_relayed(&dialable) && named.is_none() {
        return Err(wrong("behind a relay /p2p/<peer id> of the peer itself is needed"));
    }
    Ok((dialable, named))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq";

    #[test]
    fn only_a_host_and_a_port_are_dialled() {
        for good in [
            "/ip4/127.0.0.1/tcp/1",
            "/ip6/::1/tcp/9",
            "/dns/node.example/tcp/4001",
            "/ip4/10.0.0.1/udp/5/quic-v1",
        ] {
            assert_eq!(dialable(good).map(|a| a.to_string()).as_deref(), Some(good));
            let named = format!("{good}/p2p/{PEER}");
            assert_eq!(dialable(&named).map(|a| a.to_string()).as_deref(), Some(good));
            let relayed = format!("{good}/p2p/{PEER}/p2p-circuit");
            assert_eq!(dialable(&relayed).map(|a| a.to_string()), Some(relayed.clone()));
            let whole = format!("{relayed}/p2p/{PEER}");
            assert_eq!(dialable(&whole).map(|a| a.to_string()), Some(relayed));
        }
        for bad in [
            "",
            "nonsense",
            "/ip4/127.0.0.1",
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/224.0.0.1/tcp/1",
            "/ip4/127.0.0.1/tcp/0",
            "/ip4/127.0.0.1/udp/1",
            "/ip4/127.0.0.1/udp/0/quic-v1",
            "/ip4/127.0.0.1/tcp/1/ws",
            "/ip4/127.0.0.1/tcp/1/p2p-circuit",
            "/p2p-circuit",
            "/unix/tmp",
        ] {
            assert_eq!(dialable(bad), None, "{bad}");
        }
        let twice = format!("/ip4/1.2.3.4/tcp/1/p2p/{PEER}/p2p-circuit/p2p/{PEER}/p2p-circuit");
        assert_eq!(dialable(&twice), None);
        assert_eq!(dialable(&format!("/dns/{}/tcp/1", "a".repeat(2000))), None);
    }

    #[test]
    fn an_address_tells_its_way_and_a_relay_hides_the_peers_own() {
        let way = |text: &str| dialable(text).map(|address| super::way(&address));
        assert_eq!(way("/ip4/1.2.3.4/tcp/1"), Some(Way::Tcp));
        assert_eq!(way("/ip4/1.2.3.4/udp/1/quic-v1"), Some(Way::Quic));
        let relayed = dialable(&format!("/ip4/1.2.3.4/udp/1/quic-v1/p2p/{PEER}/p2p-circuit"));
        assert_eq!(relayed.as_ref().map(super::way), Some(Way::Relay));
        assert_eq!(relayed.as_ref().and_then(ip), None);
    }
}
