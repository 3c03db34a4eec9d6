//! What happened, in order.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use datamesh_core::{Hash, NodeId};

/// Events that are kept in memory; the digest covers all that ever were.
const EVENTS_KEPT_MAX: usize = 65_536;

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A node came up for the first time.
    Join,
    /// A node's process ended.
    Kill,
    /// A node came up again.
    Revive,
    /// The network was divided or joined: partition, cut, mend or heal.
    Partition,
    /// A node's link or faults were set.
    Fault,
    /// A node's clock jumped; the length is the jump in milliseconds.
    ClockJump,
    /// A connection was begun.
    Dial,
    /// A connection stands.
    Connect,
    /// A request left.
    Request,
    /// A request was handed to the peer's service.
    Serve,
    /// A request was handed to the peer's service a second time.
    ServeAgain,
    /// A reply left.
    Reply,
    /// A reply arrived: the exchange succeeded.
    Finish,
    /// A message vanished.
    Lose,
    /// A message broke its connection.
    Reset,
    /// The caller gave the exchange up.
    Cancel,
    /// An exchange failed: the peer could not be reached.
    Unreachable,
    /// An exchange failed: the deadline passed.
    Timeout,
    /// An exchange failed: the connection ended.
    Closed,
    /// An exchange failed: a message is above its bounds.
    TooLarge,
    /// An exchange failed: too many of them.
    Busy,
    /// An exchange failed: the calling node is dead.
    Shutdown,
    /// Something that the scenario noted.
    Note(String),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Join => "join",
            Self::Kill => "kill",
            Self::Revive => "revive",
            Self::Partition => "partition",
            Self::Fault => "fault",
            Self::ClockJump => "clock jump",
            Self::Dial => "dial",
            Self::Connect => "connect",
            Self::Request => "request",
            Self::Serve => "serve",
            Self::ServeAgain => "serve again",
            Self::Reply => "reply",
            Self::Finish => "finish",
            Self::Lose => "lose",
            Self::Reset => "reset",
            Self::Cancel => "cancel",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::TooLarge => "too large",
            Self::Busy => "busy",
            Self::Shutdown => "shutdown",
            Self::Note(text) => text,
        })
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Milliseconds since the world began.
    pub at: u64,
    /// The node that did it, or to which it happened; none for the world as a whole.
    pub from: Option<NodeId>,
    /// The node it was meant for.
    pub to: Option<NodeId>,
    /// What happened.
    pub what: What,
    /// Bytes of the message, or what the event says.
    pub length: i64,
    /// Hash of the message, where the event carries one.
    pub content: Option<Hash>,
}

/// The events of a run: the newest of them, and a digest of all.
///
/// Two runs with equal digests sent the same messages in the same order at the same times.
#[derive(Clone, Default)]
pub struct Trace {
    events: VecDeque<Event>,
    count: u64,
    hasher: blake3::Hasher,
    /// Nodes by the order in which they came, for people.
    names: BTreeMap<NodeId, usize>,
}

impl Trace {
    pub(crate) fn name(&mut self, node: NodeId, name: usize) {
        self.names.insert(node, name);
    }

    pub(crate) fn push(&mut self, event: Event) {
        let zero = [0; 32];
        self.hasher.update(&event.at.to_le_bytes());
        self.hasher.update(event.from.as_ref().map_or(&zero, |node| &node.0));
        self.hasher.update(event.to.as_ref().map_or(&zero, |node| &node.0));
        let what = event.what.to_string();
        self.hasher.update(&(what.len() as u64).to_le_bytes()).update(what.as_bytes());
        self.hasher.update(&event.length.to_le_bytes());
        self.hasher.update(event.content.as_ref().map_or(&zero, |hash| &hash.0));
        self.count += 1;
        if self.events.len() == EVENTS_KEPT_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// BLAKE3 over all events since the beginning.
    pub fn digest(&self) -> Hash {
        Hash(*self.hasher.finalize().as_bytes())
    }

    /// The newest events, at most 65,536, oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter()
    }

    /// How many events there ever were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many of the kept events are `what`.
    pub fn count_of(&self, what: &What) -> usize {
        self.events.iter().filter(|event| event.what == *what).count()
    }

    fn name_of(&self, node: NodeId) -> String {
        match self.names.get(&node) {
            Some(name) => format!("n{name}"),
            None => node.to_string(),
        }
    }
}

impl fmt::Display for Trace {
    /// A line an event; nodes are numbered in the order in which they came.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.events {
            write!(f, "{:>10} ms  ", event.at)?;
            if let Some(from) = event.from {
                write!(f, "{} ", self.name_of(from))?;
            }
            if let Some(to) = event.to {
                write!(f, "-> {} ", self.name_of(to))?;
            }
            write!(f, "{}", event.what)?;
            if event.length != 0 {
                write!(f, " {}", event.length)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
