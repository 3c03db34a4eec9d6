//! What the world gives a node beside the network.

use std::sync::Arc;

use datamesh_core::seam::Moment;
use datamesh_core::{BoxFuture, Clock, Entropy, Executor, NodeId, Timestamp};

use super::World;
use super::life::Life;
use crate::random::SeededEntropy;

/// A node's wall clock: virtual time and the node's jumps.
pub(crate) struct SimClock {
    pub(crate) world: World,
    pub(crate) node: NodeId,
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.world.wall_clock(self.node)
    }
}

/// A node's stream of chance. It goes on when the node is revived.
pub(crate) struct SimEntropy(pub(crate) Arc<SeededEntropy>);

impl Entropy for SimEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// Runs the tasks of one life of a node. After its end, tasks and work are dropped undone.
pub(crate) struct SimExecutor {
    pub(crate) world: World,
    pub(crate) node: NodeId,
    pub(crate) life: Arc<Life>,
}

impl Executor for SimExecutor {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.life.spawn(&self.world.failure(), task);
    }

    fn block(&self, work: Box<dyn FnOnce() + Send + 'static>) {
        if !self.life.has_ended() {
            work();
        }
    }

    fn reached(&self, point: &'static str, moment: Moment) -> Option<BoxFuture<'static, ()>> {
        self.world.step(self.node, &self.life, point, moment)
    }
}
