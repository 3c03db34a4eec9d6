//! What a node and a client share: the network, the view, the scores, and what is remembered of
//! placements.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use datamesh_catalog::NodeDb;
use datamesh_codec::Pool;
use datamesh_core::message::Request;
use datamesh_core::{
    BoxFuture, Clock, Descriptor, Entropy, Executor, Genesis, MeshId, NodeId, Receipt, Scheme,
    SegmentId, Timestamp, Transport, TransportError,
};
use futures::StreamExt;
use tokio::time::Instant;

use crate::ask::{AskError, ask};
use crate::report::Reports;
use crate::scores::{PeerScore, Scores};
use crate::view::{Member, Standing, View};
use crate::work::block;

/// Segments whose holders are remembered in memory: 64 GiB of files at 4 MiB a segment.
const PLACEMENTS_MAX: usize = 16_384;

/// Descriptors remembered in memory, at about 300 bytes each.
const DESCRIPTORS_MAX: usize = 16_384;

/// Segments that came lately and are remembered; a look at everything finds the others.
const STORED_MAX: usize = 65_536;

/// Segments of which false claims are remembered.
const DOUBTS_MAX: usize = 16_384;

/// What an engine is built from.
pub struct EngineParts {
    /// The network.
    pub transport: Arc<dyn Transport>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Tasks and blocking work.
    pub executor: Arc<dyn Executor>,
    /// What is remembered across starts; a client without a home on disk has none.
    pub node_db: Option<Arc<NodeDb>>,
    /// The mesh's first record.
    pub genesis: Genesis,
    /// `membership.offline_after` in milliseconds.
    pub offline_after_ms: u64,
}

/// A map that forgets its oldest entry when it is full.
#[derive(Debug)]
struct Remembered<V> {
    entries: BTreeMap<SegmentId, V>,
    order: VecDeque<SegmentId>,
    bound: usize,
}

impl<V> Remembered<V> {
    fn new(bound: usize) -> Self {
        Self { entries: BTreeMap::new(), order: VecDeque::new(), bound }
    }

    fn insert(&mut self, segment: SegmentId, value: V) {
        if self.entries.insert(segment, value).is_none() {
            self.order.push_back(segment);
        }
        while self.order.len() > self.bound {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }
}

/// The engine.
pub struct Engine {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) scores: Scores,
    pub(crate) pool: Pool,
    pub(crate) node_db: Option<Arc<NodeDb>>,
    pub(crate) reports: Arc<Mutex<Reports>>,
    mesh: MeshId,
    view: RwLock<View>,
    placements: Mutex<Remembered<Vec<(u8, NodeId)>>>,
    descriptors: Mutex<Remembered<Arc<Descriptor>>>,
    /// Claims to hold a shard that reading proved false.
    doubts: Mutex<Remembered<BTreeSet<(u8, NodeId)>>>,
    /// Segments that came lately, and when.
    stored: Mutex<VecDeque<(Instant, SegmentId)>>,
    /// Shards that others are asked to prove, and that they do not get from here meanwhile.
    withheld: Mutex<BTreeSet<(SegmentId, u8)>>,
}

/// Shards that are withheld until this is dropped.
pub(crate) struct Withheld<'a> {
    engine: &'a Engine,
    shards: Vec<(SegmentId, u8)>,
}

impl Drop for Withheld<'_> {
    fn drop(&mut self) {
        let mut withheld = self.engine.withheld();
        for shard in &self.shards {
            withheld.remove(shard);
        }
    }
}

/// A member and what is known of it here.
#[derive(Debug, Clone)]
pub struct PeerView {
    /// The member.
    pub member: Member,
    /// How it stands.
    pub standing: Standing,
    /// What was measured of it.
    pub score: PeerScore,
}

impl Engine {
    /// An engine with an empty view.
    pub fn new(parts: EngineParts) -> Self {
        let view = View::new(parts.genesis, parts.offline_after_ms);
        Self {
            transport: parts.transport,
            clock: parts.clock,
            entropy: parts.entropy,
            executor: parts.executor,
            scores: Scores::default(),
            pool: Pool::new(8),
            node_db: parts.node_db,
            reports: Arc::default(),
            mesh: view.mesh(),
            view: RwLock::new(view),
            placements: Mutex::new(Remembered::new(PLACEMENTS_MAX)),
            descriptors: Mutex::new(Remembered::new(DESCRIPTORS_MAX)),
            doubts: Mutex::new(Remembered::new(DOUBTS_MAX)),
            stored: Mutex::default(),
            withheld: Mutex::default(),
        }
    }

