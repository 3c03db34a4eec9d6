//! Doing what was judged for one segment: gather k good shards, rebuild, compare all roots, place,
//! read back.
//!
//! Nothing here needs a key: whoever holds a shard can do it. A shard counts as placed when its new
//! holder's receipt was checked and the holder has then proved cells that were chosen after it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_codec::{CodecError, proof, rebuild};
use datamesh_core::lease::Renewal;
use datamesh_core::message::{ReadSpan, Refusal, Reply, Request, WantedShards};
use datamesh_core::{BoxFuture, Descriptor, Grant, NodeId, Receipt, SegmentId, StoreTicket, seam};

use super::checker::{Action, Judgement};
use super::survey::{Claims, Surveyed};
use crate::ask::{AskError, ask};
use crate::engine::Engine;
use crate::placement::{Candidate, Places};
use crate::points;
use crate::transfer::{Fault, FaultKind, ReadError, Urgency};
use crate::work::{block, step};

/// How long a node may take for one shard, or to show a permission.
const DEADLINE: Duration = Duration::from_secs(15);

/// The permission to store a segment, as it travels with every shard.
#[derive(Debug, Clone)]
pub struct Permit {
    /// For the segment.
    pub ticket: StoreTicket,
    /// That the ticket rests on.
    pub grant: Grant,
    /// The newest renewal that is known, where leases end.
    pub renewal: Option<Renewal>,
}

/// What was done for a segment.
#[derive(Debug, Clone, Default)]
pub struct Mended {
    /// Shards that were rebuilt, and their new holders.
    pub rebuilt: Vec<(u8, NodeId)>,
    /// Shards that were copied, and their new holders.
    pub copied: Vec<(u8, NodeId)>,
    /// Bytes fetched.
    pub read_bytes: u64,
    /// Bytes handed to new holders.
    pub sent_bytes: u64,
    /// Shards for which there is no failure domain.
    pub waiting: Vec<u8>,
    /// Peers that failed on the way.
    pub faults: Vec<Fault>,
}

/// Why a segment is not mended. What was placed before stays.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MendError {
    /// Fewer than k shards are there.
    #[error("{have} shards are there and {needed} are needed")]
    BelowK {
        /// Shards that are there.
        have: usize,
        /// k.
        needed: usize,
    },
    /// Fewer than k good shards could be fetched.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was rebuilt does not have the roots that the descriptor names, twice.
    #[error("its shards do not fit together")]
    Roots(#[source] CodecError),
    /// Nobody showed the permission that travels with its shards.
    #[error("no holder shows the permission to store it")]
    NoPermit,
    /// Nodes in free failure domains were there, and none took a shard.
    #[error("no node takes shard {shard}{}", fault_text(.faults))]
    NotPlaced {
        /// The first such shard.
        shard: u8,
        /// What they did.
        faults: Vec<Fault>,
    },
    /// No holder tells what the segment is.
    #[error("no holder shows its descriptor")]
    NoDescriptor,
    /// It took too long.
    #[error("it took too long")]
    Patience,
    /// This node's own store failed.
    #[error("the store failed: {0}")]
    Store(String),
    /// This process is shutting down.
    #[error("shutting down")]
    Shutdown,
}

fn fault_text(faults: &[Fault]) -> String {
    faults.last().map_or_else(String::new, |last| format!("; the last one: {last}"))
}

