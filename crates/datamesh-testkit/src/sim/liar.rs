//! A node that does its work and lies about it.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use datamesh_core::message::{Refusal, Reply, Request};
use datamesh_core::seam::BODY_BYTES_MAX;
use datamesh_core::wire;
use datamesh_core::{BoxFuture, Descriptor, Hash, Head, LogId, Message, NodeId, Service};

use crate::random::Dice;

/// Bytes of a reply that is garbage.
const GARBAGE_BYTES: usize = 64;

/// How a [`Liar`] lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Not at all.
    None,
    /// One bit of the body is flipped.
    FlipBodyBit,
    /// The body ends too early.
    TruncateBody,
    /// A byte follows the body.
    ExtendBody,
    /// The body is larger than any message may be.
    Oversize,
    /// The head is random bytes.
    GarbageHead,
    /// Head and body are empty.
    Empty,
    /// No reply ever comes.
    Stall,
    /// The reply to an earlier request comes, the first time a refusal.
    Stale,
    /// Where a reply brings a descriptor, it is that of another segment.
    SwapDescriptor,
    /// Where a reply brings a proof, one of its hashes is wrong; where it has none, a hash too many.
    FalsifyProof,
    /// Receipts have a signature that does not hold.
    ForgeReceipt,
    /// All shards of all segments are said to be held.
    ClaimAll,
    /// No shard is said to be held, and none is read.
    DenyAll,
    /// Everything is refused, and nothing is done.
    Refuse(Refusal),
    /// The head of this log is kept and never shown.
    Withhold(LogId),
}

/// Wraps a service and falsifies its replies. The service itself does its work first, except where
/// the lie is to stall or to refuse.
pub struct Liar {
    inner: Arc<dyn Service>,
    state: Mutex<State>,
}

struct State {
    lie: Lie,
    dice: Dice,
    told: u64,
    /// A descriptor that went through, to be shown for another.
    descriptor: Option<Descriptor>,
    reply: Option<Message>,
}

impl Liar {
    /// Falsifies the replies of `inner`; where chance has a part, it comes from `seed`.
    pub fn new(inner: Arc<dyn Service>, lie: Lie, seed: u64) -> Self {
        let dice = Dice::new(seed);
        Self {
            inner,
            state: Mutex::new(State { lie, dice, told: 0, descriptor: None, reply: None }),
        }
    }

    /// Changes how it lies from now on.
    pub fn set(&self, lie: Lie) {
        self.state().lie = lie;
    }

