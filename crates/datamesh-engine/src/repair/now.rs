//! A repair that somebody asked for: every member is asked, and what is missing is missed at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datamesh_core::{BoxFuture, NodeId, SegmentId};

use super::absence::Absences;
use super::checker::{Action, Facts, Rules, judge};
use super::mend::{MendError, Mended};
use super::survey::Reach;
use crate::engine::Engine;
use crate::transfer::Fault;

/// What a check of one segment found, and what was done.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The segment.
    pub segment: SegmentId,
    /// Distinct shards above k that were claimed, or proved where that was asked for.
    pub margin: i32,
    /// Shards that nobody who answers has.
    pub missing: Vec<u8>,
    /// Shards that are there in the end.
    pub present: Vec<u8>,
    /// Shards that were read whole and found to have their roots.
    pub verified: u64,
    /// Bytes read for that.
    pub verified_bytes: u64,
    /// Holders that did not have what they claimed.
    pub faults: Vec<Fault>,
    /// What was done, if anything.
    pub mended: Option<Mended>,
}

impl Engine {
    /// Checks a segment by asking every member, with `verify` by reading every shard whole, and
    /// mends it if its margin is at most `threshold`. Nothing is waited for.
    ///
    /// # Errors
    /// [`MendError`] where it needs mending and cannot be mended.
    pub fn repair_now(
        &self,
        segment: SegmentId,
        verify: bool,
        threshold: i32,
    ) -> BoxFuture<'_, Result<Checked, MendError>> {
        Box::pin(async move {
            let described = self.describe(&segment, &mut Vec::new()).await;
            let descriptor = match described {
                Some(descriptor) => descriptor,
                None => return Err(MendError::NoDescriptor),
            };
            let scheme = descriptor.scheme;
            let mut checked = Checked {
                segment,
                margin: 0,
                missing: Vec::new(),
                present: Vec::new(),
                verified: 0,
                verified_bytes: 0,
                faults: Vec::new(),
                mended: None,
            };
            let mut surveyed = self.survey_one(segment, &descriptor).await;
            if verify {
                let mut good: BTreeSet<(u8, NodeId)> = BTreeSet::new();
                for (shard, node) in &surveyed.claims {
                    match self.fetch_shard(segment, *shard, *node).await.2 {
                        Ok((cells, _)) => {
                            checked.verified += 1;
                            checked.verified_bytes += cells.len() as u64;
                            good.insert((*shard, *node));
                        }
                        Err(kind) => {
                            if kind.is_lack() {
                                self.doubt(&segment, (*shard, *node));
                            }
                            let fault = Fault { node: *node, shard: *shard, kind };
                            self.note_fault(&fault);
                            checked.faults.push(fault);
                        }
                    }
                }
                surveyed.claims.retain(|claim| good.contains(claim));
            }
            let holdings = self.holdings(&segment, scheme, &surveyed, &Absences::default(), None);
            let domains = self
                .view()
                .candidates(self.now())
                .into_iter()
                .filter(|candidate| candidate.eligible)
                .map(|candidate| candidate.domain)
                .collect();
            let unseen = BTreeMap::new();
            let mut facts =
                Facts { scheme, holdings: &holdings, unseen: &unseen, domains: &domains };
            let mut judgement = judge(&facts, &Rules::NOW);
            let back;
            if judgement.margin <= threshold
                && self.bring_back(segment, &judgement, &mut surveyed).await
            {
                back = self.holdings(&segment, scheme, &surveyed, &Absences::default(), None);
                facts.holdings = &back;
                judgement = judge(&facts, &Rules::NOW);
            }
            checked.margin = judgement.margin;
            checked.missing.clone_from(&judgement.missing);
            let there = (0..scheme.n() as u8).filter(|shard| !judgement.missing.contains(shard));
            checked.present = there.collect();
            if judgement.margin > threshold {
                return Ok(checked);
            }
            match judgement.action {
                Action::Rest | Action::Later(_) => {}
                Action::Lost => {
                    let have = usize::try_from(judgement.margin + scheme.k() as i32).unwrap_or(0);
                    return Err(MendError::BelowK { have, needed: scheme.k() });
                }
                Action::Wait => {
                    checked.mended =
                        Some(Mended { waiting: judgement.waiting, ..Mended::default() });
                }
                Action::Rebuild | Action::Copy => {
                    let claims = &surveyed.claims;
                    let done =
                        self.carry_out(&segment, &descriptor, claims, &judgement, None).await?;
                    checked.present.extend(done.rebuilt.iter().map(|(shard, _)| *shard));
                    checked.mended = Some(done);
                }
            }
            Ok(checked)
        })
    }

    /// The scheme of a segment, from its descriptor; nothing where no holder shows that.
    pub fn scheme_of<'a>(
        &'a self,
        segment: &'a SegmentId,
    ) -> BoxFuture<'a, Option<datamesh_core::Scheme>> {
        Box::pin(async move {
            let described = self.describe(segment, &mut Vec::new()).await;
            described.map(|descriptor| descriptor.scheme)
        })
    }

    async fn survey_one(
        &self,
        segment: SegmentId,
        descriptor: &Arc<datamesh_core::Descriptor>,
    ) -> super::survey::Surveyed {
        let question = [(segment, descriptor.scheme)];
        let surveyed = self.survey(&question, Reach::Everybody).await;
        surveyed.into_iter().next().unwrap_or_default()
    }
}
