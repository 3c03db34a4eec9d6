//! Moving shards to nodes that are less full, one after another, when nothing is to be mended.
//!
//! The bytes are copied first, and the new holder proves them by reading; then all holders are asked
//! once more, and only where the segment has as much without this node's copy does that go to the
//! trash. It is removed by the collector, which looks once more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use datamesh_core::{NodeId, Scheme, SegmentId};
use datamesh_store::StoreError;
use tokio::time::{Instant, timeout};

use super::look::Terms;
use super::{MEND_PATIENCE, Repairer, SETTLE_MAX};
use crate::placement::ranking;
use crate::repair::checker::{Action, Holding, Judgement, Spare};
use crate::repair::mend::MendError;
use crate::repair::rebalance::{Facts, Fill, Move, choose};
use crate::repair::survey::Reach;
use crate::work::block;

/// Moves that wait in memory; a later look finds the others again.
const MOVES_MAX: usize = 4096;

/// Segments whose move failed and that are left alone for a while.
const REFUSED_MAX: usize = 4096;

/// What came of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// The shard of so many bytes is elsewhere and in the trash here.
    Done {
        /// Bytes of its cells.
        bytes: u64,
        /// Bytes that were sent for it.
        sent: u64,
    },
    /// It is not wanted any more, or its place is not certain: whoever has it keeps it. So many bytes
    /// were sent.
    Not(u64),
}

/// Moves that wait, and what is remembered for them.
#[derive(Default)]
pub(super) struct Moves {
    pub(super) waiting: BTreeMap<SegmentId, u64>,
    pub(super) active: BTreeMap<SegmentId, u64>,
    /// Not before then.
    refused: BTreeMap<SegmentId, Instant>,
    /// When bytes that count here were last added up, those less what was given up since, and all
    /// room.
    fill: Option<(Instant, u64, u64)>,
}

impl Moves {
    /// Takes what a look found.
    pub(super) fn take(&mut self, found: BTreeMap<SegmentId, u64>, now: Instant) {
        self.waiting = found;
        self.refused.retain(|_, until| *until > now);
    }

    fn is_refused(&self, segment: &SegmentId, now: Instant) -> bool {
        self.refused.get(segment).is_some_and(|until| *until > now)
    }
}

impl Repairer {
    /// How full this node is with what moves can change: without what it gave up, and without room in
    /// packs that is not given back yet. Nothing where its store takes no writes.
    fn own_fill(&self) -> Option<Fill> {
        let now = Instant::now();
        if let Some((at, used, capacity)) = self.state().moves.fill
            && now - at < self.config.look_gap()
        {
            return Some(Fill::of_bytes(used, capacity));
        }
        let usage = self.store.usage().ok().filter(|usage| usage.read_only.is_none())?;
        let used = usage.shard_bytes + usage.trash_bytes;
        self.state().moves.fill = Some((now, used, usage.capacity));
        Some(Fill::of_bytes(used, usage.capacity))
    }

    /// How full the members are, as their adverts say, and this node, as it knows; nothing where this
    /// node gives to none of them.
    pub(super) fn fills(&self) -> Option<BTreeMap<NodeId, Fill>> {
        let own = self.own_fill()?;
        let mut fills: BTreeMap<NodeId, Fill> = {
            let view = self.engine.view();
            let members = view.members();
            members.map(|m| (m.advert.node(), Fill::of_class(m.advert.free_class))).collect()
        };
        let gives = fills.iter().any(|(node, fill)| *node != self.node && own.gives_to(fill));
        fills.insert(self.node, own);
        gives.then_some(fills)
    }

    /// The move that a segment needs from this node, if any.
    pub(super) fn own_move(
        &self,
        segment: SegmentId,
        scheme: Scheme,
        holdings: &[Holding],
        judgement: &Judgement,
        terms: &Terms,
    ) -> Option<Move> {
        let fills = terms.fills.as_ref()?;
        let rests = judgement.action == Action::Rest
            && judgement.missing.is_empty()
            && judgement.waiting.is_empty()
            && judgement.overlap == 0;
        if !rests || !holdings.iter().any(|holding| holding.node == self.node) {
            return None;
        }
        let own = fills.get(&self.node)?;
        // Most segments end here: nobody whom the ranking prefers is that much emptier.
        let mut before = ranking(&segment, &terms.candidates)
            .into_iter()
            .take_while(|candidate| candidate.node != self.node);
        if !before.any(|other| fills.get(&other.node).is_some_and(|fill| own.gives_to(fill))) {
            return None;
        }
        let unfit: BTreeSet<NodeId> = terms
            .candidates
            .iter()
            .map(|candidate| candidate.node)
            .filter(|node| self.engine.is_doubtful(&segment, node))
            .collect();
        let candidates = &terms.candidates;
        let facts = Facts { segment, scheme, holdings, candidates, fills, unfit: &unfit };
        choose(&facts).filter(|chosen| chosen.from == self.node)
    }

    /// Books that a look found a move.
    pub(super) fn note_move(
        &self,
        segment: SegmentId,
        bytes: u64,
        found: &mut BTreeMap<SegmentId, u64>,
    ) {
        if found.len() < MOVES_MAX && !self.state().moves.is_refused(&segment, Instant::now()) {
            found.insert(segment, bytes);
        }
    }