    /// How many replies were falsified, so that a test can know that it tested something.
    pub fn told(&self) -> u64 {
        self.state().told
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service for Liar {
    fn serve(&self, peer: NodeId, request: Message) -> BoxFuture<'_, Message> {
        Box::pin(async move {
            let lie = self.state().lie;
            match lie {
                Lie::Stall => {
                    self.state().told += 1;
                    return pending().await;
                }
                Lie::Refuse(refusal) => {
                    self.state().told += 1;
                    return refused(refusal);
                }
                _ => {}
            }
            let asked = wire::decode::<Request>(&request.head).ok();
            let honest = self.inner.serve(peer, request).await;
            let mut state = self.state();
            let answer = state.falsify(lie, asked.as_ref(), &honest);
            if answer != honest {
                state.told += 1;
            }
            state.remember(asked, &honest);
            answer
        })
    }

    /// As the honest service, but lies may be of any length.
    fn admit(&self, peer: NodeId, head: &Bytes, body: usize) -> Result<usize, Message> {
        self.inner.admit(peer, head, body).map(|_| BODY_BYTES_MAX)
    }

    fn knows(&self, peer: NodeId) -> bool {
        self.inner.knows(peer)
    }

    fn busy(&self) -> Option<Message> {
        self.inner.busy()
    }
}

fn refused(refusal: Refusal) -> Message {
    Message {
        head: Reply::Refused { refusal, detail: String::new() }.to_head(),
        body: Bytes::new(),
    }
}

/// The heads of a reply's body but for those of one log.
fn without(body: &[u8], log: &LogId) -> Vec<u8> {
    let mut from = wire::Reader::new(body);
    let mut kept = wire::Writer::new();
    while let Ok(bytes) = from.bytes("head", body.len()) {
        if wire::decode::<Head>(bytes).is_ok_and(|head| head.log != *log) {
            kept.bytes(bytes);
        }
    }
    kept.into_vec()
}

impl State {
    fn falsify(&mut self, lie: Lie, asked: Option<&Request>, honest: &Message) -> Message {
        let with_body = |body: Vec<u8>| Message { head: honest.head.clone(), body: body.into() };
        let mut body = honest.body.to_vec();
        match lie {
            Lie::None | Lie::Stall | Lie::Refuse(_) => honest.clone(),
            Lie::FlipBodyBit => {
                if !body.is_empty() {
                    let place = self.dice.below(body.len() as u64) as usize;
                    body[place] ^= 1 << self.dice.below(8);
                }
                with_body(body)
            }
            Lie::TruncateBody => {
                body.truncate(self.dice.below(body.len() as u64) as usize);
                with_body(body)
            }
            Lie::ExtendBody => {
                body.push(0);
                with_body(body)
            }
            Lie::Oversize => with_body(vec![0; BODY_BYTES_MAX + 1]),
            Lie::GarbageHead => {
                let mut head = vec![0; GARBAGE_BYTES];
                self.dice.fill(&mut head);
                Message { head: head.into(), body: honest.body.clone() }
            }
            Lie::Empty => Message::default(),
            Lie::Withhold(log) if matches!(asked, Some(Request::Heads { .. })) => {
                with_body(without(&honest.body, &log))
            }
            Lie::Withhold(_) => honest.clone(),
            Lie::Stale => self.reply.clone().unwrap_or_else(|| refused(Refusal::Internal)),
            Lie::DenyAll if matches!(asked, Some(Request::Read { .. })) => {
                refused(Refusal::NotFound)
            }
            Lie::SwapDescriptor
            | Lie::FalsifyProof
            | Lie::ForgeReceipt
            | Lie::ClaimAll
            | Lie::DenyAll => match wire::decode::<Reply>(&honest.head) {
                Ok(mut reply) => {
                    self.falsify_reply(lie, &mut reply);
                    Message { head: reply.to_head(), body: honest.body.clone() }
                }
                Err(_) => honest.clone(),
            },
        }
    }

    fn falsify_reply(&mut self, lie: Lie, reply: &mut Reply) {
        match (lie, reply) {
            (
                Lie::SwapDescriptor,
                Reply::Described(descriptor) | Reply::Shard { descriptor: Some(descriptor), .. },
            ) => {
                let other = self.descriptor.clone().filter(|other| other != descriptor);
                *descriptor = other.unwrap_or_else(|| {
                    let mut other = descriptor.clone();
                    other.lease_key.0[0] ^= 1;
                    other
                });
            }
            (Lie::FalsifyProof, Reply::Shard { proof, .. }) => {
                let place = self.dice.below(proof.len() as u64) as usize;
                match proof.get_mut(place) {
                    Some(hash) => hash.0[self.dice.below(32) as usize] ^= 1,
                    None => proof.push(Hash([0; 32])),
                }
            }
            (Lie::ForgeReceipt, Reply::Stored(receipt)) => {
                receipt.signature.0[self.dice.below(32) as usize] ^= 1;
            }
            (Lie::ClaimAll, Reply::Holding(held)) => held.fill(u32::MAX),
            (Lie::DenyAll, Reply::Holding(held)) => held.fill(0),
            _ => {}
        }
    }

    /// Keeps what later lies are made of. A descriptor is kept if it can be shown for another one,
    /// so the first one stays.
    fn remember(&mut self, asked: Option<Request>, honest: &Message) {
        let shown = match (asked, wire::decode::<Reply>(&honest.head)) {
            (Some(Request::Store { descriptor, .. }), _)
            | (
                _,
                Ok(
                    Reply::Described(descriptor)
                    | Reply::Shard { descriptor: Some(descriptor), .. },
                ),
            ) => Some(descriptor),
            _ => None,
        };
        if self.descriptor.is_none() {
            self.descriptor = shown;
        }
        self.reply = Some(honest.clone());
    }
}