    /// The mesh.
    pub fn mesh(&self) -> MeshId {
        self.mesh
    }

    /// The network.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// The executor.
    pub fn executor(&self) -> &Arc<dyn Executor> {
        &self.executor
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mesh's first record.
    pub fn genesis(&self) -> Genesis {
        self.view().genesis().clone()
    }

    /// The members as they are seen from here, in the order of their ids.
    pub fn peers(&self) -> Vec<PeerView> {
        let (view, now) = (self.view(), self.now());
        view.members()
            .map(|member| PeerView {
                member: member.clone(),
                standing: view.standing(member, now),
                score: self.scores.of(&member.advert.node()),
            })
            .collect()
    }

    /// How many members are known.
    pub fn member_count(&self) -> usize {
        self.view().members().count()
    }

    /// Distinct failure domains of the members that are not gone, and the scheme that follows.
    pub fn domains(&self) -> (usize, Option<Scheme>) {
        let (view, now) = (self.view(), self.now());
        (view.domains(now), view.scheme(now))
    }

    /// Distinct failure domains of the members that would take a shard now.
    pub fn domains_alive(&self) -> usize {
        self.view().domains_alive(self.now())
    }

    /// Asks all members whether they are there, and notes who is not: a death is noticed by itself
    /// only after `membership.offline_after`, and a command without a daemon begins with what was
    /// remembered.
    pub fn look_around(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            const DEADLINE: Duration = Duration::from_secs(2);
            const AT_ONCE: usize = 64;
            /// However many members there are; those that were not asked by then stay as they were.
            const IN_ALL: Duration = Duration::from_secs(4);
            let members: Vec<NodeId> =
                self.view().members().map(|m| m.advert.certificate.claim.node).collect();
            let request = Request::Hello { mesh: self.mesh() };
            let (request, transport) = (&request, &*self.transport);
            let asking =
                futures::stream::iter(members).for_each_concurrent(AT_ONCE, |node| async move {
                    if let Err(AskError::Transport(_)) =
                        ask(transport, node, request, Bytes::new(), DEADLINE).await
                    {
                        self.note_answer(&node, true);
                    } else {
                        self.note_answer(&node, false);
                    }
                });
            // What was noted until then counts.
            let _in_time = tokio::time::timeout(IN_ALL, asking).await;
        })
    }

    /// A peer answered, or did not.
    pub(crate) fn note_answer(&self, node: &NodeId, absent: bool) {
        let now = self.now();
        let mut view = self.view_mut();
        if absent {
            view.unanswered(node);
        } else {
            view.answered(node, now);
        }
    }

    /// What came of asking a peer tells how it stands; nothing where it was not asked at all.
    pub(crate) fn note_outcome<T>(&self, node: &NodeId, outcome: &Result<T, AskError>) {
        match outcome {
            Err(AskError::Transport(TransportError::Busy { .. } | TransportError::Shutdown)) => {}
            Err(error) => self.note_answer(node, error.is_absence()),
            Ok(_) => self.note_answer(node, false),
        }
    }

    fn doubts(&self) -> MutexGuard<'_, Remembered<BTreeSet<(u8, NodeId)>>> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node claims to hold a shard and was found not to: it is not believed again until it has
    /// taken the shard anew. This is known here alone and told to nobody.
    pub(crate) fn doubt(&self, segment: &SegmentId, claim: (u8, NodeId)) {
        let mut doubts = self.doubts();
        let mut claims = doubts.entries.get(segment).cloned().unwrap_or_default();
        claims.insert(claim);
        doubts.insert(*segment, claims);
    }

    /// A node took a shard and proved that it has it.
    pub(crate) fn undoubt(&self, segment: &SegmentId, claim: (u8, NodeId)) {
        if let Some(claims) = self.doubts().entries.get_mut(segment) {
            claims.remove(&claim);
        }
    }

    /// Whether a claim was found false.
    pub(crate) fn is_doubted(&self, segment: &SegmentId, claim: (u8, NodeId)) -> bool {
        self.doubts().entries.get(segment).is_some_and(|claims| claims.contains(&claim))
    }

    /// Whether any claim of a node about a segment was found false.
    pub(crate) fn is_doubtful(&self, segment: &SegmentId, node: &NodeId) -> bool {
        let doubts = self.doubts();
        let claims = doubts.entries.get(segment);
        claims.is_some_and(|claims| claims.iter().any(|(_, doubted)| doubted == node))
    }

    fn withheld(&self) -> MutexGuard<'_, BTreeSet<(SegmentId, u8)>> {
        self.withheld.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Withholds shards while others are asked to prove them: nobody is to prove a shard with what it
    /// fetches from here.
    pub(crate) fn withhold(&self, shards: &[(SegmentId, u8)]) -> Withheld<'_> {
        self.withheld().extend(shards);
        Withheld { engine: self, shards: shards.to_vec() }
    }

    /// Whether a shard is not given out now.
    pub(crate) fn withholds(&self, segment: SegmentId, shard: u8) -> bool {
        self.withheld().contains(&(segment, shard))
    }

    /// A shard of a segment was stored here just now.
    pub(crate) fn note_stored(&self, segment: SegmentId) {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        if stored.len() < STORED_MAX && stored.back().is_none_or(|(_, last)| *last != segment) {
            stored.push_back((Instant::now(), segment));
        }
    }

    /// Segments of which shards were stored here and that have been there for `age`, at most
    /// `count` of them.
    pub(crate) fn take_stored(&self, age: Duration, count: usize) -> Vec<SegmentId> {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let old = stored.iter().take(count).take_while(|(at, _)| at.elapsed() >= age).count();
        stored.drain(..old).map(|(_, segment)| segment).collect()
    }

    /// What is remembered across starts.
    pub(crate) fn node_db(&self) -> Option<Arc<NodeDb>> {
        self.node_db.clone()
    }

    fn placements(&self) -> MutexGuard<'_, Remembered<Vec<(u8, NodeId)>>> {
        self.placements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn descriptors(&self) -> MutexGuard<'_, Remembered<Arc<Descriptor>>> {
        self.descriptors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn known_descriptor(&self, segment: &SegmentId) -> Option<Arc<Descriptor>> {
        self.descriptors().entries.get(segment).cloned()
    }

    /// Remembers a descriptor whose hash was checked against its segment's id.
    pub(crate) fn remember_descriptor(&self, segment: SegmentId, descriptor: Arc<Descriptor>) {
        self.descriptors().insert(segment, descriptor);
    }

    /// Who holds which shard, as far as it is remembered. A hint: holders come and go.
    pub(crate) async fn remembered_holders(&self, segment: &SegmentId) -> Vec<(u8, NodeId)> {
        if let Some(holders) = self.placements().entries.get(segment) {
            return holders.clone();
        }
        let holders = self.receipts(segment).await;
        if !holders.is_empty() {
            self.placements().insert(*segment, holders.clone());
        }
        holders
    }

    /// Who signed for which shard, of the receipts that are remembered across starts.
    pub(crate) async fn receipts(&self, segment: &SegmentId) -> Vec<(u8, NodeId)> {
        let Some(db) = self.node_db.clone() else { return Vec::new() };
        let id = *segment;
        match block(&*self.executor, move || db.receipts(&id)).await {
            Some(Ok(receipts)) => receipts.iter().map(|r| (r.shard, r.node)).collect(),
            _ => Vec::new(),
        }
    }

    /// Remembers what peers said about a segment, in memory.
    pub(crate) fn remember_holders(&self, segment: SegmentId, holders: Vec<(u8, NodeId)>) {
        self.placements().insert(segment, holders);
    }

    /// Forgets that a node holds a shard.
    pub(crate) fn forget_holder(&self, segment: &SegmentId, holder: (u8, NodeId)) {
        if let Some(holders) = self.placements().entries.get_mut(segment) {
            holders.retain(|known| *known != holder);
        }
    }

    /// Remembers receipts across starts. They are hints, so a failure to write them is only logged.
    pub fn remember_receipts(&self, receipts: Vec<Receipt>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Some(db) = self.node_db.clone() else { return };
            let saved = block(&*self.executor, move || db.save_receipts(&receipts)).await;
            if let Some(Err(error)) = saved {
                tracing::warn!(%error, "receipts are not remembered");
            }
        })
    }
}
