//! A connection between two nodes.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datamesh_core::NodeId;
use tokio::sync::Notify;

/// One connection. It is closed once.
pub(crate) struct Connection {
    pub(crate) ends: (NodeId, NodeId),
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// What ended it.
    closed: Option<String>,
    /// Both ends noticed by themselves, without hearing of the other.
    noticed: bool,
    /// A partition lies between the ends.
    severed: bool,
    /// Counts the changes of `severed`.
    severance: u64,
}

impl Connection {
    pub(crate) fn between(one: NodeId, other: NodeId) -> Self {
        let ends = Self::key(one, other);
        Self { ends, state: Mutex::default(), changed: Notify::new() }
    }

    /// The two ends in order.
    pub(crate) fn key(one: NodeId, other: NodeId) -> (NodeId, NodeId) {
        (one.min(other), one.max(other))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection; the ends learn it when the way between them is free.
    pub(crate) fn close(&self, reason: &str) {
        self.state().closed.get_or_insert_with(|| reason.to_owned());
        self.changed.notify_waiters();
    }

    /// Says whether a partition lies between the ends. Returns a number for
    /// [`give_up`](Self::give_up) if that began now.
    pub(crate) fn sever(&self, severed: bool) -> Option<u64> {
        let mut state = self.state();
        if state.severed == severed {
            return None;
        }
        state.severed = severed;
        state.severance += 1;
        severed.then_some(state.severance)
    }

    /// Ends the connection at both ends if the same partition still lies between them.
    pub(crate) fn give_up(&self, severance: u64) -> bool {
        {
            let mut state = self.state();
            if state.severance != severance {
                return false;
            }
            state.noticed = true;
            state.closed.get_or_insert_with(|| "pings are not answered".to_owned());
        }
        self.changed.notify_waiters();
        true
    }

    /// Waits for the end and returns its reason.
    pub(crate) async fn closed(&self) -> String {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(reason) = &self.state().closed {
                return reason.clone();
            }
            changed.await;
        }
    }

    /// Waits until the ends noticed the end by themselves.
    pub(crate) async fn noticed(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.state().noticed {
                return;
            }
            changed.await;
        }
    }
}
