//! Heads move with the ranking: when a node comes to be one of those that keep an account's heads,
//! those who have them hand them over.
//!
//! A head proves itself, so it does not matter who brings it, how often, or in which order: a node
//! keeps the newest. Nothing is taken away from nodes that are no longer asked.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use datamesh_core::head::Head;
use datamesh_core::{BoxFuture, NodeId, wire};
use datamesh_store::{Slot, Store};

use crate::engine::Engine;
use crate::heads::keepers;
use crate::placement::Candidate;
use crate::points;
use crate::work::{block, step};

/// Heads looked at in one step.
const PAGE: usize = 256;

/// Hands heads of one store over to nodes that have come to keep them.
pub struct HeadMover {
    engine: Arc<Engine>,
    store: Arc<Store>,
    settled: Mutex<Option<Settled>>,
}

/// The membership for which all heads here are where they belong.
#[derive(Clone)]
struct Settled {
    members: Vec<Candidate>,
    /// Those that answered then. One that comes back later may lack what it missed.
    reached: BTreeSet<NodeId>,
}

impl HeadMover {
    /// A mover that has seen nothing yet: its first pass only looks.
    pub fn new(engine: Arc<Engine>, store: Arc<Store>) -> Self {
        Self { engine, store, settled: Mutex::new(None) }
    }

    /// Hands over what the membership's changes since the last pass call for. Returns how many
    /// heads were handed over. Who does not answer gets them when it is heard of again.
    pub fn pass(&self) -> BoxFuture<'_, u64> {
        Box::pin(async move {
            let members = self.engine.candidates();
            let mut reached = self.engine.answering();
            // Mostly nothing has changed, and then nothing is copied.
            let Some(before) = self.unsettled(&members, &reached) else {
                self.settle(Settled { members, reached });
                return 0;
            };
            let (mut moved, mut after): (u64, Option<Slot>) = (0, None);
            loop {
                let page = self.store.heads_after(after, PAGE);
                let Some((last, _)) = page.last() else { break };
                after = Some(*last);
                for (slot, _) in page {
                    let had = keepers(&slot.0, &before.members);
                    let new: Vec<NodeId> = keepers(&slot.0, &members)
                        .into_iter()
                        .filter(|node| *node != self.engine.transport().local())
                        .filter(|node| reached.contains(node))
                        .filter(|node| !had.contains(node) || !before.reached.contains(node))
                        .collect();
                    if new.is_empty() {
                        continue;
                    }
                    let Some(head) = self.head(slot).await else { continue };
                    for node in new {
                        let carrying = self.engine.carry_head(node, &head);
                        if step(&**self.engine.executor(), points::HEAD_MOVE, carrying).await {
                            moved += 1;
                        } else {
                            reached.remove(&node);
                        }
                    }
                }
            }
            self.settle(Settled { members, reached });
            moved
        })
    }

    /// The membership of the last pass, where since then somebody came, went or was heard of again.
    fn unsettled(&self, members: &[Candidate], reached: &BTreeSet<NodeId>) -> Option<Settled> {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = |before: &&Settled| {
            !ids(&before.members).eq(ids(members)) || !before.reached.is_superset(reached)
        };
        settled.as_ref().filter(changed).cloned()
    }

    fn settle(&self, settled: Settled) {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = Some(settled);
    }

    async fn head(&self, slot: Slot) -> Option<Head> {
        let store = Arc::clone(&self.store);
        let kept = block(&**self.engine.executor(), move || store.head(&slot)).await?;
        // One that cannot be read is not handed on; others have it. Nobody would take one that expired.
        let head: Head = wire::decode(&kept.ok()??.head).ok()?;
        (!head.has_expired(self.engine.now())).then_some(head)
    }
}

/// In the order of a view, which is theirs.
fn ids(candidates: &[Candidate]) -> impl Iterator<Item = NodeId> {
    candidates.iter().map(|candidate| candidate.node)
}