impl Engine {
    /// Carries out a judgement that was made of these claims a moment ago.
    ///
    /// # Errors
    /// [`MendError`]; what was placed before stays where it is.
    pub(super) async fn carry_out(
        &self,
        segment: &SegmentId,
        descriptor: &Arc<Descriptor>,
        claims: &Claims,
        judgement: &Judgement,
        permit: Option<Permit>,
    ) -> Result<Mended, MendError> {
        let mut done = Mended { waiting: judgement.waiting.clone(), ..Mended::default() };
        // One that was caught without a shard it claimed to have gets no other.
        let unfit: BTreeSet<NodeId> = {
            let view = self.view();
            let nodes = view.members().map(|member| member.advert.node());
            nodes.filter(|node| self.is_doubtful(segment, node)).collect()
        };
        let candidates: Vec<Candidate> = self.view().candidates(self.now());
        let settled: Vec<NodeId> = judgement.settled.iter().map(|(_, node)| *node).collect();
        // Those whose shard somebody else has too: they take another one where nobody else can.
        let spare: BTreeSet<NodeId> = claims
            .iter()
            .map(|(_, node)| *node)
            .filter(|node| !judgement.relaxed && !settled.contains(node))
            .collect();
        let mut places = Places::new(
            segment,
            descriptor.scheme,
            &candidates,
            &settled,
            &unfit,
            &spare,
            judgement.relaxed.then_some(claims.as_slice()),
        );
        // Before anything is fetched: what has nowhere to go is not.
        let mut drawn = VecDeque::new();
        let (mut rebuild, mut copy) = (judgement.rebuild.clone(), judgement.copy.clone());
        while drawn.len() < rebuild.len() + copy.len() {
            let Some(node) = places.next() else { break };
            drawn.push_back(node);
        }
        done.waiting.extend(rebuild.split_off(rebuild.len().min(drawn.len())));
        copy.truncate(drawn.len() - rebuild.len());
        if drawn.is_empty() {
            return Ok(done);
        }
        let permit = match permit {
            Some(permit) => permit,
            None => self.ask_permit(descriptor, claims).await.ok_or(MendError::NoPermit)?,
        };
        let mut wanted = rebuild;
        let mut ready: Vec<(u8, Bytes)> = Vec::new();
        for shard in &copy {
            let fetching = self.fetch_copy(segment, *shard, claims, &mut done);
            match step(&*self.executor, points::REPAIR_COPY, fetching).await {
                Some(cells) => ready.push((*shard, cells)),
                // Whoever claims to hold it does not have it.
                None => wanted.push(*shard),
            }
        }
        if !wanted.is_empty() {
            ready.extend(self.regenerate(segment, &wanted, &mut done).await?);
        }
        let mut unplaced = None;
        for (shard, cells) in ready {
            let tried = done.faults.len();
            loop {
                let Some(node) = drawn.pop_front().or_else(|| places.next()) else {
                    // Where nobody was tried there is no domain for it; else nobody took it.
                    match done.faults.len() > tried {
                        true => unplaced = Some(shard),
                        false => done.waiting.push(shard),
                    }
                    break;
                };
                let bytes = cells.len() as u64;
                match self.place(descriptor, segment, shard, &cells, &permit, node, false).await {
                    Ok(receipt) => {
                        done.sent_bytes += bytes;
                        let list = match wanted.contains(&shard) {
                            true => &mut done.rebuilt,
                            false => &mut done.copied,
                        };
                        list.push((shard, node));
                        self.remember_placed(segment, receipt).await;
                        break;
                    }
                    Err(kind) => {
                        let fault = Fault { node, shard, kind };
                        self.note_fault(&fault);
                        done.faults.push(fault);
                        places.failed(&node);
                    }
                }
            }
        }
        match unplaced {
            Some(shard) => Err(MendError::NotPlaced { shard, faults: done.faults }),
            None => Ok(done),
        }
    }

    /// Moves a shard to one node, and remembers that it has it. Says whether the node took it: one that
    /// has another shard of the segment does not.
    ///
    /// # Errors
    /// [`MendError::NotPlaced`]
    pub(super) async fn place_alone(
        &self,
        descriptor: &Arc<Descriptor>,
        segment: &SegmentId,
        shard: u8,
        cells: &Bytes,
        permit: &Permit,
        node: NodeId,
    ) -> Result<bool, MendError> {
        match self.place(descriptor, segment, shard, cells, permit, node, true).await {
            Ok(receipt) => {
                self.remember_placed(segment, receipt).await;
                Ok(true)
            }
            // Somebody else moves another shard to it.
            Err(FaultKind::Ask(AskError::Refused { refusal: Refusal::Busy, .. })) => Ok(false),
            Err(kind) => {
                let fault = Fault { node, shard, kind };
                self.note_fault(&fault);
                Err(MendError::NotPlaced { shard, faults: vec![fault] })
            }
        }
    }

