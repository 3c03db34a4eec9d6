//! Reading a segment: the fastest k holders, each answer checked before it counts.
//!
//! A whole shard is checked against its root, a range of cells by its proof. A holder that fails,
//! stalls or lies is replaced by the next; what it did is reported. Missing data shards are rebuilt
//! and their roots checked before a byte of them is released.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_codec::{CodecError, Layout, check_shard, proof, rebuild};
use datamesh_core::message::{ReadSpan, Reply, Request, WantedShards};
use datamesh_core::{BoxFuture, Descriptor, NodeId, SegmentId};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::locate::Reach;
use super::urgency::Urgency;
use super::{Fault, FaultKind, fault_text};
use crate::ask::{AskError, ask};
use crate::engine::Engine;
use crate::work::block;

/// How long one holder may take for one shard.
const READ_DEADLINE: Duration = Duration::from_secs(15);

/// A holder that has been silent for so long is replaced, whatever share of the requests that are.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// How long to wait before those are asked again to whom the connection broke, or who had too much to
/// do, where nobody else is left. One pause for each attempt.
const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1500)];

/// Longest such pause, where peers are needed that are left alone because they failed.
const REST_MAX: Duration = Duration::from_secs(8);

/// A segment's verified data shards.
#[derive(Debug, Clone)]
pub struct SegmentBytes {
    /// What the segment is.
    pub descriptor: Arc<Descriptor>,
    /// Its k data shards, each matching its root.
    pub data: Vec<Bytes>,
    /// Peers that failed on the way.
    pub faults: Vec<Fault>,
}

impl SegmentBytes {
    /// The layout of the data.
    pub fn layout(&self) -> Layout {
        Layout::of(&self.descriptor)
    }

    /// `range` of the segment's ciphertext, in one piece.
    pub fn gather(&self, range: Range<usize>) -> Vec<u8> {
        let mut out = Vec::with_capacity(range.len());
        self.layout().gather(range, |shard| &self.data[shard], &mut out);
        out
    }
}

/// Why a segment cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// Nobody who answers has a shard of it.
    #[error("nobody who answers holds segment {segment}{}", fault_text(.faults))]
    NotFound {
        /// The segment.
        segment: SegmentId,
        /// Peers that failed on the way.
        faults: Vec<Fault>,
    },
    /// Fewer than k of its shards can be had.
    #[error(
        "{have} shards of segment {segment} can be had, {needed} are needed{}",
        fault_text(.faults)
    )]
    TooFew {
        /// The segment.
        segment: SegmentId,
        /// Shards that were had.
        have: usize,
        /// k.
        needed: usize,
        /// Peers that failed on the way.
        faults: Vec<Fault>,
    },
    /// What was rebuilt is not what the descriptor names.
    #[error("segment {segment} cannot be rebuilt")]
    Rebuild {
        /// The segment.
        segment: SegmentId,
        /// What is wrong.
        source: CodecError,
    },
    /// The range does not lie within the segment.
    #[error("bytes {start} to {end} are not in segment {segment}, which has {length}")]
    Range {
        /// The segment.
        segment: SegmentId,
        /// First byte.
        start: usize,
        /// One after the last.
        end: usize,
        /// Bytes of the segment.
        length: usize,
    },
    /// This process is shutting down.
    #[error("shutting down")]
    Shutdown,
}

/// A checked shard and the descriptor that it was checked against.
pub(crate) type Fetched = Result<(Bytes, Arc<Descriptor>), FaultKind>;

/// The bytes of a range, and the peers that failed on the way.
type RangeRead = Result<(Vec<u8>, Vec<Fault>), ReadError>;

