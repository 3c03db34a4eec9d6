//! Named steps of nodes' processes, where a scenario ends them.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use datamesh_core::seam::Moment;
use datamesh_core::{BoxFuture, NodeId};
use tokio::time::sleep;

use super::World;
use super::life::Life;
use crate::disk::Crash;

/// A step in the middle of which a process ends takes less than two to the power of this many
/// milliseconds until then.
const TORN_BITS: u64 = 8;

/// What a world knows of steps.
#[derive(Default)]
pub(super) struct Steps {
    armed: Option<Armed>,
    crashed: Option<NodeId>,
    /// How often each step was begun.
    begun: BTreeMap<&'static str, u64>,
}

struct Armed {
    node: Option<NodeId>,
    point: &'static str,
    crash: Crash,
    /// Times that it is still to be begun.
    time: u64,
}

/// What becomes of a process at a step.
enum Fate {
    GoesOn,
    Ends,
    EndsAfter(Duration),
}

impl Steps {
    fn fate(
        &mut self,
        node: NodeId,
        (point, moment): (&'static str, Moment),
        draw: impl FnOnce() -> Duration,
    ) -> Fate {
        if moment == Moment::Before {
            *self.begun.entry(point).or_default() += 1;
        }
        let Some(armed) = &mut self.armed else { return Fate::GoesOn };
        if armed.point != point || armed.node.is_some_and(|only| only != node) {
            return Fate::GoesOn;
        }
        if moment == Moment::Before {
            armed.time = armed.time.saturating_sub(1);
        }
        if armed.time > 0 {
            return Fate::GoesOn;
        }
        match (armed.crash, moment) {
            (Crash::After, Moment::Before) | (Crash::Before, Moment::After) => Fate::GoesOn,
            (Crash::Torn, Moment::Before) => {
                // From now on it is this process that ends.
                armed.node = Some(node);
                Fate::EndsAfter(draw())
            }
            _ => {
                self.armed = None;
                self.crashed = Some(node);
                Fate::Ends
            }
        }
    }
}

impl World {
    /// Lets a process stop around the `time`-th step `point` from now, of that node or of any: it
    /// goes no further there, and [`crashed`](Self::crashed) says so. The scenario then kills it.
    pub fn crash_at(&self, node: Option<NodeId>, point: &'static str, crash: Crash, time: u64) {
        let armed = Armed { node, point, crash, time: time.max(1) };
        self.steps(|steps, _| (steps.armed, steps.crashed) = (Some(armed), None));
    }

    /// Waits until a process stopped at its step, and says whose.
    pub async fn crashed(&self) -> NodeId {
        loop {
            let notified = self.crash_notify().notified();
            if let Some(node) = self.steps(|steps, _| steps.crashed.take()) {
                return node;
            }
            notified.await;
        }
    }

    /// How often each step was begun so far, by any node.
    pub fn steps_begun(&self) -> BTreeMap<&'static str, u64> {
        self.steps(|steps, _| steps.begun.clone())
    }

    /// A process is at a step; what comes back is waited for.
    pub(super) fn step(
        &self,
        node: NodeId,
        life: &Arc<Life>,
        point: &'static str,
        moment: Moment,
    ) -> Option<BoxFuture<'static, ()>> {
        if life.has_ended() {
            return None;
        }
        let fate = self.steps(|steps, dice| {
            let draw = || {
                let bits = dice.below(TORN_BITS);
                Duration::from_millis(dice.below(1 << bits))
            };
            steps.fate(node, (point, moment), draw)
        });
        match fate {
            Fate::GoesOn => None,
            Fate::Ends => {
                self.crash_notify().notify_waiters();
                Some(Box::pin(pending()))
            }
            Fate::EndsAfter(time) => {
                let world = self.clone();
                let ends = async move {
                    sleep(time).await;
                    let ended = world.steps(|steps, _| {
                        let ends = steps.armed.take().is_some();
                        if ends {
                            steps.crashed = Some(node);
                        }
                        ends
                    });
                    if ended {
                        world.crash_notify().notify_waiters();
                    }
                };
                life.spawn(&self.failure(), Box::pin(ends));
                None
            }
        }
    }
}
