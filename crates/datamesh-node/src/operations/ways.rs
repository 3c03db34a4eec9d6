//! Operations about the ways between nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use datamesh_api::{
    Asked, BandwidthLimits, BandwidthReply, BandwidthRequest, ErrorKind, FlowInfo, NetworkLink,
    NetworkNode, NetworkReply, NetworkRequest, OperationError, RoundTrips, WayInfo,
};
use datamesh_core::NodeId;
use datamesh_core::message::Link;
use datamesh_engine::{Flow, PeerView, WayMeasured};
use futures::stream::{self, StreamExt};
use tokio::time::Instant;

use super::HomeOperations;
use super::membership::peer_state;

/// Nodes of one answer.
const NODES_MAX: usize = 1024;

/// Connections of one answer.
const LINKS_MAX: usize = 16 * 1024;

/// Nodes asked at once.
const ASKED_AT_ONCE: usize = 16;

/// Most bytes that a measurement moves in each direction.
const BYTES_MAX: u64 = 4 << 30;

fn flow(bytes: u64, time: Duration, lost: u64) -> FlowInfo {
    let seconds = time.as_secs_f64();
    let bytes_per_second = if seconds > 0.0 { bytes as f64 / seconds } else { 0.0 };
    FlowInfo { bytes, seconds, bytes_per_second, lost }
}

fn measured(flowed: &Flow) -> FlowInfo {
    flow(flowed.bytes, flowed.time, flowed.lost)
}

/// Percentiles by the nearest rank.
fn round_trips(way: &WayMeasured) -> Option<RoundTrips> {
    let ms: Vec<f64> = way.round_trips.iter().map(|time| time.as_secs_f64() * 1000.0).collect();
    let mut sorted = ms.clone();
    sorted.sort_by(f64::total_cmp);
    let rank = |part: f64| {
        let at = (part * sorted.len() as f64).ceil() as usize;
        sorted.get(at.saturating_sub(1)).copied()
    };
    let differences = ms.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    let jitter =
        differences.fold(0.0, |sum, it| sum + it) / ms.len().saturating_sub(1).max(1) as f64;
    Some(RoundTrips {
        count: ms.len() as u64,
        lost: way.lost,
        least: *sorted.first()?,
        p50: rank(0.5)?,
        p90: rank(0.9)?,
        p99: rank(0.99)?,
        most: *sorted.last()?,
        jitter,
    })
}

/// What is known of the topology so far.
#[derive(Default)]
struct Topology {
    /// Members of the mesh. Whoever is told of beside these was made up, or has yet to be heard of here: nobody
    /// is asked on another node's word alone.
    members: BTreeSet<NodeId>,
    distances: BTreeMap<NodeId, u32>,
    asked: BTreeMap<NodeId, (Asked, Option<u32>)>,
    links: Vec<NetworkLink>,
    more: bool,
}

impl Topology {
    /// Takes in what a node told. Returns whom it led to that was not known.
    fn told(&mut self, from: NodeId, links: Vec<Link>, count: u32) -> Vec<NodeId> {
        self.asked.insert(from, (Asked::Told, Some(count)));
        self.more |= (count as usize) > links.len();
        let distance = self.distances.get(&from).map_or(1, |distance| distance + 1);
        let mut fresh = Vec::new();
        // Whoever tells of itself, or twice of another, tells nothing.
        let mut told = BTreeSet::from([from]);
        for link in links {
            if !told.insert(link.peer) {
                continue;
            }
            if !self.members.contains(&link.peer) || self.links.len() >= LINKS_MAX {
                self.more = true;
                continue;
            }
            self.links.push(NetworkLink {
                from,
                to: link.peer,
                round_trip_ms: link.round_trip_us.map(|time| f64::from(time) / 1000.0),
                relayed: link.relayed,
            });
            if !self.distances.contains_key(&link.peer) {
                if self.distances.len() >= NODES_MAX {
                    self.more = true;
                    continue;
                }
                self.distances.insert(link.peer, distance);
                fresh.push(link.peer);
            }
        }
        fresh
    }
}

