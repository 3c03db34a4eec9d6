//! Bounds what strangers may have this node probe.
//!
//! Every peer tells at which address it sees us, and the probing of such addresses keeps each that
//! it ever heard. This wrapper lets a limited number of different ones through, so that peers who
//! make addresses up cannot grow the table.

use std::collections::BTreeSet;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

/// Different addresses that are ever let through.
const CANDIDATES_MAX: usize = 64;

/// `inner`, with a bounded number of addresses to probe.
pub(crate) struct Bounded<B> {
    inner: B,
    seen: BTreeSet<Multiaddr>,
}

impl<B> Bounded<B> {
    pub(crate) fn new(inner: B) -> Self {
        Self { inner, seen: BTreeSet::new() }
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Bounded<B> {
    type ConnectionHandler = B::ConnectionHandler;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(id, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(id, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::NewExternalAddrCandidate(candidate) = &event
            && !self.seen.contains(candidate.addr)
        {
            if self.seen.len() >= CANDIDATES_MAX {
                return;
            }
            self.seen.insert(candidate.addr.clone());
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.inner.on_connection_handler_event(peer, id, event);
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::convert::Infallible;

    use libp2p::swarm::{NewExternalAddrCandidate, dummy};

    use super::*;

    /// Counts the candidates that reach it.
    #[derive(Default)]
    struct Count(usize);

    impl NetworkBehaviour for Count {
        type ConnectionHandler = dummy::ConnectionHandler;
        type ToSwarm = Infallible;

        fn handle_established_inbound_connection(
            &mut self,
            _: ConnectionId,
            _: PeerId,
            _: &Multiaddr,
            _: &Multiaddr,
        ) -> Result<THandler<Self>, ConnectionDenied> {
            Ok(dummy::ConnectionHandler)
        }

        fn handle_established_outbound_connection(
            &mut self,
            _: ConnectionId,
            _: PeerId,
            _: &Multiaddr,
            _: Endpoint,
            _: PortUse,
        ) -> Result<THandler<Self>, ConnectionDenied> {
            Ok(dummy::ConnectionHandler)
        }

        fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
            self.0 += usize::from(matches!(event, FromSwarm::NewExternalAddrCandidate(_)));
        }

        fn on_connection_handler_event(
            &mut self,
            _: PeerId,
            _: ConnectionId,
            event: THandlerOutEvent<Self>,
        ) {
            match event {}
        }

        fn poll(
            &mut self,
            _: &mut Context<'_>,
        ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
            Poll::Pending
        }
    }

    #[test]
    fn made_up_addresses_do_not_pile_up_and_a_known_one_still_counts() {
        let mut bounded = Bounded::new(Count::default());
        let mut tell = |port: u16| {
            let addr: Multiaddr = format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap();
            let event = NewExternalAddrCandidate { addr: &addr };
            bounded.on_swarm_event(FromSwarm::NewExternalAddrCandidate(event));
            bounded.inner.0
        };
        for port in 1..=u16::MAX {
            tell(port);
        }
        assert_eq!(tell(60_000), CANDIDATES_MAX);
        assert_eq!(tell(1), CANDIDATES_MAX + 1);
    }
}
