//! Telling a holder that a reader found one of its shards to be wrong. The holder looks for itself;
//! nothing here waits for it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use datamesh_core::message::Request;
use datamesh_core::{NodeId, SegmentId};

use crate::ask::ask;
use crate::engine::Engine;
use crate::transfer::{Fault, FaultKind};

/// How long a holder may take to look.
const DEADLINE: Duration = Duration::from_secs(10);

/// Reports under way at once; others are left to the next reader.
const AT_ONCE: usize = 4;

/// Shards that were reported and are not reported again.
const REMEMBERED: usize = 1024;

/// A shard at a node.
type Reported = (SegmentId, u8, NodeId);

/// What was reported.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    sent: BTreeSet<Reported>,
    order: VecDeque<Reported>,
    running: usize,
}

impl Reports {
    /// Takes note of a report; false where it is not to be sent.
    fn begin(&mut self, reported: Reported) -> bool {
        if self.running >= AT_ONCE || !self.sent.insert(reported) {
            return false;
        }
        self.order.push_back(reported);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.sent.remove(&oldest);
        }
        self.running += 1;
        true
    }
}

/// A report under way; its place is free again when it ends in whatever way.
struct Running(Arc<Mutex<Reports>>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reports.running = reports.running.saturating_sub(1);
    }
}

impl Engine {
    /// Reports a fault that is about a shard's bytes to the node that served them.
    pub(crate) fn report(&self, segment: SegmentId, fault: &Fault) {
        if !matches!(fault.kind, FaultKind::WrongBytes | FaultKind::WrongProof) {
            return;
        }
        let (node, shard) = (fault.node, fault.shard);
        let begun = self
            .reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .begin((segment, shard, node));
        if !begun {
            return;
        }
        let running = Running(Arc::clone(&self.reports));
        let transport = Arc::clone(&self.transport);
        self.executor.spawn(Box::pin(async move {
            let _running = running;
            let request = Request::Report { segment, shard };
            match ask(&*transport, node, &request, Bytes::new(), DEADLINE).await {
                Ok((reply, _)) => tracing::debug!(%node, %segment, shard, ?reply, "reported"),
                Err(error) => tracing::debug!(%node, %segment, shard, %error, "not reported"),
            }
        }));
    }
}
