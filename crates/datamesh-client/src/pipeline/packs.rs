//! Small files of all puts of a client share segments.
//!
//! Each put seals its small files and hands the slices to the packs, of which there is one being
//! filled for each scheme and spread. One that the next slice does not fit into is sent at once, a
//! bounded number at a time. One that is not full is sent when somebody waits for it and no other
//! such one of its kind is on its way; otherwise when that one has landed, with what came
//! meanwhile: group commit without a timer, as in the store and in the catalog.
//!
//! Promised: a lone put never waits for company. A put that goes away takes its unsent slices with
//! it and nobody else's. What becomes of a pack is told to each put that has slices in it. Memory:
//! for each kind one pack being filled and one on its way, beside the full ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datamesh_core::descriptor::SEGMENT_BYTES_MAX;
use datamesh_core::padding::padme;
use datamesh_core::{ContentTag, Scheme, SegmentId};
use datamesh_crypto::manifest::Compression;
use datamesh_crypto::{Secret, Slice};
use datamesh_engine::Spread;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::segment::SealedSmall;
use super::sending::{Sender, Sending, Stored};
use super::{Done, FRAME, Finished};
use crate::error::ClientError;

/// Full packs being coded and sent at once, by all puts together.
const FULL_IN_FLIGHT: usize = 5;

/// What packs are kept apart by.
type Kind = (Scheme, Spread);

/// The packs of a client.
pub struct Packs {
    slots: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_put: u64,
    kinds: BTreeMap<Kind, Filling>,
}

/// The pack that is being filled, and its kind's turn.
#[derive(Default)]
struct Filling {
    pack: Pack,
    /// Somebody waits for it.
    wanted: bool,
    /// A pack of this kind that was not full is on its way.
    under_way: bool,
}

#[derive(Default)]
struct Pack {
    ciphertext: Vec<u8>,
    /// By the number of the put.
    shares: BTreeMap<u64, Share>,
}

/// What one put has in a pack.
struct Share {
    told: oneshot::Sender<Finished>,
    members: Vec<Member>,
}

/// A small file's place in a pack.
struct Member {
    file: usize,
    offset: u32,
    length: u32,
    plain_length: u32,
    compression: Compression,
    key: Secret,
    tag: ContentTag,
    epoch: u32,
}

impl Member {
    fn slice(self, segment: SegmentId) -> (usize, u32, Slice) {
        let slice = Slice {
            segment,
            offset: self.offset,
            length: self.length,
            plain_length: self.plain_length,
            frame: FRAME as u32,
            compression: self.compression,
            key: self.key,
            tag: self.tag,
            epoch: self.epoch,
        };
        (self.file, 0, slice)
    }
}

impl Filling {
    fn take(&mut self) -> Pack {
        self.wanted = false;
        std::mem::take(&mut self.pack)
    }
}

impl Pack {
    fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// Takes a slice, for which there is room. A put that had none in this pack gets the place at
    /// which it hears what became of it.
    fn add(
        &mut self,
        put: u64,
        sealed: &[u8],
        mut member: Member,
    ) -> Option<oneshot::Receiver<Finished>> {
        if self.ciphertext.capacity() == 0 {
            // All at once, as growing would copy what is there again and again.
            self.ciphertext.reserve(SEGMENT_BYTES_MAX);
        }
        member.offset = self.ciphertext.len() as u32;
        self.ciphertext.extend_from_slice(sealed);
        if let Some(share) = self.shares.get_mut(&put) {
            share.members.push(member);
            return None;
        }
        let (told, hears) = oneshot::channel();
        self.shares.insert(put, Share { told, members: vec![member] });
        Some(hears)
    }

    /// Takes a put's slices out. Slices are sealed without their place, so that the others only
    /// move together.
    fn leave(&mut self, put: u64) -> Option<Share> {
        let left = self.shares.remove(&put)?;
        let mut rest = Vec::new();
        if !self.shares.is_empty() {
            rest.reserve(SEGMENT_BYTES_MAX);
        }
        for member in self.shares.values_mut().flat_map(|share| &mut share.members) {
            let from = member.offset as usize;
            let bytes = self.ciphertext.get(from..from + member.length as usize);
            member.offset = rest.len() as u32;
            rest.extend_from_slice(bytes.unwrap_or_default());
        }
        self.ciphertext = rest;
        Some(left)
    }
}

impl Packs {
    /// Packs with nothing in them.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { slots: Arc::new(Semaphore::new(FULL_IN_FLIGHT)), state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A put's door to the packs of its kind.
    pub(super) fn join(self: &Arc<Self>, scheme: Scheme, sender: Sender) -> Packing {
        let mut state = self.state();
        state.next_put += 1;
        let kind = (scheme, sender.forge.spread);
        Packing { packs: Arc::clone(self), kind, put: state.next_put, sender }
    }
}

/// A put's door to the packs. When it is dropped, what the put has in no pack on its way is taken
/// out.
pub(super) struct Packing {
    packs: Arc<Packs>,
    kind: Kind,
    put: u64,
    sender: Sender,
}

impl Drop for Packing {
    fn drop(&mut self) {
        drop(self.take_out());
    }
}

