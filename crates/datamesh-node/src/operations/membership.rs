//! Operations on the mesh, and how an operation without a daemon gets its network.

use std::sync::Arc;

use datamesh_api::{
    ErrorKind, InviteReply, InviteRequest, JoinReply, JoinRequest, OperationError, PeerInfo,
    PeerState, PeersReply,
};
use datamesh_core::invite::InvitePowers;
use datamesh_core::{InviteTicket, NodeId, Signer, Transport};
use datamesh_crypto::SigningKey;
use datamesh_engine::{Engine, Standing};
use datamesh_net::{Network, NetworkConfig, Reach, only_on_loopback};

use super::term::check_term;
use super::{HomeOperations, engine_over};
use crate::discovery::Discovery;
use crate::mesh::{self, InviteTerms, LateService};
use crate::service::remembered_listening;
use crate::system::SystemEntropy;

/// Peers that are tried for the membership view before giving up.
const VIEW_TRIES: usize = 8;

/// How long a command looks for a mesh that is not where it was.
const DISCOVERY_PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);

/// How a member stands, as the contract names it.
pub(super) fn peer_state(standing: Standing) -> PeerState {
    match standing {
        Standing::Alive => PeerState::Alive,
        Standing::Silent => PeerState::Silent,
        Standing::Draining => PeerState::Draining,
        Standing::Gone => PeerState::Gone,
    }
}

impl HomeOperations {
    /// The network of this process; a command without a daemon starts one with a throw-away key
    /// and no listener.
    pub(super) async fn network(&self) -> Result<&Network, OperationError> {
        self.shared
            .network
            .get_or_try_init(|| async {
                let key = SigningKey::draw(&SystemEntropy).secret();
                let settings = &self.shared.settings;
                let asked = &settings.network.reach;
                // Where all of the mesh that this home knows is on this machine, nothing is sent
                // beyond it.
                let mut known = remembered_listening(self.home())?;
                if let Some(ticket) = mesh::ticket(self.home())? {
                    known.extend(ticket.addresses);
                }
                let mut config = NetworkConfig::new(key, Arc::new(LateService::default()));
                config.access = settings.network.access.clone();
                // It is reached by nobody, and finds others where the home's node would.
                config.reach = Reach {
                    dht: asked.dht,
                    mdns: asked.mdns && !only_on_loopback(&known),
                    ..Reach::default()
                };
                let network = Network::start(config)
                    .await
                    .map_err(|error| OperationError::of(ErrorKind::Failed, &error))?;
                network.limit(settings.bandwidth.now().bandwidth);
                Ok(network)
            })
            .await
    }

    /// The engine of this process; a command without a daemon fetches the membership view from a
    /// node that it knows, in one request.
    pub(super) async fn engine(&self) -> Result<&Arc<Engine>, OperationError> {
        self.shared
            .engine
            .get_or_try_init(|| async {
                let home = self.home();
                let genesis = mesh::genesis(home)?.ok_or_else(|| mesh::no_mesh(home))?;
                let network = self.network().await?.clone();
                let transport: Arc<dyn Transport> = Arc::new(network);
                let (engine, db) = engine_over(home, Arc::clone(&transport), genesis)?;
                let mut peers: Vec<NodeId> = Vec::new();
                if let Some(ticket) = mesh::ticket(home)? {
                    transport.learn(ticket.issuer, &ticket.addresses);
                    peers.push(ticket.issuer);
                }
                if let Some(certificate) = mesh::certificate(home)? {
                    // The home's own node may be stopped; it is not worth a try.
                    peers.retain(|peer| *peer != certificate.claim.node);
                }
                let known = engine.peers();
                peers.extend(known.iter().map(|peer| peer.member.advert.node()));
                peers.truncate(VIEW_TRIES);
                engine.fetch_view(&peers).await;
                if self.network().await?.connected().is_empty() {
                    // Everyone has moved, or is away.
                    let discovery = Discovery {
                        bootstrap: &self.shared.bootstrap,
                        network: self.network().await?,
                        engine: Some(&engine),
                        dht: self.shared.settings.network.reach.dht,
                    };
                    // What is found by then is tried; nobody waits for a list of dead addresses.
                    drop(tokio::time::timeout(DISCOVERY_PATIENCE, discovery.round()).await);
                }
                let adverts: Vec<_> =
                    engine.peers().into_iter().map(|peer| peer.member.advert).collect();
                if let Err(error) = db.save_adverts(&adverts) {
                    tracing::warn!(%error, "adverts are not remembered");
                }
                Ok(engine)
            })
            .await
    }

