//! Opens and accepts the streams of exchanges on every connection.
//!
//! A behaviour of our own instead of `libp2p-stream`: that one hands inbound streams over through
//! a channel of one place and drops what comes in a burst, opens one stream at a time per
//! connection, and never forgets closed connections (0.5.0-alpha). Here an inbound stream becomes
//! a task at once or is reset because a limit is reached, and outbound streams are negotiated side
//! by side.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId,
    FromSwarm, NetworkBehaviour, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol,
    THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::address;
use crate::frame::PROTOCOL;
use crate::identity::node_id;
use crate::peers::{Connection, Peer, Peers, Usage};
use crate::security::Agreed;
use crate::serve::Server;

/// Requests for streams that wait for a connection's task.
const OPENS_WAITING_MAX: usize = 16;

/// A request for a new stream. Answered with the stream or why there is none.
pub(crate) type OpenStream = oneshot::Sender<Result<Stream, String>>;

/// The peer's key is of a kind that no node has.
#[derive(Debug, thiserror::Error)]
#[error("the peer {0} has no ed25519 key")]
struct NotANode(PeerId);

/// Keeps the table of peers and makes a [`Handler`] for each connection.
///
/// Must be the last behaviour of the swarm: it enters a connection in the table when it is asked
/// for the handler, and nothing may refuse the connection after that.
pub(crate) struct Behaviour {
    peers: Arc<Peers>,
    server: Arc<Server>,
    agreed: Agreed,
    handshake_timeout: Duration,
    idle_timeout: Duration,
}

impl Behaviour {
    pub(crate) fn new(
        peers: Arc<Peers>,
        server: Arc<Server>,
        agreed: Agreed,
        handshake_timeout: Duration,
        idle_timeout: Duration,
    ) -> Self {
        Self { peers, server, agreed, handshake_timeout, idle_timeout }
    }

    fn enter(
        &self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        inbound: bool,
        relayed: bool,
    ) -> Result<Handler, ConnectionDenied> {
        let node = node_id(&peer).ok_or_else(|| ConnectionDenied::new(NotANode(peer)))?;
        let (streams, requests) = mpsc::channel(OPENS_WAITING_MAX);
        let usage = Usage::new(self.idle_timeout);
        let gone = CancellationToken::new();
        let connection = Connection {
            id,
            streams,
            usage: Arc::clone(&usage),
            address: address.clone(),
            inbound,
            relayed,
            since: Instant::now(),
            security: self.agreed.take(&peer),
            round_trip: None,
            gone: gone.clone(),
        };
        let peer = self.peers.connected(node, connection);
        Ok(Handler {
            peer,
            server: Arc::clone(&self.server),
            requests,
            usage,
            gone,
            handshake_timeout: self.handshake_timeout,
        })
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // The far end of a relayed connection has no address of its own.
        self.enter(id, peer, remote, true, address::is_relayed(local))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.enter(id, peer, address, false, address::is_relayed(address))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) = event
            && let Some(node) = node_id(&peer_id)
        {
            self.peers.disconnected(node, connection_id);
        }
    }

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

/// Opens and accepts the streams of one connection, in the connection's own task.
pub(crate) struct Handler {
    peer: Arc<Peer>,
    server: Arc<Server>,
    requests: mpsc::Receiver<OpenStream>,
    usage: Arc<Usage>,
    gone: CancellationToken,
    handshake_timeout: Duration,
}

impl Handler {
    fn protocol() -> ReadyUpgrade<StreamProtocol> {
        ReadyUpgrade::new(StreamProtocol::new(PROTOCOL))
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = OpenStream;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, ()> {
        SubstreamProtocol::new(Self::protocol(), ()).with_timeout(self.handshake_timeout)
    }

    /// Idle streams do not count: they are kept on both sides for as long as the connection is.
    fn connection_keep_alive(&self) -> bool {
        self.usage.is_wanted()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, OpenStream, Infallible>> {
        while let Poll::Ready(Some(request)) = self.requests.poll_recv(cx) {
            // The caller may have given up while its request waited.
            if !request.is_closed() {
                let protocol = SubstreamProtocol::new(Self::protocol(), request)
                    .with_timeout(self.handshake_timeout);
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
        }
        Poll::Pending
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<Option<Infallible>> {
        // Who still asks for a stream learns at once that there will be none.
        self.requests.close();
        Poll::Ready(None)
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            '_,
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: mut stream,
                info: (),
            }) => {
                stream.ignore_for_keep_alive();
                let (usage, gone) = (Arc::clone(&self.usage), self.gone.clone());
                self.server.accept(&self.peer, stream, usage, gone);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: mut stream,
                info: request,
            }) => {
                stream.ignore_for_keep_alive();
                // If nobody waits any more the stream is dropped, which resets it.
                let _unwanted = request.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: request, error }) => {
                let reason = match error {
                    StreamUpgradeError::Timeout => "no stream was opened in time".to_owned(),
                    StreamUpgradeError::NegotiationFailed => {
                        format!("the peer does not speak {PROTOCOL}")
                    }
                    StreamUpgradeError::Io(error) => format!("no stream was opened: {error}"),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                let _unwanted = request.send(Err(reason));
            }
            _ => {}
        }
    }
}