impl Engine {
    /// Reads a segment whole. `urgent` tells whether somebody waits for it now: only then are slow
    /// holders given rivals.
    ///
    /// # Errors
    /// [`ReadError`] where k of its shards cannot be had.
    pub fn read_segment<'a>(
        &'a self,
        segment: &'a SegmentId,
        urgent: &'a Urgency,
    ) -> BoxFuture<'a, Result<SegmentBytes, ReadError>> {
        Box::pin(async move {
            let mut fetch = Fetch::new(*segment);
            let mut pauses = PAUSES.into_iter();
            let mut reach = Reach::Remembered;
            loop {
                let found = self.locate(segment, reach).await;
                self.fetch_from(&mut fetch, found, urgent).await;
                if fetch.complete() {
                    break;
                }
                if let Some(wider) = reach.wider() {
                    reach = wider;
                    continue;
                }
                // What is not with its holders may lie where it was moved from.
                let shards = fetch.lacking();
                let wanted = [WantedShards { segment: *segment, shards }];
                let back = self.take_back(&wanted).await.remove(segment);
                self.fetch_from(&mut fetch, back.unwrap_or_default(), urgent).await;
                if fetch.complete() {
                    break;
                }
                match pauses.next().zip(fetch.forgive()) {
                    Some((pause, rest)) => sleep(pause.max(rest.min(REST_MAX))).await,
                    None => return Err(fetch.failure()),
                }
            }
            let Fetch { descriptor: Some(descriptor), shards, faults, .. } = fetch else {
                return Err(fetch.failure());
            };
            let k = descriptor.scheme.k();
            let missing: Vec<usize> = (0..k).filter(|i| shards[*i].is_none()).collect();
            let mut data: Vec<Option<Bytes>> = shards[..k].to_vec();
            if !missing.is_empty() {
                let (described, pool, wanted) =
                    (Arc::clone(&descriptor), self.pool.clone(), missing.clone());
                let rebuilt =
                    block(&*self.executor, move || rebuild(&described, &shards, &wanted, &pool))
                        .await;
                let rebuilt = rebuilt
                    .ok_or(ReadError::Shutdown)?
                    .map_err(|source| ReadError::Rebuild { segment: *segment, source })?;
                for (place, cells) in missing.into_iter().zip(rebuilt) {
                    data[place] = Some(cells);
                }
            }
            let data: Vec<Bytes> = data.into_iter().flatten().collect();
            Ok(SegmentBytes { descriptor, data, faults })
        })
    }

    /// Asks holders, the fastest first, until k shards are there or nobody is left to ask.
    async fn fetch_from(&self, fetch: &mut Fetch, found: Vec<(u8, NodeId)>, urgent: &Urgency) {
        let known = self.known_descriptor(&fetch.segment);
        fetch.adopt(known);
        let mut sources: Vec<(u8, NodeId)> =
            found.into_iter().filter(|source| !fetch.tried.contains(source)).collect();
        let bytes = fetch.descriptor.as_ref().map_or(1 << 20, |d| d.shard_length());
        // Fastest last, so that it is popped first; equally fast ones by shard, data before parity.
        sources.sort_by(|a, b| {
            let time = |node| self.scores.expected(node, bytes);
            time(&b.1).total_cmp(&time(&a.1)).then(b.0.cmp(&a.0))
        });
        let mut pending = FuturesUnordered::new();
        let mut running: Vec<Running> = Vec::new();
        loop {
            while running.iter().filter(|asked| !asked.rival).count() < fetch.wanting() {
                let busy: BTreeSet<u8> = running.iter().map(|asked| asked.shard).collect();
                let Some((shard, node)) = fetch.pick(&mut sources, &busy) else { break };
                running.push(Running::new(shard, node, false));
                pending.push(self.fetch_shard(fetch.segment, shard, node));
            }
            if fetch.complete() || running.is_empty() {
                return;
            }
            let hedge = self.scores.hedge_allowed();
            let patience = if hedge { self.scores.hedge_after() } else { SILENCE_MAX };
            // Each request that becomes slow gets one rival, and so does a rival that does.
            let slow_at = running
                .iter()
                .filter(|asked| !asked.slow)
                .map(|asked| asked.since + patience)
                .min();
            let finished = match slow_at.filter(|_| !sources.is_empty()) {
                None => pending.next().await,
                Some(slow_at) => {
                    tokio::select! {
                        biased;
                        finished = pending.next() => finished,
                        // Somebody may begin to wait while everything asked is silent.
                        () = async {
                            urgent.raised().await;
                            sleep_until(slow_at).await;
                        } => None,
                    }
                }
            };
            let Some((shard, node, result)) = finished else {
                let now = Instant::now();
                let mut rivals = 0;
                for asked in running.iter_mut().filter(|asked| asked.since + patience <= now) {
                    if !std::mem::replace(&mut asked.slow, true) {
                        self.scores.slow(&asked.node);
                        rivals += 1;
                    }
                }
                for _ in 0..rivals {
                    let busy: BTreeSet<u8> = running.iter().map(|asked| asked.shard).collect();
                    let Some((shard, node)) = fetch.pick(&mut sources, &busy) else {
                        // Nobody to ask instead: waiting is all that is left.
                        sources.clear();
                        break;
                    };
                    if hedge {
                        self.scores.hedged();
                    }
                    running.push(Running::new(shard, node, true));
                    pending.push(self.fetch_shard(fetch.segment, shard, node));
                }
                continue;
            };
            running.retain(|asked| !(asked.shard == shard && asked.node == node));
            match result {
                Ok((cells, descriptor)) => {
                    fetch.adopt(Some(descriptor));
                    fetch.accept(shard, cells);
                }
                Err(kind) => {
                    let fault = Fault { node, shard, kind };
                    self.note_fault(&fault);
                    self.report(fetch.segment, &fault);
                    fetch.faults.push(fault);
                    // A rival of the failed one takes its place.
                    if let Some(rival) = running.iter_mut().find(|asked| asked.rival) {
                        rival.rival = false;
                    }
                }
            }
        }
    }

    /// Fetches one whole shard and checks it.
    pub(crate) async fn fetch_shard(
        &self,
        segment: SegmentId,
        shard: u8,
        node: NodeId,
    ) -> (u8, NodeId, Fetched) {
        self.scores.requested();
        let known = self.known_descriptor(&segment);
        let describe = known.is_none();
        let started = Instant::now();
        let answer = self.read_span(segment, shard, node, ReadSpan::Whole, describe).await;
        let result = answer.and_then(|(described, _, cells)| {
            let descriptor = match (known, described) {
                (Some(known), _) => known,
                (None, Some(described)) if described.id() == segment => Arc::new(described),
                (None, _) => return Err(FaultKind::WrongDescriptor),
            };
            check_shard(&descriptor, usize::from(shard), &cells)
                .map_err(|_| FaultKind::WrongBytes)?;
            self.scores.succeeded(&node, cells.len(), started.elapsed());
            self.note_answer(&node, false);
            if describe {
                self.remember_descriptor(segment, Arc::clone(&descriptor));
            }
            Ok((cells, descriptor))
        });
        (shard, node, result)
    }

    pub(crate) async fn read_span(
        &self,
        segment: SegmentId,
        shard: u8,
        node: NodeId,
        span: ReadSpan,
        describe: bool,
    ) -> Result<(Option<Descriptor>, Vec<datamesh_core::Hash>, Bytes), FaultKind> {
        let request = Request::Read { segment, shard, span, describe };
        match ask(&*self.transport, node, &request, Bytes::new(), READ_DEADLINE).await? {
            (Reply::Shard { descriptor, proof }, cells) => Ok((descriptor, proof, cells)),
            _ => Err(AskError::OffTopic { peer: node }.into()),
        }
    }

    /// Reads `range` of a segment's ciphertext. A short range asks only the nodes that hold its
    /// cells, with proofs; where that fails, and for a long range, the segment is read whole.
    ///
    /// # Errors
    /// [`ReadError`] where the bytes cannot be had.
    pub fn read_range<'a>(
        &'a self,
        segment: &'a SegmentId,
        range: Range<usize>,
        urgent: &'a Urgency,
    ) -> BoxFuture<'a, RangeRead> {
        Box::pin(async move {
            let mut faults = Vec::new();
            if let Some(descriptor) = self.describe(segment, &mut faults).await {
                let length = descriptor.length as usize;
                if range.start > range.end || range.end > length {
                    let (start, end, segment) = (range.start, range.end, *segment);
                    return Err(ReadError::Range { segment, start, end, length });
                }
                // Below a quarter of the segment the cells alone are fewer bytes than k shards.
                if range.len() <= length / 4
                    && let Some(bytes) =
                        self.read_cells(&descriptor, segment, &range, &mut faults).await
                {
                    return Ok((bytes, faults));
                }
            }
            let whole = self.read_segment(segment, urgent).await?;
            let length = whole.descriptor.length as usize;
            if range.start > range.end || range.end > length {
                let (start, end, segment) = (range.start, range.end, *segment);
                return Err(ReadError::Range { segment, start, end, length });
            }
            faults.extend(whole.faults.iter().cloned());
            Ok((whole.gather(range), faults))
        })
    }

    /// The descriptor of a segment, remembered or from a holder.
    pub(crate) async fn describe(
        &self,
        segment: &SegmentId,
        faults: &mut Vec<Fault>,
    ) -> Option<Arc<Descriptor>> {
        if let Some(known) = self.known_descriptor(segment) {
            return Some(known);
        }
        let mut holders = self.locate(segment, Reach::Remembered).await;
        if holders.is_empty() {
            holders = self.locate(segment, Reach::Ranking).await;
        }
        for (shard, node) in holders {
            let request = Request::Describe { segment: *segment };
            let asked = ask(&*self.transport, node, &request, Bytes::new(), READ_DEADLINE);
            let Ok(answer) = timeout(SILENCE_MAX, asked).await else {
                // Any holder can tell it.
                self.scores.slow(&node);
                continue;
            };
            let kind = match answer {
                Ok((Reply::Described(descriptor), _)) if descriptor.id() == *segment => {
                    let descriptor = Arc::new(descriptor);
                    self.remember_descriptor(*segment, Arc::clone(&descriptor));
                    return Some(descriptor);
                }
                Ok((Reply::Described(_), _)) => FaultKind::WrongDescriptor,
                Ok(_) => AskError::OffTopic { peer: node }.into(),
                Err(error) => error.into(),
            };
            let fault = Fault { node, shard, kind };
            self.note_fault(&fault);
            faults.push(fault);
        }
        None
    }

    /// Reads the cells of `range` from the holders of their data shards; nothing where one of them
    /// fails or keeps silent.
    async fn read_cells(
        &self,
        descriptor: &Arc<Descriptor>,
        segment: &SegmentId,
        range: &Range<usize>,
        faults: &mut Vec<Fault>,
    ) -> Option<Vec<u8>> {
        let layout = Layout::of(descriptor);
        let holders = self.remembered_holders(segment).await;
        let mut spans: Vec<Option<Range<usize>>> = vec![None; descriptor.scheme.k()];
        for run in layout.runs(range.clone()) {
            let first = run.offset / layout.cell;
            let end = (run.offset + run.segment.len()).div_ceil(layout.cell);
            let span = spans[run.shard].get_or_insert(first..end);
            *span = span.start.min(first)..span.end.max(end);
        }
        let mut pending = FuturesUnordered::new();
        let mut silent = BTreeSet::new();
        let end = Instant::now() + SILENCE_MAX;
        for (shard, span) in spans.iter().enumerate() {
            let Some(span) = span.clone() else { continue };
            let shard = shard as u8;
            let node =
                holders.iter().filter(|(held, _)| *held == shard).map(|(_, node)| *node).min_by(
                    |a, b| {
                        let time = |node| self.scores.expected(node, span.len() * layout.cell);
                        time(a).total_cmp(&time(b))
                    },
                )?;
            silent.insert(node);
            pending.push(async move {
                let asked = ReadSpan::Cells { first: span.start as u32, end: span.end as u32 };
                let started = Instant::now();
                let answer = self.read_span(*segment, shard, node, asked, false).await;
                let checked = answer.and_then(|(_, hashes, cells)| {
                    let bytes = span.start * layout.cell..span.end * layout.cell;
                    let root = &descriptor.roots[usize::from(shard)];
                    let length = layout.shard_length();
                    if proof::verify(root, length, bytes, &cells, &hashes) {
                        self.scores.succeeded(&node, cells.len(), started.elapsed());
                        Ok(cells)
                    } else {
                        Err(FaultKind::WrongProof)
                    }
                });
                (shard, node, span.start, checked)
            });
        }
        let mut cells: Vec<Option<(usize, Bytes)>> = vec![None; descriptor.scheme.k()];
        loop {
            let (shard, node, first, result) = match timeout_at(end, pending.next()).await {
                Ok(Some(finished)) => finished,
                Ok(None) => break,
                Err(_) => {
                    silent.iter().for_each(|node| self.scores.slow(node));
                    return None;
                }
            };
            silent.remove(&node);
            match result {
                Ok(bytes) => cells[usize::from(shard)] = Some((first, bytes)),
                Err(kind) => {
                    let fault = Fault { node, shard, kind };
                    self.note_fault(&fault);
                    self.report(*segment, &fault);
                    faults.push(fault);
                    return None;
                }
            }
        }
        let mut out = Vec::with_capacity(range.len());
        for run in layout.runs(range.clone()) {
            let (first, bytes) = cells[run.shard].as_ref()?;
            let from = run.offset - first * layout.cell;
            out.extend_from_slice(bytes.get(from..from + run.segment.len())?);
        }
        Some(out)
    }
}