    /// Remembers that a node took a shard and proved it.
    async fn remember_placed(&self, segment: &SegmentId, receipt: Receipt) {
        let (shard, node) = (receipt.shard, receipt.node);
        let mut known = self.remembered_holders(segment).await;
        known.push((shard, node));
        known.sort_unstable();
        known.dedup();
        self.remember_holders(*segment, known);
        let noting = self.remember_receipts(vec![receipt]);
        step(&*self.executor, points::REPAIR_NOTE, noting).await;
        self.undoubt(segment, (shard, node));
    }

    /// Asks for those shards that are missing, or have no failure domain of their own, to be taken
    /// back where they lie in the trash because they were moved, and adds to the claims who has them
    /// again. Says whether anybody has.
    pub(super) async fn bring_back(
        &self,
        segment: SegmentId,
        judgement: &Judgement,
        surveyed: &mut Surveyed,
    ) -> bool {
        if !matches!(judgement.action, Action::Rebuild | Action::Copy | Action::Lost) {
            return false;
        }
        let shards = judgement.missing.iter().chain(&judgement.copy);
        let shards = shards.fold(0, |mask, shard| mask | 1_u32 << shard);
        let back = self.take_back(&[WantedShards { segment, shards }]).await;
        let before = surveyed.claims.len();
        surveyed.claims.extend(back.get(&segment).into_iter().flatten());
        surveyed.claims.sort_unstable();
        surveyed.claims.dedup();
        surveyed.claims.retain(|claim| !self.is_doubted(&segment, *claim));
        surveyed.claims.len() > before
    }

