//! Taking shards that were moved out of the trash again, because nobody else has them.
//!
//! Nothing is lost by doing it: a shard too many is found by the next look of its holder. It costs
//! room and the reading of whole shards, so a request is bounded, and those of who is no member
//! more so.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use datamesh_core::NodeId;
use datamesh_core::message::{Refusal, Reply, WantedShards};
use datamesh_store::ShardState;

use super::{Answer, Holder, refuse, store_refusal};

/// Shards that one request takes back, at most: some gigabytes would be read for more.
const SHARDS_MAX: usize = 64;

/// Requests of peers that are no members that are looked at in one second, all of them together.
const STRANGERS: u64 = 8;

impl Holder {
    /// Takes back what is wanted and here, and says what of it is held then.
    pub(super) async fn take_back(&self, peer: NodeId, wanted: Vec<WantedShards>) -> Answer {
        if !self.may_see_members(&peer) {
            return refuse(Refusal::NotAdmitted, "say hello first");
        }
        let now = self.engine.now();
        if self.engine.view().member(&peer).is_none() {
            let mut bucket =
                self.looking.strangers_returns.lock().unwrap_or_else(PoisonError::into_inner);
            if !bucket.take(now, STRANGERS) {
                return refuse(Refusal::Busy, "too many shards are wanted back");
            }
        }
        let store = Arc::clone(&self.store);
        let held = self
            .block(move || {
                let mut room = SHARDS_MAX;
                let mut held = Vec::with_capacity(wanted.len());
                for WantedShards { segment, shards } in wanted {
                    let moved = (0..32u8)
                        .filter(|shard| shards & (1 << shard) != 0)
                        .filter(|shard| {
                            store.shard_state(segment, *shard) == Some(ShardState::Moved)
                        })
                        .take(room)
                        .fold(0, |mask, shard| mask | 1_u32 << shard);
                    if moved != 0 {
                        room -= moved.count_ones() as usize;
                        let back = store.take_back(segment, moved, now)?;
                        tracing::info!(%segment, shards = back, "moved shards were wanted back");
                    }
                    held.push(store.held(segment) & shards);
                }
                Ok(held)
            })
            .await?;
        Ok((Reply::Holding(held.map_err(store_refusal)?), Bytes::new()))
    }
}