impl Packing {
    /// Puts a sealed small file into the pack that is being filled; waits where too many full ones
    /// are on their way. Returns where the put hears of the pack, unless it has that already.
    pub(super) async fn add(
        &self,
        file: usize,
        small: SealedSmall,
        tag: ContentTag,
    ) -> Result<Option<oneshot::Receiver<Finished>>, ClientError> {
        let SealedSmall { frames: sealed, plain_length, compression, key, epoch } = small;
        let length = sealed.len() as u32;
        let member = Member { file, offset: 0, length, plain_length, compression, key, tag, epoch };
        let mut member = Some(member);
        let mut slot = None;
        loop {
            let full = {
                let mut state = self.packs.state();
                let filling = state.kinds.entry(self.kind).or_default();
                let fits = filling.pack.ciphertext.len() + sealed.len() <= SEGMENT_BYTES_MAX;
                if fits || filling.pack.is_empty() {
                    return Ok(member
                        .take()
                        .and_then(|member| filling.pack.add(self.put, &sealed, member)));
                }
                slot.take().map(|slot| (filling.take(), slot))
            };
            match full {
                Some((pack, slot)) => self.send_full(pack, slot),
                None => {
                    let slots = Arc::clone(&self.packs.slots);
                    slot = Some(slots.acquire_owned().await.map_err(|_| ClientError::Shutdown)?);
                }
            }
        }
    }

    /// The put waits for what it has in the pack that is being filled.
    pub(super) fn want(&self) {
        let pack = {
            let mut state = self.packs.state();
            let Some(filling) = state.kinds.get_mut(&self.kind) else { return };
            if !filling.pack.shares.contains_key(&self.put) {
                return;
            }
            if filling.under_way {
                filling.wanted = true;
                return;
            }
            filling.under_way = true;
            filling.take()
        };
        let turn = Turn { packs: Arc::clone(&self.packs), kind: self.kind, over: false };
        let sender = self.sender.clone();
        self.sender.executor().spawn(Box::pin(turn.run(sender, pack)));
    }

    /// The put goes on without what it has in the pack that is being filled: it hears that nothing
    /// of it was stored.
    pub(super) fn leave(&self) {
        if let Some(share) = self.take_out() {
            drop(share.told.send(Ok(Done::default())));
        }
    }

    fn take_out(&self) -> Option<Share> {
        let mut state = self.packs.state();
        let filling = state.kinds.get_mut(&self.kind)?;
        let left = filling.pack.leave(self.put);
        if filling.pack.is_empty() {
            filling.wanted = false;
            if !filling.under_way {
                state.kinds.remove(&self.kind);
            }
        }
        left
    }

    fn send_full(&self, pack: Pack, slot: OwnedSemaphorePermit) {
        let sender = self.sender.clone();
        let scheme = self.kind.0;
        self.sender.executor().spawn(Box::pin(async move {
            send(&sender, scheme, pack).await;
            drop(slot);
        }));
    }
}

/// The packs of one kind that go before they are full, one after another while somebody waits.
struct Turn {
    packs: Arc<Packs>,
    kind: Kind,
    over: bool,
}

impl Turn {
    async fn run(mut self, sender: Sender, first: Pack) {
        let mut next = Some(first);
        while let Some(pack) = next {
            send(&sender, self.kind.0, pack).await;
            next = self.next();
        }
    }

    /// The next pack that somebody waits for. Without one the turn is over.
    fn next(&mut self) -> Option<Pack> {
        let mut state = self.packs.state();
        let filling = state.kinds.get_mut(&self.kind)?;
        if filling.wanted {
            return Some(filling.take());
        }
        self.over = true;
        filling.under_way = false;
        if filling.pack.is_empty() {
            state.kinds.remove(&self.kind);
        }
        None
    }
}

impl Drop for Turn {
    /// Dropped in the middle, which the end of the program does: whoever waits for the next pack
    /// hears of it.
    fn drop(&mut self) {
        if !self.over {
            let left = self.packs.state().kinds.remove(&self.kind);
            drop(left);
        }
    }
}

/// Sends a pack and tells each of its puts what became of it.
async fn send(sender: &Sender, scheme: Scheme, pack: Pack) {
    let Pack { mut ciphertext, shares } = pack;
    let sent = sender
        .send(
            move |forge| {
                // The padding slice: bytes that look as every other slice does.
                let length = ciphertext.len();
                ciphertext.resize(padme(length as u64) as usize, 0);
                forge.entropy.fill(&mut ciphertext[length..]);
                Ok((forge.packed(scheme, &ciphertext)?, ()))
            },
            Sending::begin,
        )
        .await;
    let finished: Vec<_> = shares
        .into_values()
        .map(|share| match &sent {
            Ok((stored, ())) => (share.told, Ok(done(share.members, stored))),
            Err(error) => {
                let files = share.members.iter().map(|member| member.file).collect();
                (share.told, Err((files, error.clone())))
            }
        })
        .collect();
    // From here on the puts alone hold the segment's row, and the last of them removes it.
    drop(sent);
    for (told, finished) in finished {
        // A put that went away in the meantime hears nothing; its slices stay in the segment.
        drop(told.send(finished));
    }
}

fn done(members: Vec<Member>, stored: &Stored) -> Done {
    let slices = members.into_iter().map(|member| member.slice(stored.segment)).collect();
    Done { slices, stored: Some(stored.clone()) }
}
