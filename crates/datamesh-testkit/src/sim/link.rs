//! How a node hangs on the network, and what goes wrong there.

use std::ops::RangeInclusive;
use std::time::Duration;

/// A node's way to the middle of the network. A message from one node to another passes both
/// nodes' links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Time that a message takes on this link; drawn for each message, so that messages overtake
    /// each other.
    pub latency: RangeInclusive<Duration>,
    /// Bytes a second in each direction. Messages go through one after the other.
    pub bandwidth: u64,
}

impl Default for Link {
    /// 1 to 10 ms and a gigabit a second.
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(1)..=Duration::from_millis(10),
            bandwidth: 125_000_000,
        }
    }
}

/// What goes wrong with messages that leave or reach a node. Chances are per mille; a message
/// between two faulty nodes passes both faults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetFault {
    /// Chance that a message vanishes: nothing is heard of its exchange any more.
    pub loss: u32,
    /// Chance that a request is served twice, the second time some time later. The second reply
    /// goes nowhere.
    pub duplicate: u32,
    /// Chance that the connection breaks when a message arrives, and with it every exchange of
    /// the two nodes. A request that breaks it is not served.
    pub reset: u32,
    /// Longest additional delay of a message; drawn for each, so that messages change their order.
    pub delay: Duration,
    /// Nothing moves while this lasts: connections stay open, dials hang, messages wait.
    pub stall: bool,
}