/// A request under way.
struct Running {
    shard: u8,
    node: NodeId,
    since: Instant,
    /// Asked because another is slow.
    rival: bool,
    /// Booked as slow.
    slow: bool,
}

impl Running {
    fn new(shard: u8, node: NodeId, rival: bool) -> Self {
        Self { shard, node, since: Instant::now(), rival, slow: false }
    }
}

/// The state of one segment being read.
struct Fetch {
    segment: SegmentId,
    descriptor: Option<Arc<Descriptor>>,
    shards: Vec<Option<Bytes>>,
    tried: BTreeSet<(u8, NodeId)>,
    faults: Vec<Fault>,
}

impl Fetch {
    fn new(segment: SegmentId) -> Self {
        let shards = vec![None; datamesh_core::scheme::SHARDS_MAX];
        Self { segment, descriptor: None, shards, tried: BTreeSet::new(), faults: Vec::new() }
    }

    fn adopt(&mut self, descriptor: Option<Arc<Descriptor>>) {
        if self.descriptor.is_none()
            && let Some(descriptor) = descriptor
        {
            self.shards.truncate(descriptor.scheme.n());
            self.descriptor = Some(descriptor);
        }
    }

    fn accept(&mut self, shard: u8, cells: Bytes) {
        if let Some(place) = self.shards.get_mut(usize::from(shard)) {
            place.get_or_insert(cells);
        }
    }