    /// Reads k shards, rebuilds all others and compares every root; returns those that are wanted.
    /// A mismatch may be this machine's fault, so it is tried once more.
    async fn regenerate(
        &self,
        segment: &SegmentId,
        wanted: &[u8],
        done: &mut Mended,
    ) -> Result<Vec<(u8, Bytes)>, MendError> {
        let urgent = Urgency::default();
        urgent.raise();
        let mut mismatch = None;
        for _ in 0..2 {
            let reading = self.read_segment(segment, &urgent);
            let read = match step(&*self.executor, points::REPAIR_FETCH, reading).await {
                Ok(read) => read,
                // A data shard that was rebuilt and has not its root.
                Err(ReadError::Rebuild { source, .. }) => {
                    mismatch = Some(source);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for fault in &read.faults {
                if fault.kind.is_lack() {
                    self.doubt(segment, (fault.shard, fault.node));
                }
            }
            done.faults.extend(read.faults);
            done.read_bytes += read.data.iter().map(|cells| cells.len() as u64).sum::<u64>();
            let (described, pool) = (Arc::clone(&read.descriptor), self.pool.clone());
            let mut shards: Vec<Option<Bytes>> = read.data.into_iter().map(Some).collect();
            let k = shards.len();
            shards.resize(described.scheme.n(), None);
            let parity: Vec<usize> = (k..shards.len()).collect();
            let rebuilding = block(&*self.executor, move || {
                let made = rebuild(&described, &shards, &parity, &pool)?;
                for (place, cells) in parity.into_iter().zip(made) {
                    shards[place] = Some(cells);
                }
                Ok::<_, CodecError>(shards)
            });
            let rebuilt = step(&*self.executor, points::REPAIR_REBUILD, rebuilding).await;
            match rebuilt.ok_or(MendError::Shutdown)? {
                Ok(shards) => {
                    let take = |shard: &u8| {
                        let cells = shards.get(usize::from(*shard))?.clone()?;
                        Some((*shard, cells))
                    };
                    return Ok(wanted.iter().filter_map(take).collect());
                }
                Err(error) => mismatch = Some(error),
            }
        }
        Err(mismatch.map_or(MendError::Shutdown, MendError::Roots))
    }

    /// A shard's verified bytes from one of its holders.
    async fn fetch_copy(
        &self,
        segment: &SegmentId,
        shard: u8,
        claims: &Claims,
        done: &mut Mended,
    ) -> Option<Bytes> {
        for (_, node) in claims.iter().filter(|(held, _)| *held == shard) {
            let (_, _, fetched) = self.fetch_shard(*segment, shard, *node).await;
            match fetched {
                Ok((cells, _)) => {
                    done.read_bytes += cells.len() as u64;
                    return Some(cells);
                }
                Err(kind) => {
                    if kind.is_lack() {
                        self.doubt(segment, (shard, *node));
                    }
                    let fault = Fault { node: *node, shard, kind };
                    self.note_fault(&fault);
                    done.faults.push(fault);
                }
            }
        }
        None
    }

    /// Hands a shard to a node, checks the receipt, and reads back what it then has. Where it is to be
    /// `alone`, a node that has another shard of the segment does not take it.
    #[expect(clippy::too_many_arguments, reason = "a shard, its permission and its place")]
    async fn place(
        &self,
        descriptor: &Arc<Descriptor>,
        segment: &SegmentId,
        shard: u8,
        cells: &Bytes,
        permit: &Permit,
        node: NodeId,
        alone: bool,
    ) -> Result<Receipt, FaultKind> {
        let Permit { ticket, grant, renewal } = permit.clone();
        let sent = (**descriptor).clone();
        // Who is no member delivers as any writer does.
        let is_member = self.view().member(&self.transport.local()).is_some();
        let request = match is_member {
            true => Request::Restore { descriptor: sent, shard, ticket, grant, alone, renewal },
            false => Request::Store { descriptor: sent, shard, ticket, grant, renewal },
        };
        let asking = ask(&*self.transport, node, &request, cells.clone(), DEADLINE);
        let answer = step(&*self.executor, points::REPAIR_SEND, asking).await;
        let receipt = match answer? {
            (Reply::Stored(receipt), _) => receipt,
            _ => return Err(AskError::OffTopic { peer: node }.into()),
        };
        let holds = receipt.segment == *segment
            && receipt.shard == shard
            && receipt.node == node
            && receipt.verify(&self.mesh()).is_ok();
        if !holds {
            return Err(FaultKind::WrongReceipt);
        }
        let proving = self.prove_shard(descriptor, segment, shard, node);
        step(&*self.executor, points::REPAIR_VERIFY, proving).await?;
        self.note_answer(&node, false);
        Ok(receipt)
    }

    /// Has a node prove one cell, drawn now, of a shard that it claims to hold.
    ///
    /// # Errors
    /// What it did instead.
    pub fn prove_shard<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        segment: &'a SegmentId,
        shard: u8,
        node: NodeId,
    ) -> BoxFuture<'a, Result<(), FaultKind>> {
        Box::pin(async move {
            let drawn = u64::from_le_bytes(seam::random(&*self.entropy));
            let first = (drawn % descriptor.rows().max(1) as u64) as u32;
            let span = ReadSpan::Cells { first, end: first + 1 };
            let (_, hashes, cells) = self.read_span(*segment, shard, node, span, false).await?;
            let cell = descriptor.cell as usize;
            let range = first as usize * cell..(first as usize + 1) * cell;
            let proved = descriptor.roots.get(usize::from(shard)).is_some_and(|root| {
                proof::verify(root, descriptor.shard_length(), range, &cells, &hashes)
            });
            if proved { Ok(()) } else { Err(FaultKind::WrongProof) }
        })
    }

    /// Asks holders for the permission that came with their shards.
    async fn ask_permit(&self, descriptor: &Descriptor, claims: &Claims) -> Option<Permit> {
        let (segment, mesh) = (descriptor.id(), self.mesh());
        let mut asked = BTreeSet::new();
        for (_, node) in claims {
            if !asked.insert(*node) {
                continue;
            }
            let request = Request::Permit { segment };
            let mut answer = ask(&*self.transport, *node, &request, Bytes::new(), DEADLINE).await;
            if matches!(&answer, Err(AskError::Refused { refusal: Refusal::NotAdmitted, .. }))
                && self.introduce(*node).await.is_ok()
            {
                answer = ask(&*self.transport, *node, &request, Bytes::new(), DEADLINE).await;
            }
            let signed = |renewal: &Renewal| {
                let key = &descriptor.lease_key;
                renewal.segment == segment && renewal.verify(key, &mesh).is_ok()
            };
            if let Ok((Reply::Permitted { ticket, grant, renewal }, _)) = answer
                && ticket.segment == segment
                && ticket.verify(&grant.key, &mesh).is_ok()
                && renewal.as_ref().is_none_or(signed)
            {
                return Some(Permit { ticket, grant, renewal });
            }
        }
        None
    }
}
