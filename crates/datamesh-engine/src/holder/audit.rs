//! Answering challenges, and looking at what readers report.
//!
//! Both cost the reading of whole shards, so both are bounded: audits are answered for members
//! alone and a few at a time, reports at a rate. Who is turned away hears that the node is busy.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use datamesh_codec::proof;
use datamesh_core::audit::{CELLS_BYTES_MAX, Challenge, Proved, sign_answers};
use datamesh_core::message::{Refusal, Reply};
use datamesh_core::{NodeId, SegmentId, Service, Timestamp};
use datamesh_store::{Store, StoreError};

use super::{Answer, Holder, refuse, store_refusal};
use crate::engine::Engine;

/// Audits that are answered at once.
const AUDITS_AT_ONCE: usize = 2;

/// Bytes of shards that are read for one audit; the challenges behind them hear busy.
const READ_MAX: usize = 64 << 20;

/// Reports of peers that are known, and of strangers, that are looked at in one second or all at
/// once.
const REPORTS: u64 = 64;
const STRANGERS_REPORTS: u64 = 8;

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Looking {
    audits: Arc<AtomicUsize>,
    reports: Mutex<Second>,
    strangers_reports: Mutex<Second>,
    pub(super) strangers_returns: Mutex<Second>,
}

/// Counts what was done in the current second.
#[derive(Debug, Default)]
pub(super) struct Second {
    count: u64,
    second: Timestamp,
}

impl Second {
    pub(super) fn take(&mut self, now: Timestamp, most: u64) -> bool {
        if now / 1000 != self.second {
            *self = Self { count: 0, second: now / 1000 };
        }
        let room = self.count < most;
        self.count += u64::from(room);
        room
    }
}

/// A place among the audits that are answered; given back when the answer is there or given up.
struct Turn(Arc<AtomicUsize>);

impl Turn {
    fn take(count: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |count: usize| (count < AUDITS_AT_ONCE).then_some(count + 1);
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Self(Arc::clone(count)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Holder {
    /// Proves cells of shards. A shard that turns out to be damaged is missing from then on.
    pub(super) async fn audit(
        &self,
        peer: NodeId,
        nonce: [u8; 32],
        challenges: Vec<Challenge>,
    ) -> Answer {
        if self.engine.view().member(&peer).is_none() {
            return refuse(Refusal::NotAdmitted, "only members audit");
        }
        let Some(turn) = Turn::take(&self.looking.audits) else {
            return refuse(Refusal::Busy, "other audits are being answered");
        };
        let (store, signer, mesh) =
            (Arc::clone(&self.store), Arc::clone(&self.signer), self.engine.mesh());
        let engine = Arc::clone(&self.engine);
        self.block(move || {
            let _turn = turn;
            let (answers, cells) = prove_all(&store, &engine, &challenges)?;
            let signature = sign_answers(&*signer, &mesh, &nonce, &challenges, &answers, &cells);
            Ok((Reply::Audited { answers, signature }, cells))
        })
        .await?
    }

    /// Looks at a shard that a reader found to be wrong. Only what is seen here counts.
    pub(super) async fn examine(&self, peer: NodeId, segment: SegmentId, shard: u8) -> Answer {
        let (bucket, most) = if self.knows(peer) {
            (&self.looking.reports, REPORTS)
        } else {
            (&self.looking.strangers_reports, STRANGERS_REPORTS)
        };
        let now = self.engine.now();
        if !bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now, most) {
            return refuse(Refusal::Busy, "too many shards are reported");
        }
        let store = Arc::clone(&self.store);
        let damaged = self.block(move || store.report_damage(segment, shard)).await?;
        let damaged = damaged.map_err(store_refusal)?;
        Ok((Reply::Examined { damaged }, Bytes::new()))
    }
}

fn prove_all(
    store: &Store,
    engine: &Engine,
    challenges: &[Challenge],
) -> Result<(Vec<Proved>, Bytes), (Refusal, String)> {
    let mut answers = Vec::with_capacity(challenges.len());
    let mut cells = BytesMut::new();
    let mut read = 0;
    for challenge in challenges {
        if read >= READ_MAX || engine.withholds(challenge.segment, challenge.shard) {
            answers.push(Proved::Busy);
            continue;
        }
        let stored = match store.read_shard(challenge.segment, challenge.shard) {
            Ok(stored) => stored,
            Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => {
                answers.push(Proved::Missing);
                continue;
            }
            Err(error) => {
                // The shard may be well and this process short of something.
                tracing::warn!(%error, "a shard cannot be read for an audit");
                answers.push(Proved::Busy);
                continue;
            }
        };
        read += stored.cells.len();
        let size = stored.meta.descriptor.cell as usize;
        let from = (challenge.cell as usize).saturating_mul(size);
        let Some(cell) = stored.cells.get(from..from.saturating_add(size)) else {
            return refuse(Refusal::Malformed, "the shard has no such cell");
        };
        if cells.len() + size > CELLS_BYTES_MAX {
            answers.push(Proved::Busy);
            continue;
        }
        answers.push(Proved::Cell(proof::prove(&stored.cells, from..from + size)));
        cells.extend_from_slice(cell);
    }
    Ok((answers, cells.freeze()))
}