impl HomeOperations {
    pub(super) async fn do_network(
        &self,
        request: NetworkRequest,
    ) -> Result<NetworkReply, OperationError> {
        let depth = request.depth;
        if !(1..=NetworkRequest::DEPTH_MAX).contains(&depth) {
            let most = NetworkRequest::DEPTH_MAX;
            return Err(OperationError::usage(format!("the depth is a number from 1 to {most}")));
        }
        let engine = self.engine().await?;
        engine.look_around().await;
        let local = engine.transport().local();
        let members: BTreeMap<NodeId, PeerView> =
            engine.peers().into_iter().map(|peer| (peer.member.advert.node(), peer)).collect();
        let mut topology =
            Topology { members: members.keys().copied().collect(), ..Topology::default() };
        topology.distances.insert(local, 0);
        let own = engine.links();
        let count = u32::try_from(own.len()).unwrap_or(u32::MAX);
        let mut next = topology.told(local, own, count);
        for _ in 1..depth {
            let asking = std::mem::take(&mut next).into_iter();
            let asking = asking.map(|node| async move { (node, engine.links_of(node).await) });
            let mut answers = stream::iter(asking).buffer_unordered(ASKED_AT_ONCE);
            while let Some((node, answer)) = answers.next().await {
                match answer {
                    Ok((links, count)) => next.extend(topology.told(node, links, count)),
                    Err(error) => {
                        tracing::debug!(%node, %error, "a node does not tell its connections");
                        topology.asked.insert(node, (Asked::Silent, None));
                    }
                }
            }
        }
        let mut ids: BTreeSet<NodeId> = topology.distances.keys().copied().collect();
        for id in members.keys() {
            if ids.len() >= NODES_MAX && !ids.contains(id) {
                topology.more = true;
                break;
            }
            ids.insert(*id);
        }
        let node = |node: NodeId| {
            let member = members.get(&node);
            let claim = member.map(|peer| &peer.member.advert.certificate.claim);
            let (asked, connected) =
                topology.asked.get(&node).copied().unwrap_or((Asked::NotAsked, None));
            NetworkNode {
                node,
                domain: claim.map(|claim| claim.domain.to_string()),
                state: member.map(|peer| peer_state(peer.standing)),
                local: node == local,
                distance: topology.distances.get(&node).copied(),
                asked,
                connected,
            }
        };
        let mut nodes: Vec<NetworkNode> = ids.into_iter().map(node).collect();
        nodes.sort_by_key(|node| (node.distance.unwrap_or(u32::MAX), node.node));
        topology.links.sort_by_key(|link| (link.from, link.to));
        Ok(NetworkReply { nodes, links: topology.links, more: topology.more })
    }

    /// The member whose id begins so.
    async fn member_named(&self, name: &str) -> Result<PeerView, OperationError> {
        let engine = self.engine().await?;
        let local = engine.transport().local();
        // Ids all begin alike, and what is shown of them in a narrow terminal is what follows.
        let fits = |id: &str| {
            let rest = id.strip_prefix(NodeId::TEXT_PREFIX).unwrap_or(id);
            !name.is_empty() && (id.starts_with(name) || rest.starts_with(name))
        };
        let mut found: Vec<PeerView> = engine
            .peers()
            .into_iter()
            .filter(|peer| fits(&peer.member.advert.node().to_string()))
            .collect();
        let member = found.pop().ok_or_else(|| {
            let message = format!("no member of the mesh is called \"{name}\"");
            OperationError::new(ErrorKind::NotFound, message)
                .hint("datamesh peers lists the members")
        })?;
        if !found.is_empty() {
            return Err(OperationError::usage(format!(
                "\"{name}\" begins the ids of {} members",
                found.len() + 1
            )));
        }
        if member.member.advert.node() == local {
            return Err(OperationError::usage("that is this node itself"));
        }
        Ok(member)
    }