    /// A segment of which a shard is to be moved, if the budget allows it now and nothing is to be
    /// mended.
    pub(super) fn take_move(&self) -> Option<SegmentId> {
        let mut state = self.state();
        if !state.queue.is_empty() {
            return None;
        }
        let (segment, bytes) = state.moves.waiting.first_key_value().map(|(s, b)| (*s, *b))?;
        if !self.pace.admits(bytes, false) {
            return None;
        }
        state.moves.waiting.remove(&segment);
        state.moves.active.insert(segment, bytes);
        Some(segment)
    }

    /// Moves this node's shard of a segment, if that still is to be.
    pub(super) async fn hand_over(&self, segment: SegmentId) -> Result<Moved, MendError> {
        let moving = timeout(MEND_PATIENCE, self.hand_over_patiently(segment)).await;
        moving.unwrap_or(Err(MendError::Patience))
    }

    async fn hand_over_patiently(&self, segment: SegmentId) -> Result<Moved, MendError> {
        let Some(descriptor) = self.descriptor(segment).await else {
            return Err(MendError::NoDescriptor);
        };
        let scheme = descriptor.scheme;
        let question = [(segment, scheme)];
        let surveyed = self.engine.survey(&question, Reach::Everybody).await;
        let Some(surveyed) = surveyed.into_iter().next() else { return Ok(Moved::Not(0)) };
        self.note_absences();
        let terms = self.terms();
        let (judgement, holdings) = self.assess(segment, scheme, &surveyed, &terms, None).await;
        let Some(chosen) = self.own_move(segment, scheme, &holdings, &judgement, &terms) else {
            return Ok(Moved::Not(0));
        };
        let mut sent = 0;
        if !chosen.held {
            let permit = self.permit(segment).await.ok_or(MendError::NoPermit)?;
            let store = Arc::clone(&self.store);
            let read = block(&**self.engine.executor(), move || {
                store.read_shard(segment, chosen.shard).map(|stored| stored.cells)
            });
            let cells = match read.await.ok_or(MendError::Shutdown)? {
                Ok(cells) => cells,
                // Rotten: the next look finds that.
                Err(_) => return Ok(Moved::Not(0)),
            };
            sent = cells.len() as u64;
            let (shard, to) = (chosen.shard, chosen.to);
            if !self.engine.place_alone(&descriptor, &segment, shard, &cells, &permit, to).await? {
                return Ok(Moved::Not(sent));
            }
        }
        // Others may have moved another shard of it at the same time, or given this one up.
        let surveyed = self.engine.survey(&question, Reach::Lively).await;
        let Some(surveyed) = surveyed.into_iter().next() else { return Ok(Moved::Not(sent)) };
        let crowded = surveyed
            .claims
            .iter()
            .any(|(shard, node)| *node == chosen.to && *shard != chosen.shard);
        let spare = self.engine.judge_spare(segment, &descriptor, chosen.shard, &surveyed).await;
        if crowded || spare != Spare::Yes {
            return Ok(Moved::Not(sent));
        }
        let (store, now) = (Arc::clone(&self.store), self.engine.now());
        let given_up =
            block(&**self.engine.executor(), move || store.give_up(segment, chosen.shard, now));
        match given_up.await.ok_or(MendError::Shutdown)? {
            Ok(true) => {
                tracing::info!(%segment, shard = chosen.shard, to = %chosen.to, "a shard was moved");
                self.engine.forget_holder(&segment, (chosen.shard, self.node));
                Ok(Moved::Done { bytes: descriptor.shard_length() as u64, sent })
            }
            Ok(false) => Ok(Moved::Not(sent)),
            Err(error) => Err(error.into()),
        }
    }

    /// Books what came of a move.
    pub(super) fn finish_move(&self, segment: SegmentId, result: Result<Moved, MendError>) {
        let mut state = self.state();
        state.moves.active.remove(&segment);
        let sent = match &result {
            Ok(Moved::Done { sent, .. } | Moved::Not(sent)) => *sent,
            Err(_) => 0,
        };
        state.status.bytes_moved += sent;
        self.pace.moved(sent);
        match result {
            Ok(Moved::Done { bytes, .. }) => {
                state.status.shards_moved += 1;
                if let Some((_, used, _)) = &mut state.moves.fill {
                    *used = used.saturating_sub(bytes);
                }
                // How full nodes are has changed, and another shard may be next.
                state.look_soon |= state.moves.waiting.is_empty() && state.moves.active.is_empty();
            }
            Ok(Moved::Not(_)) => self.leave_alone(&mut state.moves, segment),
            Err(error) => {
                tracing::warn!(%segment, %error, "a shard could not be moved");
                self.leave_alone(&mut state.moves, segment);
            }
        }
    }

    /// Leaves a segment where it is until the next look that comes by itself.
    fn leave_alone(&self, moves: &mut Moves, segment: SegmentId) {
        let pause: Duration = self.config.interval.max(SETTLE_MAX);
        if moves.refused.len() < REFUSED_MAX {
            moves.refused.insert(segment, Instant::now() + pause);
        }
    }
}

impl From<StoreError> for MendError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}
