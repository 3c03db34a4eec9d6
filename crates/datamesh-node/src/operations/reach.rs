//! Operations about connections: how this side is connected, who else is there, who may connect.

use std::collections::BTreeMap;
use std::time::Duration;

use datamesh_api::{
    BandwidthLimits, BootstrapReply, BootstrapRequest, BreakerInfo, ConnectionInfo, DiscoverReply,
    DiscoverRequest, FoundBy, FoundPeer, NatState, OperationError, ReachSettings, TrafficStats,
    TransportReply,
};
use datamesh_core::{NodeId, Transport};
use datamesh_engine::Engine;
use datamesh_net::{BreakerState, Nat, PeerStatus, Source};
use tokio::time::Instant;

use super::HomeOperations;
use crate::discovery::Discovery;
use crate::mesh;

/// Longest search.
const DISCOVER_MAX: Duration = Duration::from_secs(600);

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn connection(status: PeerStatus) -> ConnectionInfo {
    let security = status.security;
    let (protocol, cipher_suite, key_exchange) = match security {
        Some(it) => (Some(it.protocol.to_owned()), it.cipher_suite, it.key_exchange),
        None => (None, None, None),
    };
    ConnectionInfo {
        node: status.peer,
        addresses: status.addresses,
        inbound: status.inbound,
        relayed: status.relayed,
        protocol,
        cipher_suite,
        post_quantum: key_exchange.as_ref().map(|name| name.contains("MLKEM")),
        key_exchange,
        round_trip_ms: status.round_trip.map(milliseconds),
        connected_ms: u64::try_from(status.connected_for.as_millis()).unwrap_or(u64::MAX),
        breaker: match status.breaker {
            BreakerState::Closed => BreakerInfo::Closed,
            BreakerState::Open(_) => BreakerInfo::Open,
            BreakerState::HalfOpen => BreakerInfo::HalfOpen,
        },
    }
}

impl HomeOperations {
    /// The engine, where the home is in a mesh.
    async fn engine_if_any(&self) -> Result<Option<&Engine>, OperationError> {
        match mesh::genesis(self.home())? {
            Some(_) => Ok(Some(&**self.engine().await?)),
            None => Ok(None),
        }
    }

    pub(super) async fn do_transport(&self) -> Result<TransportReply, OperationError> {
        if let Some(engine) = self.engine_if_any().await? {
            engine.look_around().await;
        }
        let network = self.network().await?;
        let reached = network.reachability();
        let settings = &self.shared.settings;
        let reach = network.reach();
        let limits = network.bandwidth();
        let statistics = network.statistics();
        Ok(TransportReply {
            service: self.shared.node.is_some(),
            node: network.local(),
            settings: ReachSettings {
                preset: settings.network.preset.to_owned(),
                dht: reach.dht,
                mdns: reach.mdns,
                upnp: reach.upnp,
                probe: reach.probe,
                relays: reach.relays,
                serve_relay: reach.serve_relay,
            },
            listening: network.listening(),
            announced: network.announced(),
            external: reached.external,
            nat: match reached.nat {
                Nat::Unknown => NatState::Unknown,
                Nat::Reachable => NatState::Reachable,
                Nat::Unreachable => NatState::Unreachable,
            },
            mapped: reached.mapped,
            relayed: reached.relayed,
            reservations: reached.reservations,
            circuits: reached.circuits,
            punched: reached.punched,
            bandwidth: BandwidthLimits {
                up: limits.up,
                down: limits.down,
                metered: settings.bandwidth.now().metered,
            },
            connections: network.peers().into_iter().map(connection).collect(),
            traffic: TrafficStats {
                bytes_in: statistics.bytes_in,
                bytes_out: statistics.bytes_out,
                calls: statistics.calls,
                calls_failed: statistics.calls_failed,
                served: statistics.served,
                dials: statistics.dials,
                dials_failed: statistics.dials_failed,
                connections_refused: statistics.connections_refused,
            },
        })
    }

    pub(super) async fn do_discover(
        &self,
        request: DiscoverRequest,
    ) -> Result<DiscoverReply, OperationError> {
        let patience = Duration::from_millis(request.timeout_ms);
        if patience > DISCOVER_MAX {
            let most = DISCOVER_MAX.as_secs();
            let message = format!("a search lasts at most {most} s");
            return Err(OperationError::usage(message));
        }
        let until = Instant::now() + patience;
        let engine = self.engine_if_any().await?;
        let network = self.network().await?;
        let reach = network.reach();
        let bootstrap = &*self.shared.bootstrap;
        let discovery = Discovery { bootstrap, network, engine, dht: reach.dht };
        let fresh = match tokio::time::timeout_at(until, discovery.round()).await {
            Ok(fresh) => fresh?,
            // What was found by then is shown.
            Err(_) => 0,
        };
        if reach.mdns {
            // Answers come when they come.
            tokio::time::sleep_until(until).await;
        }

        let mut found: BTreeMap<NodeId, FoundPeer> = BTreeMap::new();
        let mut add = |node: NodeId, by: FoundBy, addresses: &[String]| {
            let peer = found.entry(node).or_insert_with(|| FoundPeer {
                node,
                found_by: Vec::new(),
                addresses: Vec::new(),
                member: false,
                connected: false,
            });
            peer.member |= by == FoundBy::Member;
            if !peer.found_by.contains(&by) {
                peer.found_by.push(by);
            }
            for address in addresses {
                if !peer.addresses.contains(address) {
                    peer.addresses.push(address.clone());
                }
            }
        };
        for peer in engine.map(Engine::peers).unwrap_or_default() {
            let advert = &peer.member.advert;
            add(advert.node(), FoundBy::Member, &advert.addresses);
        }
        for peer in bootstrap.list()? {
            if let Some(node) = peer.node {
                add(node, FoundBy::Bootstrap, &[peer.address]);
            }
        }
        for sighting in network.sightings() {
            let by = match sighting.source {
                Source::Mdns => FoundBy::Mdns,
                Source::Dht => FoundBy::Dht,
            };
            add(sighting.peer, by, &sighting.addresses);
        }
        let connected = network.connected();
        let local = network.local();
        let mut peers: Vec<FoundPeer> =
            found.into_values().filter(|peer| peer.node != local).collect();
        for peer in &mut peers {
            peer.connected = connected.contains(&peer.node);
        }
        Ok(DiscoverReply { peers, fresh })
    }

    pub(super) async fn do_bootstrap(
        &self,
        request: BootstrapRequest,
    ) -> Result<BootstrapReply, OperationError> {
        let bootstrap = &self.shared.bootstrap;
        match request {
            BootstrapRequest::List => {}
            BootstrapRequest::Add { address, priority, region } => {
                bootstrap.add(&address, priority, region)?;
            }
            BootstrapRequest::Remove { address } => bootstrap.remove(&address)?,
            BootstrapRequest::Check => {
                let engine = self.engine_if_any().await?;
                bootstrap.start(self.network().await?, engine, true).await?;
            }
        }
        Ok(BootstrapReply { peers: bootstrap.list()? })
    }
}