    pub(super) async fn do_bandwidth(
        &self,
        request: BandwidthRequest,
    ) -> Result<BandwidthReply, OperationError> {
        if !(100..=BandwidthRequest::DURATION_MAX_MS).contains(&request.duration_ms) {
            return Err(OperationError::usage("what moves is measured for 0.1 s to 5 min"));
        }
        let duration = Duration::from_millis(request.duration_ms);
        let member = match &request.peer {
            Some(name) => {
                self.engine().await?.look_around().await;
                Some(self.member_named(name).await?)
            }
            None if self.shared.node.is_none() => {
                return Err(OperationError::usage("no node runs in this home, so nothing moves")
                    .hint("name a node to measure the way to it: --test-peer ID"));
            }
            None => None,
        };
        let network = self.network().await?;
        let (began, before) = (Instant::now(), network.statistics());
        let way = match member {
            Some(member) => Some(self.measure(&member, duration).await?),
            None => {
                tokio::time::sleep(duration).await;
                None
            }
        };
        let (time, after) = (began.elapsed(), network.statistics());
        let limits = network.bandwidth();
        Ok(BandwidthReply {
            limits: BandwidthLimits {
                up: limits.up,
                down: limits.down,
                metered: self.shared.settings.bandwidth.now().metered,
            },
            up: flow(after.bytes_out.saturating_sub(before.bytes_out), time, 0),
            down: flow(after.bytes_in.saturating_sub(before.bytes_in), time, 0),
            way,
        })
    }

    async fn measure(
        &self,
        member: &PeerView,
        duration: Duration,
    ) -> Result<WayInfo, OperationError> {
        let engine = self.engine().await?;
        let claim = &member.member.advert.certificate.claim;
        let node = claim.node;
        let way = engine.measure_way(node, duration, BYTES_MAX).await.map_err(|error| {
            OperationError::of(ErrorKind::Network, &error)
                .hint("datamesh peers tells who answers; datamesh transport, how it is connected")
        })?;
        let link = engine.links().into_iter().find(|link| link.peer == node);
        Ok(WayInfo {
            node,
            domain: claim.domain.to_string(),
            relayed: link.map(|link| link.relayed),
            round_trips: round_trips(&way),
            up: measured(&way.up),
            down: measured(&way.down),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_on_another_nodes_word_alone() {
        let id = |number: u8| NodeId([number; 32]);
        let link = |number| Link { peer: id(number), round_trip_us: None, relayed: false };
        let mut topology = Topology { members: [1, 2, 3].map(id).into(), ..Topology::default() };
        topology.distances.insert(id(1), 0);
        assert_eq!(topology.told(id(1), vec![link(2)], 1), [id(2)]);
        assert!(!topology.more);
        // Two are made up, one is told of itself.
        let told = vec![link(9), link(2), link(3), link(8), link(1)];
        assert_eq!(topology.told(id(2), told, 5), [id(3)]);
        assert!(topology.more);
        let ways: Vec<_> = topology.links.iter().map(|link| (link.from, link.to)).collect();
        assert_eq!(ways, [(id(1), id(2)), (id(2), id(3)), (id(2), id(1))]);
        assert_eq!(topology.distances[&id(3)], 2);
    }

    #[test]
    fn percentiles_are_by_the_nearest_rank() {
        let ms = |ms: u64| Duration::from_millis(ms);
        let way = WayMeasured {
            round_trips: (1..=100).map(ms).collect(),
            lost: 2,
            ..WayMeasured::default()
        };
        let Some(trips) = round_trips(&way) else { panic!("there are some") };
        assert_eq!((trips.count, trips.lost), (100, 2));
        let found = [trips.least, trips.p50, trips.p90, trips.p99, trips.most, trips.jitter];
        assert_eq!(found.map(f64::round), [1.0, 50.0, 90.0, 99.0, 100.0, 1.0]);
        assert_eq!(round_trips(&WayMeasured::default()), None);
    }
}