    fn have(&self) -> usize {
        self.shards.iter().flatten().count()
    }

    /// k; before the descriptor is known, the least that any scheme needs beyond one, so that the
    /// first requests teach it.
    fn needed(&self) -> usize {
        self.descriptor.as_ref().map_or(4, |descriptor| descriptor.scheme.k())
    }

    fn wanting(&self) -> usize {
        self.needed().saturating_sub(self.have())
    }

    /// The shards that are not there: bit i for shard i.
    fn lacking(&self) -> u32 {
        let lacking = self.shards.iter().enumerate().filter(|(_, cells)| cells.is_none());
        lacking.fold(0, |mask, (shard, _)| mask | 1 << shard)
    }

    fn complete(&self) -> bool {
        self.descriptor.is_some() && self.wanting() == 0
    }

    /// The fastest source of a shard that is neither there nor under way.
    fn pick(
        &mut self,
        sources: &mut Vec<(u8, NodeId)>,
        busy: &BTreeSet<u8>,
    ) -> Option<(u8, NodeId)> {
        let place = sources.iter().rposition(|(shard, _)| {
            !busy.contains(shard)
                && self.shards.get(usize::from(*shard)).is_some_and(Option::is_none)
        })?;
        let source = sources.remove(place);
        self.tried.insert(source);
        Some(source)
    }

    /// Lets those be asked again who may answer next time, and tells how long some of them are left
    /// alone. Nothing where there are none.
    fn forgive(&mut self) -> Option<Duration> {
        let mut longest = None;
        for fault in self.faults.iter().filter(|fault| fault.kind.is_passing()) {
            self.tried.remove(&(fault.shard, fault.node));
            longest = longest.max(Some(fault.kind.rest()));
        }
        longest
    }

    fn failure(self) -> ReadError {
        let (segment, have, needed) = (self.segment, self.have(), self.needed());
        if have == 0 && self.descriptor.is_none() {
            ReadError::NotFound { segment, faults: self.faults }
        } else {
            ReadError::TooFew { segment, have, needed, faults: self.faults }
        }
    }
}
