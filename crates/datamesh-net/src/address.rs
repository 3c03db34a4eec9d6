//! Which multiaddrs mean something here: an IP address or a DNS name, and a TCP port.

use std::net::IpAddr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::error::NetworkError;

/// Longest address in bytes of its binary form: a DNS name of 253 bytes with its port fits.
const ADDRESS_BYTES_MAX: usize = 300;

/// Parses an address that can be dialled: host and TCP port, without the peer id that may follow.
pub(crate) fn dialable(text: &str) -> Option<Multiaddr> {
    if text.len() > 2 * ADDRESS_BYTES_MAX {
        return None;
    }
    clean(&text.parse().ok()?)
}

/// The same for an address that is parsed already.
pub(crate) fn clean(address: &Multiaddr) -> Option<Multiaddr> {
    let mut parts = address.iter();
    let host = parts.next()?;
    let usable = match &host {
        Protocol::Ip4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        Protocol::Ip6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => !name.is_empty(),
        _ => false,
    };
    let port = match parts.next()? {
        Protocol::Tcp(port) if usable && port != 0 => port,
        _ => return None,
    };
    match (parts.next(), parts.next()) {
        (None, _) | (Some(Protocol::P2p(_)), None) => {}
        _ => return None,
    }
    let clean = Multiaddr::empty().with(host).with(Protocol::Tcp(port));
    (clean.len() <= ADDRESS_BYTES_MAX).then_some(clean)
}

/// The IP address at the front, if there is one.
pub(crate) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(ip.to_canonical()),
        _ => None,
    }
}

/// Parses an address that a node can listen on: an IP address and a TCP port.
pub(crate) fn listenable(text: &str) -> Result<(Multiaddr, IpAddr, u16), NetworkError> {
    let wrong = |reason: &str| NetworkError::Address {
        address: text.to_owned(),
        reason: reason.to_owned(),
    };
    let address: Multiaddr = text.parse().map_err(|_| wrong("not a multiaddr"))?;
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    let (ip, port) = match (ip(&address), parts.as_slice()) {
        (Some(ip), [_, Protocol::Tcp(port)]) => (ip, *port),
        _ => return Err(wrong("expected /ip4/…/tcp/… or /ip6/…/tcp/…")),
    };
    Ok((address, ip, port))
}

/// Whether a node could be told to listen on this address. Nothing is tried.
///
/// # Errors
/// [`NetworkError::Address`] where it is none.
pub fn check_listen(text: &str) -> Result<(), NetworkError> {
    listenable(text).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_and_a_port_are_dialled() {
        for good in ["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/9", "/dns/node.example/tcp/4001"] {
            assert_eq!(dialable(good).map(|a| a.to_string()).as_deref(), Some(good));
        }
        let peer = "/ip4/10.0.0.1/tcp/5/p2p/12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq";
        assert_eq!(dialable(peer).map(|a| a.to_string()).as_deref(), Some("/ip4/10.0.0.1/tcp/5"));
        for bad in [
            "",
            "nonsense",
            "/ip4/127.0.0.1",
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/224.0.0.1/tcp/1",
            "/ip4/127.0.0.1/tcp/0",
            "/ip4/127.0.0.1/udp/1",
            "/ip4/127.0.0.1/tcp/1/ws",
            "/unix/tmp",
        ] {
            assert_eq!(dialable(bad), None, "{bad}");
        }
        assert_eq!(dialable(&format!("/dns/{}/tcp/1", "a".repeat(2000))), None);
    }
}
