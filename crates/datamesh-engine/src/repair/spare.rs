//! Whether a node's copy of a shard is one too many.
//!
//! A copy may be given up only where the mesh has as much without it: the same number of distinct
//! shards, in as many failure domains, and another member that says it holds this very shard and
//! proves it by reading. What was recorded of anybody counts for nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use datamesh_core::message::{LEASES_MAX, Refusal, Reply, Request, WantedShards};
use datamesh_core::{Descriptor, NodeId, SegmentId};
use futures::stream::{self, StreamExt};

use super::absence::Absences;
use super::checker::{Holding, Presence, Spare, spare};
use super::survey::{Claims, Surveyed};
use crate::ask::{AskError, ask};
use crate::engine::Engine;

/// How long a node may take to look for moved shards, which it reads whole.
const DEADLINE: Duration = Duration::from_secs(15);

/// Nodes asked at once that did not know who asks.
const ASKED_AT_ONCE: usize = 32;

impl Engine {
    /// Judges this node's own copy of a shard by what a survey found a moment ago. `Spare::Yes` means
    /// that another member has proved the shard just now.
    pub(crate) async fn judge_spare(
        &self,
        segment: SegmentId,
        descriptor: &Descriptor,
        shard: u8,
        surveyed: &Surveyed,
    ) -> Spare {
        let local = self.transport.local();
        let scheme = descriptor.scheme;
        let mut holdings = self.holdings(&segment, scheme, surveyed, &Absences::default(), None);
        holdings.retain(|held| held.node != local || held.shard != shard);
        let domain = {
            let view = self.view();
            view.member(&local).map(|member| member.advert.certificate.claim.domain.clone())
        };
        // Who is no member of its mesh yet keeps what it has.
        let Some(domain) = domain else { return Spare::No };
        let own = Holding { shard, node: local, domain, presence: Presence::Here };
        let judged = spare(scheme, &holdings, &own);
        if judged == Spare::No {
            return judged;
        }
        let others =
            holdings.iter().filter(|held| held.shard == shard && held.presence == Presence::Here);
        for other in others {
            match self.prove_shard(descriptor, &segment, shard, other.node).await {
                Ok(()) => return judged,
                Err(kind) if kind.is_lack() => self.doubt(&segment, (shard, other.node)),
                Err(_) => {}
            }
        }
        Spare::No
    }

    /// Asks all members for shards that were moved and lie in the trash somewhere, and returns who
    /// holds which of them then.
    pub(crate) async fn take_back(&self, wanted: &[WantedShards]) -> BTreeMap<SegmentId, Claims> {
        let mut back: BTreeMap<SegmentId, Claims> = BTreeMap::new();
        for batch in wanted.chunks(LEASES_MAX) {
            let request = Request::TakeBack(batch.to_vec());
            let mut answers = self.ask_all(self.members_now(), &request, DEADLINE);
            let mut strangers = Vec::new();
            while let Some((node, answer)) = answers.next().await {
                match answer {
                    Ok((Reply::Holding(held), _)) => note(&mut back, batch, node, &held),
                    Ok(_) => {}
                    Err(AskError::Refused { refusal: Refusal::NotAdmitted, .. }) => {
                        strangers.push(node);
                    }
                    Err(error) if error.is_absence() => self.note_answer(&node, true),
                    Err(_) => {}
                }
            }
            drop(answers);
            // They do not know yet who asks.
            let again = strangers.into_iter().map(|node| {
                let request = &request;
                async move {
                    self.introduce(node).await.ok()?;
                    match ask(&*self.transport, node, request, Bytes::new(), DEADLINE).await {
                        Ok((Reply::Holding(held), _)) => Some((node, held)),
                        _ => None,
                    }
                }
            });
            let mut again = stream::iter(again).buffer_unordered(ASKED_AT_ONCE);
            while let Some(answer) = again.next().await {
                let Some((node, held)) = answer else { continue };
                note(&mut back, batch, node, &held);
            }
        }
        back.values_mut().for_each(|claims| claims.sort_unstable());
        back
    }
}

fn note(
    back: &mut BTreeMap<SegmentId, Claims>,
    asked: &[WantedShards],
    node: NodeId,
    held: &[u32],
) {
    for (wanted, held) in asked.iter().zip(held) {
        let shards = (0..32u8).filter(|shard| held & wanted.shards & (1 << shard) != 0);
        back.entry(wanted.segment).or_default().extend(shards.map(|shard| (shard, node)));
    }
}