    pub(super) async fn do_peers(&self) -> Result<PeersReply, OperationError> {
        let engine = self.engine().await?;
        engine.look_around().await;
        let local = self.shared.node.as_ref().map(|node| node.node);
        let peers = engine
            .peers()
            .into_iter()
            .map(|peer| {
                let (advert, score) = (&peer.member.advert, &peer.score);
                let claim = &advert.certificate.claim;
                let measured = |value: f64| (value > 0.0).then_some(value);
                PeerInfo {
                    node: claim.node,
                    local: Some(claim.node) == local,
                    state: peer_state(peer.standing),
                    domain: claim.domain.to_string(),
                    operator: claim.operator.clone(),
                    addresses: advert.addresses.clone(),
                    capacity: advert.counted_capacity(),
                    free_sixteenths: advert.free_class,
                    release: advert.release.clone(),
                    heard: peer.member.heard,
                    latency_ms: measured(score.latency_s * 1000.0),
                    goodput: measured(score.goodput),
                    successes: score.successes,
                    failures: score.failures,
                    wrong: score.wrong,
                }
            })
            .collect();
        Ok(PeersReply { peers })
    }

    pub(super) async fn do_invite(
        &self,
        request: InviteRequest,
    ) -> Result<InviteReply, OperationError> {
        let home = self.home();
        mesh::genesis(home)?.ok_or_else(|| mesh::no_mesh(home))?;
        let Some(ledger) = &self.shared.invites else {
            let message = format!("{} cannot issue invites", home.path().display());
            let made = OperationError::usage(message);
            return Err(match mesh::ticket(home)? {
                Some(ticket) => made.hint(format!(
                    "invites come from the home that founded the mesh; its node is {}",
                    ticket.issuer
                )),
                None => made.hint("invites come from the home that founded the mesh"),
            });
        };
        check_term(request.expires_ms)?;
        let node = mesh::node_key(home)?;
        let addresses = match self.shared.network.get() {
            Some(network) if self.shared.node.is_some() => network.announced(),
            _ => remembered_listening(home)?,
        };
        if addresses.is_empty() {
            let message = "the node of this home has never run, so nobody could use an invite";
            return Err(OperationError::usage(message).hint("start it first: datamesh service"));
        }
        let addresses = addresses.into_iter().take(datamesh_core::advert::ADDRESSES_MAX).collect();
        let terms = InviteTerms {
            uses: request.uses,
            expires_ms: request.expires_ms,
            powers: InvitePowers { node: request.node, account: request.account },
            bytes_per_node: request.bytes_per_node,
        };
        let ticket = ledger.issue(NodeId(node.public_key().0), addresses, &terms)?;
        let (expires, uses) = (ticket.expiry, ticket.uses);
        Ok(InviteReply { ticket: ticket.to_string(), expires, uses })
    }

    pub(super) async fn do_join(&self, request: JoinRequest) -> Result<JoinReply, OperationError> {
        let home = self.home();
        let ticket: InviteTicket =
            request.ticket.parse().map_err(|error: datamesh_core::invite::InviteError| {
                OperationError::of(ErrorKind::Usage, &error)
            })?;
        if let Some(genesis) = mesh::genesis(home)? {
            let message = if genesis.mesh_id() == ticket.mesh {
                format!("{} is in this mesh already", home.path().display())
            } else {
                format!("{} is in another mesh", home.path().display())
            };
            return Err(OperationError::usage(message).hint("use another home: --home DIR"));
        }
        let grant_key = self.shared.public.as_ref().map(|public| public.grant_key);
        let network = self.network().await?;
        let joined = mesh::join(home, network, ticket, grant_key).await?;
        Ok(JoinReply {
            mesh: joined.ticket.mesh,
            issuer: joined.ticket.issuer,
            account: self
                .shared
                .public
                .as_ref()
                .filter(|_| joined.granted)
                .map(|public| public.log.account),
            node_pending: joined.ticket.powers.node,
        })
    }
}
