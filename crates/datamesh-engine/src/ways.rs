//! The ways between nodes: who is connected to whom, and what a way carries.
//!
//! What is measured is measured with bytes that really move, by the same requests as everything else, so
//! that it has the encryption, the limits and the queues of what it stands for.

use std::time::Duration;

use bytes::Bytes;
use datamesh_core::message::{Link, PROBE_BYTES_MAX, Reply, Request};
use datamesh_core::{BoxFuture, NodeId};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use crate::ask::{AskError, ask};
use crate::engine::Engine;

/// How long a node may take to tell whom it is connected to.
const LINKS_DEADLINE: Duration = Duration::from_secs(5);

/// How long one probe may take.
const PROBE_DEADLINE: Duration = Duration::from_secs(10);

/// Probes with a body that are under way at once: enough to fill a way of 100 ms and 300 Mbit/s.
const PROBES_AT_ONCE: usize = 4;

/// Most probes without a body of one measurement.
const ROUND_TRIPS_MAX: usize = 1000;

/// Pause between two of them.
const ROUND_TRIP_PAUSE: Duration = Duration::from_millis(10);

/// What moved in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Bytes of bodies that arrived.
    pub bytes: u64,
    /// How long that took.
    pub time: Duration,
    /// Probes that brought no answer.
    pub lost: u64,
}

/// What was measured of the way to a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WayMeasured {
    /// Round trips of empty requests, in the order in which they were made.
    pub round_trips: Vec<Duration>,
    /// Empty requests that brought no answer.
    pub lost: u64,
    /// From here to the node.
    pub up: Flow,
    /// From the node to here.
    pub down: Flow,
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

impl Engine {
    /// Members with a live connection to this node.
    pub fn links(&self) -> Vec<Link> {
        let view = self.view();
        let links = self.transport.links().into_iter();
        links.filter(|link| view.member(&link.peer).is_some()).collect()
    }

    /// Asks a node which members it is connected to, and how many they are.
    ///
    /// # Errors
    /// [`AskError`] where it does not answer, or does not tell.
    pub fn links_of(&self, node: NodeId) -> BoxFuture<'_, Result<(Vec<Link>, u32), AskError>> {
        Box::pin(async move {
            let request = Request::Links;
            let answer =
                ask(&*self.transport, node, &request, Bytes::new(), LINKS_DEADLINE).await?;
            match answer {
                (Reply::Links { links, count }, _) => Ok((links, count)),
                _ => Err(AskError::OffTopic { peer: node }),
            }
        })
    }

    /// Measures the way to a node for about `time`: a fifth of it round trips, the rest half and half bytes
    /// in each direction, of which at most `bytes_max` in each.
    ///
    /// # Errors
    /// [`AskError`] where the node does not answer the first request.
    pub fn measure_way(
        &self,
        node: NodeId,
        time: Duration,
        bytes_max: u64,
    ) -> BoxFuture<'_, Result<WayMeasured, AskError>> {
        Box::pin(async move {
            // The first one may have to dial.
            self.probe(node, Bytes::new(), 0).await?;
            let mut way = WayMeasured::default();
            let until = Instant::now() + time / 5;
            while Instant::now() < until && way.round_trips.len() < ROUND_TRIPS_MAX {
                let asked = Instant::now();
                match self.probe(node, Bytes::new(), 0).await {
                    Ok(()) => way.round_trips.push(asked.elapsed()),
                    Err(_) => way.lost += 1,
                }
                tokio::time::sleep(ROUND_TRIP_PAUSE).await;
            }
            let each = time * 2 / 5;
            way.up = self.flow(node, Direction::Up, each, bytes_max).await;
            way.down = self.flow(node, Direction::Down, each, bytes_max).await;
            Ok(way)
        })
    }

    /// One probe: a body that goes up was taken whole, one that comes down has the length asked for.
    async fn probe(&self, node: NodeId, body: Bytes, reply_bytes: u32) -> Result<(), AskError> {
        let request = Request::Probe { reply_bytes };
        match ask(&*self.transport, node, &request, body, PROBE_DEADLINE).await? {
            (Reply::Probed, body) if body.len() == reply_bytes as usize => Ok(()),
            _ => Err(AskError::OffTopic { peer: node }),
        }
    }

    async fn flow(
        &self,
        node: NodeId,
        direction: Direction,
        time: Duration,
        bytes_max: u64,
    ) -> Flow {
        let body = match direction {
            Direction::Up => {
                let mut body = vec![0; PROBE_BYTES_MAX];
                self.entropy.fill(&mut body);
                Bytes::from(body)
            }
            Direction::Down => Bytes::new(),
        };
        let reply_bytes = match direction {
            Direction::Up => 0,
            Direction::Down => PROBE_BYTES_MAX as u32,
        };
        let most = bytes_max.div_ceil(PROBE_BYTES_MAX as u64);
        let (began, mut begun, mut flow) = (Instant::now(), 0, Flow::default());
        let until = began + time;
        let mut probes = FuturesUnordered::new();
        loop {
            while probes.len() < PROBES_AT_ONCE && begun < most && Instant::now() < until {
                probes.push(self.probe(node, body.clone(), reply_bytes));
                begun += 1;
            }
            match probes.next().await {
                None => break,
                Some(Ok(())) => flow.bytes += PROBE_BYTES_MAX as u64,
                Some(Err(_)) => {
                    flow.lost += 1;
                    // A way that carries nothing is not asked for ever.
                    if flow.bytes == 0 && flow.lost >= PROBES_AT_ONCE as u64 {
                        break;
                    }
                }
            }
        }
        flow.time = began.elapsed();
        flow
    }
}
