//! Who may connect: lists of peers and of networks that are let in or kept out.
//!
//! What is denied stays out, whatever else says that it may come in. Where anything is allowed by
//! name, only what is allowed comes in. The lists count for connections in both directions. A peer
//! behind a relay, or dialled by a name, has no address here, so only its id counts.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::task::{Context, Poll};

use datamesh_core::NodeId;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use crate::address;
use crate::identity::node_id;

/// A peer, or the peers of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The peer with this id.
    Peer(NodeId),
    /// Peers whose IP address begins with so many bits of this one.
    Addresses {
        /// The address.
        ip: IpAddr,
        /// The bits, from the highest.
        bits: u8,
    },
}

/// A text that is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is neither a peer id nor an IP address nor a network such as 10.0.0.0/8")]
pub struct RuleError(String);

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let wrong = || RuleError(text.chars().take(80).collect());
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let Ok(ip) = ip.parse::<IpAddr>() else {
            return text.parse().map(Self::Peer).map_err(|_| wrong());
        };
        let all = if ip.is_ipv4() { 32 } else { 128 };
        let bits: u8 = match bits {
            None => all,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= all).ok_or_else(wrong)?,
        };
        // An IPv4 address written as one of IPv6 has 96 bits before its own.
        let canonical = ip.to_canonical();
        let before = if ip.is_ipv6() && canonical.is_ipv4() { 96 } else { 0 };
        let bits = bits.checked_sub(before).ok_or_else(wrong)?;
        Ok(Self::Addresses { ip: canonical, bits })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => peer.fmt(out),
            Self::Addresses { ip, bits } => write!(out, "{ip}/{bits}"),
        }
    }
}

impl Rule {
    fn covers_peer(&self, peer: &NodeId) -> bool {
        matches!(self, Self::Peer(named) if named == peer)
    }

    fn covers_ip(&self, seen: IpAddr) -> bool {
        let Self::Addresses { ip, bits } = self else { return false };
        match (ip, seen.to_canonical()) {
            (IpAddr::V4(ip), IpAddr::V4(seen)) => {
                let differing = u32::from(*ip) ^ u32::from(seen);
                differing.leading_zeros() >= u32::from(*bits)
            }
            (IpAddr::V6(ip), IpAddr::V6(seen)) => {
                let differing = u128::from(*ip) ^ u128::from(seen);
                differing.leading_zeros() >= u32::from(*bits)
            }
            _ => false,
        }
    }
}

/// The lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Where this is not empty, nobody else is let in.
    pub allow: Vec<Rule>,
    /// Who is kept out in any case.
    pub deny: Vec<Rule>,
}

impl Access {
    /// Whether a peer at an address, where it has one, may be connected with.
    pub fn permits(&self, peer: &NodeId, ip: Option<IpAddr>) -> bool {
        let covered = |rules: &[Rule]| {
            rules
                .iter()
                .any(|rule| rule.covers_peer(peer) || ip.is_some_and(|ip| rule.covers_ip(ip)))
        };
        !covered(&self.deny) && (self.allow.is_empty() || covered(&self.allow))
    }

    /// Whether somebody at an address may try: false only where no peer could be permitted there.
    fn permits_ip(&self, ip: IpAddr) -> bool {
        let covered = |rules: &[Rule]| rules.iter().any(|rule| rule.covers_ip(ip));
        let by_id = self.allow.iter().any(|rule| matches!(rule, Rule::Peer(_)));
        !covered(&self.deny) && (self.allow.is_empty() || by_id || covered(&self.allow))
    }
}

/// The lists say no.
#[derive(Debug, thiserror::Error)]
#[error("the lists of who may connect keep it out")]
struct KeptOut;

/// Refuses connections that the lists do not permit.
pub(crate) struct Behaviour(pub(crate) Access);

impl Behaviour {
    fn check(&self, peer: &PeerId, at: &Multiaddr) -> Result<(), ConnectionDenied> {
        let permitted = node_id(peer).is_some_and(|node| self.0.permits(&node, address::ip(at)));
        if permitted { Ok(()) } else { Err(ConnectionDenied::new(KeptOut)) }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = std::convert::Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        match address::ip(remote) {
            Some(ip) if !self.0.permits_ip(ip) => Err(ConnectionDenied::new(KeptOut)),
            _ => Ok(()),
        }
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        // Before a packet is sent, as far as it is known by then who and where it is.
        let node = peer.as_ref().and_then(node_id);
        let named = node.is_some_and(|node| self.0.deny.iter().any(|rule| rule.covers_peer(&node)));
        let mut ips = addresses.iter().filter_map(address::ip);
        if named || ips.any(|ip| !self.0.permits_ip(ip)) {
            return Err(ConnectionDenied::new(KeptOut));
        }
        Ok(Vec::new())
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check(&peer, remote)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        at: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check(&peer, at)?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn rules(texts: &[&str]) -> Vec<Rule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn at(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn what_is_denied_stays_out_and_what_is_not_allowed_too() {
        let (friend, other) = (NodeId([1; 32]), NodeId([2; 32]));
        let open = Access::default();
        assert!(open.permits(&other, at("203.0.113.9")) && open.permits(&other, None));

        let deny = rules(&["203.0.113.0/24", "2001:db8::/32", &other.to_string()]);
        let closed = Access { deny, ..Access::default() };
        assert!(!closed.permits(&friend, at("203.0.113.9")));
        assert!(!closed.permits(&friend, at("::ffff:203.0.113.9")));
        assert!(!closed.permits(&friend, at("2001:db8:1::1")));
        assert!(!closed.permits(&other, at("198.51.100.1")) && !closed.permits(&other, None));
        assert!(closed.permits(&friend, at("203.0.114.9")) && closed.permits(&friend, None));

        let allow = rules(&[&friend.to_string(), "10.0.0.0/8"]);
        let members = Access { allow, deny: rules(&["10.1.2.3"]) };
        assert!(members.permits(&friend, at("203.0.113.9")));
        assert!(members.permits(&other, at("10.9.9.9")));
        assert!(!members.permits(&other, at("11.9.9.9")) && !members.permits(&other, None));
        assert!(!members.permits(&friend, at("10.1.2.3")));
        assert!(members.permits_ip("203.0.113.9".parse().unwrap()), "a friend may call from there");
        let lan = Access { allow: rules(&["0.0.0.0/0"]), ..Access::default() };
        assert!(lan.permits_ip("203.0.113.9".parse().unwrap()));
        assert!(!lan.permits_ip("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn a_rule_reads_back_and_what_is_none_is_said() {
        for text in ["10.0.0.0/8", "::1/128", &NodeId([1; 32]).to_string()] {
            assert_eq!(text.parse::<Rule>().map(|rule| rule.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("10.0.0.1".parse::<Rule>().unwrap().to_string(), "10.0.0.1/32");
        for mapped in ["::ffff:10.1.0.0/112", "::ffff:10.1.2.3"] {
            let deny = vec![mapped.parse().unwrap()];
            let closed = Access { deny, ..Access::default() };
            assert!(!closed.permits(&NodeId([1; 32]), at("10.1.2.3")), "{mapped}");
        }
        assert!("::ffff:10.1.0.0/95".parse::<Rule>().is_err());
        for bad in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "all", "::/129", "1.2.3.4/-1"] {
            assert!(bad.parse::<Rule>().is_err(), "{bad}");
        }
    }
}
