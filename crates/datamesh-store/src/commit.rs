//! Group commit without a timer.
//!
//! Writers queue their records. One of them leads: it takes what is queued, writes it as one group,
//! syncs once, and wakes all. What arrives meanwhile forms the next group, led by one of those who
//! waited. So a lone writer never waits for company, many share each sync, and there is no thread
//! of the store's own: a simulation runs all of it inline.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use datamesh_core::{GrantId, SegmentId};

use crate::error::StoreError;
use crate::record::{Draft, HEADER_BYTES, Kind, RECORD_ALIGNMENT, RECORD_VERSION};

/// Most bytes of a group; a first work above it goes alone.
pub const GROUP_BYTES_MAX: u64 = 8 << 20;

/// A record to write, with its parts.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) kind: u8,
    pub(crate) version: u8,
    pub(crate) sequence: u64,
    pub(crate) hashed: Vec<u8>,
    pub(crate) rest: Bytes,
}

impl Part {
    /// A record of one of this program's kinds, all of it hashed.
    pub(crate) fn of(kind: Kind, sequence: u64, body: Vec<u8>) -> Self {
        Self::with_rest(kind, sequence, body, Bytes::new())
    }

    /// A record of one of this program's kinds.
    pub(crate) fn with_rest(kind: Kind, sequence: u64, hashed: Vec<u8>, rest: Bytes) -> Self {
        Self { kind: kind as u8, version: RECORD_VERSION, sequence, hashed, rest }
    }

    pub(crate) fn draft(&self) -> Draft<'_> {
        Draft {
            kind: self.kind,
            version: self.version,
            sequence: self.sequence,
            hashed: &self.hashed,
            rest: &self.rest,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        let bytes = HEADER_BYTES + self.hashed.len() + self.rest.len();
        bytes.next_multiple_of(RECORD_ALIGNMENT) as u64
    }
}

/// What a shard on its way to the disk occupies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) shard: (SegmentId, u8),
    pub(crate) grant: GrantId,
    /// Bytes by which the grant's use grows.
    pub(crate) bytes: u64,
}

/// Records that become durable together or not at all, as far as anybody is told.
#[derive(Debug)]
pub(crate) struct Work {
    /// The step that it is.
    pub(crate) point: &'static str,
    pub(crate) parts: Vec<Part>,
    /// The grant's record, written before the parts where the store has none.
    pub(crate) grant: Option<(GrantId, Part)>,
    /// Set for a shard, which needs room within the capacity.
    pub(crate) claim: Option<Claim>,
}

impl Work {
    /// Records that need no room of their own.
    pub(crate) fn of(point: &'static str, parts: Vec<Part>) -> Self {
        Self { point, parts, grant: None, claim: None }
    }

    pub(crate) fn bytes(&self) -> u64 {
        let grant = self.grant.iter().map(|(_, part)| part);
        self.parts.iter().chain(grant).map(Part::bytes).sum()
    }
}

/// What waits, and what has been done.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: VecDeque<(u64, Work)>,
    done: BTreeMap<u64, Result<(), StoreError>>,
    next: u64,
    leading: bool,
    /// Groups that were led to their end.
    turns: u64,
    shards: BTreeSet<(SegmentId, u8)>,
    grants: BTreeMap<GrantId, u64>,
}

impl Queue {
    /// Whether the shard is on its way to the disk.
    pub(crate) fn has(&self, shard: &(SegmentId, u8)) -> bool {
        self.shards.contains(shard)
    }

    /// Bytes on their way to the disk under a grant.
    pub(crate) fn claimed(&self, grant: &GrantId) -> u64 {
        self.grants.get(grant).copied().unwrap_or(0)
    }

    pub(crate) fn claim(&mut self, claim: &Claim) {
        self.shards.insert(claim.shard);
        *self.grants.entry(claim.grant).or_default() += claim.bytes;
    }

    pub(crate) fn unclaim(&mut self, claim: &Claim) {
        self.shards.remove(&claim.shard);
        if let Some(bytes) = self.grants.get_mut(&claim.grant) {
            *bytes -= claim.bytes;
            if *bytes == 0 {
                self.grants.remove(&claim.grant);
            }
        }
    }

    fn take_group(&mut self) -> Vec<(u64, Work)> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some((_, work)) = self.waiting.front() {
            bytes += work.bytes();
            if bytes > GROUP_BYTES_MAX && !group.is_empty() {
                break;
            }
            group.extend(self.waiting.pop_front());
        }
        group
    }
}

/// The queue and the turns at it.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Commit {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait<'a>(&self, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up a claim that never became work.
    pub(crate) fn unclaim(&self, claim: &Claim) {
        self.lock().unclaim(claim);
        self.changed.notify_all();
    }

    /// Waits until the group that is being written now, if one is, is published or has failed.
    pub(crate) fn settle(&self) {
        let mut queue = self.lock();
        let turns = queue.turns;
        while queue.leading && queue.turns == turns {
            queue = self.wait(queue);
        }
    }

    /// Queues `work` and returns once it is durable or has failed.
    ///
    /// `write` writes a group and gives a result for each of its works in order; `publish` makes
    /// what was written known, under the queue's lock, so that no claim and no index entry is ever
    /// counted twice.
    pub(crate) fn run<W>(
        &self,
        work: Work,
        write: impl Fn(&[Work]) -> (Vec<Result<(), StoreError>>, W),
        publish: impl Fn(W),
    ) -> Result<(), StoreError> {
        let mut queue = self.lock();
        let ticket = queue.next;
        queue.next += 1;
        queue.waiting.push_back((ticket, work));
        loop {
            if let Some(result) = queue.done.remove(&ticket) {
                return result;
            }
            if queue.leading {
                queue = self.wait(queue);
                continue;
            }
            queue.leading = true;
            let (tickets, group): (Vec<u64>, Vec<Work>) = queue.take_group().into_iter().unzip();
            drop(queue);
            let mut turn = Turn { commit: self, tickets, group, results: Vec::new() };
            let (results, written) = write(&turn.group);
            turn.results = results;
            queue = turn.end(|| publish(written));
        }
    }
}

/// One group's turn. It ends also when its leader panics, so that nobody waits for ever.
struct Turn<'a> {
    commit: &'a Commit,
    tickets: Vec<u64>,
    group: Vec<Work>,
    results: Vec<Result<(), StoreError>>,
}

impl<'a> Turn<'a> {
    fn end(mut self, publish: impl FnOnce()) -> MutexGuard<'a, Queue> {
        let commit = self.commit;
        let mut queue = commit.lock();
        publish();
        self.finish(&mut queue);
        queue
    }

    fn finish(&mut self, queue: &mut Queue) {
        for claim in self.group.drain(..).filter_map(|work| work.claim) {
            queue.unclaim(&claim);
        }
        let mut results = self.results.drain(..);
        for ticket in self.tickets.drain(..) {
            let unknown =
                || Err(StoreError::ReadOnly { reason: "a write ended unexpectedly".to_owned() });
            queue.done.insert(ticket, results.next().unwrap_or_else(unknown));
        }
        queue.leading = false;
        queue.turns += 1;
        self.commit.changed.notify_all();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.tickets.is_empty() {
            let commit = self.commit;
            self.finish(&mut commit.lock());
        }
    }
}
