//! Leaving: whether every shard of this node is held elsewhere.

use datamesh_core::{Descriptor, NodeId, SegmentId};

use super::{PAGE, Repairer};
use crate::view::Standing;

impl Repairer {
    /// Asks for each shard held here whether another node proves it. What one fails to prove is
    /// doubted, and copied after the next look.
    pub(super) async fn others_prove_all(&self) -> bool {
        let mut after = None;
        loop {
            let page = self.store.segments_after(after, PAGE);
            let Some((last, _)) = page.last() else { return true };
            after = Some(*last);
            for (segment, mask) in page {
                let Some(descriptor) = self.descriptor(segment).await else { return false };
                let holders = self.engine.remembered_holders(&segment).await;
                for shard in (0..32u8).filter(|shard| mask & (1 << shard) != 0) {
                    if !self.another_proves(&descriptor, segment, shard, &holders).await {
                        return false;
                    }
                }
            }
        }
    }

    async fn another_proves(
        &self,
        descriptor: &Descriptor,
        segment: SegmentId,
        shard: u8,
        holders: &[(u8, NodeId)],
    ) -> bool {
        let others = holders.iter().filter(|(held, node)| *held == shard && *node != self.node);
        for (_, node) in others {
            let stays = {
                let view = self.engine.view();
                let known = view.member(node);
                known.is_some_and(|m| view.standing(m, self.engine.now()) == Standing::Alive)
            };
            if !stays {
                continue;
            }
            match self.engine.prove_shard(descriptor, &segment, shard, *node).await {
                Ok(()) => return true,
                Err(kind) if kind.is_lack() => self.engine.doubt(&segment, (shard, *node)),
                Err(_) => {}
            }
        }
        false
    }
}
