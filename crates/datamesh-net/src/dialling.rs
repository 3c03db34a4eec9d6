//! The dials that are under way.
//!
//! A peer is tried by its TCP addresses first, since TCP is the fastest for bulk; a moment later by
//! QUIC too, and then through relays, so that a silent address costs that moment and not its whole
//! timeout. Whatever connects first ends it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use datamesh_core::NodeId;
use libp2p::Multiaddr;
use libp2p::swarm::ConnectionId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::address::{self, Way};

/// How long one way is tried alone before the next is tried beside it.
const HEAD_START: Duration = Duration::from_millis(400);

/// Who waits for a dial.
pub(crate) type Done = oneshot::Sender<Result<(), String>>;

/// The dials of one peer.
#[derive(Debug)]
struct Dialling {
    waiting: Vec<Done>,
    /// Addresses by way, those that are tried next first.
    waves: VecDeque<Vec<Multiaddr>>,
    running: Vec<ConnectionId>,
    /// When the next wave starts beside those that run.
    next: Instant,
    reasons: Vec<String>,
}

/// What to do next about a peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Dial these, and tell how that was [`started`](Diallings::started).
    Dial(NodeId, Vec<Multiaddr>),
    /// Nothing is left to try.
    Failed(NodeId, String),
}

/// All of them. A peer is here exactly while it is dialled.
#[derive(Debug, Default)]
pub(crate) struct Diallings(BTreeMap<NodeId, Dialling>);

impl Diallings {
    /// Joins the dials of `node` that are under way, or begins them and says what to dial first.
    pub(crate) fn begin(
        &mut self,
        node: NodeId,
        addresses: Vec<Multiaddr>,
        done: Done,
        now: Instant,
    ) -> Option<Next> {
        if let Some(dialling) = self.0.get_mut(&node) {
            dialling.waiting.push(done);
            return None;
        }
        let mut by_way: BTreeMap<Way, Vec<Multiaddr>> = BTreeMap::new();
        for address in addresses {
            by_way.entry(address::way(&address)).or_default().push(address);
        }
        let dialling = Dialling {
            waiting: vec![done],
            waves: by_way.into_values().collect(),
            running: Vec::new(),
            next: now,
            reasons: Vec::new(),
        };
        self.0.insert(node, dialling);
        self.advance(node, now)
    }

    /// The next wave of a peer of which nothing runs or whose time has come.
    fn advance(&mut self, node: NodeId, now: Instant) -> Option<Next> {
        let dialling = self.0.get_mut(&node)?;
        if !dialling.running.is_empty() && now < dialling.next {
            return None;
        }
        match dialling.waves.pop_front() {
            Some(addresses) => {
                dialling.next = now + HEAD_START;
                Some(Next::Dial(node, addresses))
            }
            None if dialling.running.is_empty() => {
                let reason = dialling.reasons.join(", ");
                Some(Next::Failed(node, reason))
            }
            None => None,
        }
    }

    /// Notes that a dial of `node` runs.
    pub(crate) fn started(&mut self, node: NodeId, connection: ConnectionId) {
        if let Some(dialling) = self.0.get_mut(&node) {
            dialling.running.push(connection);
        }
    }

    /// Notes that a dial ended without a connection.
    pub(crate) fn failed(
        &mut self,
        node: NodeId,
        connection: ConnectionId,
        reason: String,
        now: Instant,
    ) -> Option<Next> {
        let dialling = self.0.get_mut(&node)?;
        let place = dialling.running.iter().position(|it| *it == connection)?;
        dialling.running.swap_remove(place);
        dialling.reasons.push(reason);
        self.advance(node, now)
    }

    /// Who waited for `node`, which is not dialled any more.
    pub(crate) fn end(&mut self, node: &NodeId) -> Vec<Done> {
        self.0.remove(node).map(|dialling| dialling.waiting).unwrap_or_default()
    }

    /// When the next wave of any peer is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.values().filter(|it| !it.waves.is_empty()).map(|it| it.next).min()
    }

    /// The waves that are due.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<Next> {
        let nodes: Vec<NodeId> = self
            .0
            .iter()
            .filter(|(_, it)| !it.waves.is_empty() && it.next <= now)
            .map(|(node, _)| *node)
            .collect();
        nodes.into_iter().filter_map(|node| self.advance(node, now)).collect()
    }

    /// Gives all of them up.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    const RELAY: &str = "/p2p/12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq/p2p-circuit";

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn ways_are_tried_in_turn_and_the_last_failure_tells_all_reasons() {
        let node = NodeId([1; 32]);
        let relayed = at(&format!("/ip4/10.0.0.9/tcp/1{RELAY}"));
        let all = vec![
            relayed.clone(),
            at("/ip4/10.0.0.1/udp/1/quic-v1"),
            at("/ip4/10.0.0.1/tcp/1"),
            at("/ip4/10.0.0.2/tcp/1"),
        ];
        let [one, two, three] = [1, 2, 3].map(ConnectionId::new_unchecked);
        let mut diallings = Diallings::default();
        let start = Instant::now();
        let first = diallings.begin(node, all, oneshot::channel().0, start).unwrap();
        let tcp = vec![at("/ip4/10.0.0.1/tcp/1"), at("/ip4/10.0.0.2/tcp/1")];
        assert_eq!(first, Next::Dial(node, tcp));
        diallings.started(node, one);
        // Another caller joins.
        assert_eq!(diallings.begin(node, vec![], oneshot::channel().0, start), None);
        assert_eq!(diallings.tick(start), []);

        let quic = Next::Dial(node, vec![at("/ip4/10.0.0.1/udp/1/quic-v1")]);
        assert_eq!(diallings.tick(diallings.due().unwrap()), [quic]);
        diallings.started(node, two);
        // One of two failed before the next wave is due: the other may still do it.
        assert_eq!(diallings.failed(node, one, "silent".to_owned(), start), None);
        // Nothing runs any more: no reason to wait.
        let next = diallings.failed(node, two, "refused".to_owned(), start);
        assert_eq!(next, Some(Next::Dial(node, vec![relayed])));
        diallings.started(node, three);
        assert_eq!(diallings.due(), None);
        // A dial that is not ours says nothing.
        assert_eq!(diallings.failed(node, one, "other".to_owned(), start), None);
        let failed = diallings.failed(node, three, "no reservation".to_owned(), start);
        let reasons = "silent, refused, no reservation".to_owned();
        assert_eq!(failed, Some(Next::Failed(node, reasons)));
        assert_eq!(diallings.end(&node).len(), 2);
        assert_eq!(diallings.end(&node).len(), 0);
    }
}
