//! Heads of logs on the nodes that keep them: a quorum for writing, a quorum for reading.
//!
//! An account's heads lie on the first N members of its pseudonym's ranking, N = 7, or 13 in a mesh
//! large enough for 16+8, or all where there are fewer. A head counts as published when W of them
//! have synced it, and what R of them say is read, W = R = N − ⌊N/3⌋: any two such sets share a
//! node, also where a few lie. Heads prove themselves, so reading takes the union of what holds, and
//! anybody may carry one to where it belongs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_core::head::{Head, Pseudonym};
use datamesh_core::message::{HEADS_KNOWN_MAX, KnownHead, Reply, Request};
use datamesh_core::wire::{self, Reader};
use datamesh_core::{BoxFuture, LogId, NodeId, Scheme, SegmentId};
use futures::stream::{FuturesUnordered, StreamExt};

use crate::ask::{AskError, ask};
use crate::engine::Engine;
use crate::placement::{Candidate, ranking};
use crate::points;
use crate::view::Standing;
use crate::work::step;

/// Nodes that keep an account's heads.
const KEEPERS: usize = 7;

/// The same in a mesh that is large enough for 16+8.
const KEEPERS_LARGE: usize = 13;

/// How long a node may take to keep a head.
const PUT_DEADLINE: Duration = Duration::from_secs(6);

/// How long a node may take for a page of heads.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// Most pages of heads that are taken from one node: a bound on what a liar can send.
const PAGES_MAX: usize = 64;

/// Most logs of an account that are listened to.
const LOGS_MAX: usize = 4096;

/// Nodes that a quorum needs of `keepers`.
pub fn quorum(keepers: usize) -> usize {
    keepers - keepers / 3
}

/// Who of these members keeps an account's heads, in the order of the ranking.
pub(crate) fn keepers(account: &[u8; 32], candidates: &[Candidate]) -> Vec<NodeId> {
    let domains: BTreeSet<_> = candidates.iter().map(|candidate| &candidate.domain).collect();
    let large = Scheme::for_domains(domains.len()) == Some(Scheme::SIXTEEN_EIGHT);
    let count = if large { KEEPERS_LARGE } else { KEEPERS };
    let ranked = ranking(&SegmentId(*account), candidates);
    ranked.into_iter().take(count).map(|candidate| candidate.node).collect()
}

/// What came of publishing a head.
#[derive(Debug, Clone, Default)]
pub struct HeadPublished {
    /// Nodes that have it synced.
    pub kept: usize,
    /// Nodes that were needed.
    pub needed: usize,
    /// Another head of this log that a node has, of the same revision or a later one.
    pub rival: Option<Head>,
}

impl HeadPublished {
    /// The head counts as published.
    pub fn reached(&self) -> bool {
        self.needed > 0 && self.kept >= self.needed
    }
}

/// What the nodes say of an account's heads.
#[derive(Debug, Clone, Default)]
pub struct HeadsRead {
    /// The newest head of each log that was read, all verified.
    pub heads: BTreeMap<LogId, Head>,
    /// Nodes that answered.
    pub answered: usize,
    /// Nodes that were needed.
    pub needed: usize,
}

impl HeadsRead {
    /// Enough nodes answered to know every published head.
    pub fn reached(&self) -> bool {
        self.needed > 0 && self.answered >= self.needed
    }
}

/// A node's answer to a head.
enum Told {
    /// It has it, synced.
    Kept,
    /// It has this one instead, and it holds.
    Rival(Box<Head>),
    /// Nothing that can be used.
    Nothing,
}

impl Engine {
    /// The members that are not gone, as placement sees them.
    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        self.view().candidates(self.now())
    }

    /// The members that answer, as far as is known here.
    pub(crate) fn answering(&self) -> BTreeSet<NodeId> {
        let (view, now) = (self.view(), self.now());
        view.members()
            .filter(|member| {
                matches!(view.standing(member, now), Standing::Alive | Standing::Draining)
            })
            .map(|member| member.advert.node())
            .collect()
    }

    /// The nodes that keep an account's heads, in the order of the ranking.
    pub fn head_keepers(&self, account: &Pseudonym) -> Vec<NodeId> {
        keepers(&account.0, &self.candidates())
    }

    /// Hands a head to the nodes that keep its account's, and returns when a quorum has it, or it is
    /// clear that none will. The other nodes get it all the same.
    pub fn publish_head<'a>(self: &'a Arc<Self>, head: &'a Head) -> BoxFuture<'a, HeadPublished> {
        Box::pin(
            async move { step(&*self.executor, points::HEAD_QUORUM, self.hand_head(head)).await },
        )
    }

    async fn hand_head(self: &Arc<Self>, head: &Head) -> HeadPublished {
        let keepers = self.head_keepers(&head.account);
        let mut published =
            HeadPublished { needed: quorum(keepers.len()), ..HeadPublished::default() };
        let request = Request::PutHead(head.clone());
        let mut asking = FuturesUnordered::new();
        for node in keepers {
            let (engine, request) = (Arc::clone(self), request.clone());
            asking.push(async move {
                let asking = ask(&*engine.transport, node, &request, Bytes::new(), PUT_DEADLINE);
                (node, step(&*engine.executor, points::HEAD_SEND, asking).await)
            });
        }
        while let Some((node, answer)) = asking.next().await {
            match self.head_answer(&node, head, answer) {
                Told::Kept => published.kept += 1,
                Told::Rival(rival) => published.rival = Some(*rival),
                Told::Nothing => {}
            }
            let hopeless = published.kept + asking.len() < published.needed;
            if published.reached() || hopeless {
                break;
            }
        }
        if !asking.is_empty() {
            let engine = Arc::clone(self);
            let head = head.clone();
            self.executor.spawn(Box::pin(async move {
                while let Some((node, answer)) = asking.next().await {
                    // Its owner goes on without it; the next head tells the same.
                    let _told = engine.head_answer(&node, &head, answer);
                }
            }));
        }
        published
    }

    /// What a node's answer to a head comes to.
    fn head_answer(
        &self,
        node: &NodeId,
        head: &Head,
        answer: Result<(Reply, Bytes), AskError>,
    ) -> Told {
        self.note_outcome(node, &answer);
        match answer {
            Ok((Reply::Done, _)) => Told::Kept,
            Ok((Reply::HeadKept(rival), _)) => {
                let holds = rival.account == head.account
                    && rival.log == head.log
                    && rival.revision >= head.revision
                    && rival.verify(&self.mesh()).is_ok();
                if holds { Told::Rival(Box::new(rival)) } else { Told::Nothing }
            }
            _ => Told::Nothing,
        }
    }

    /// Hands one head to one node, for whoever moves heads as the ranking changes.
    pub fn carry_head<'a>(&'a self, node: NodeId, head: &'a Head) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let request = Request::PutHead(head.clone());
            let answer = ask(&*self.transport, node, &request, Bytes::new(), PUT_DEADLINE).await;
            self.note_outcome(&node, &answer);
            // A rival is at least as new: the node has what it needs.
            matches!(answer, Ok((Reply::Done | Reply::HeadKept(_), _)))
        })
    }

    /// Reads the heads of an account's logs that are newer than those `known`, from a quorum of the
    /// nodes that keep them if as many answer.
    pub fn read_heads<'a>(
        &'a self,
        account: &'a Pseudonym,
        known: &'a [KnownHead],
    ) -> BoxFuture<'a, HeadsRead> {
        Box::pin(async move {
            let keepers = self.head_keepers(account);
            let mut read = HeadsRead { needed: quorum(keepers.len()), ..HeadsRead::default() };
            let mut asking = FuturesUnordered::new();
            for node in keepers {
                asking.push(async move { (node, self.heads_of(node, account, known).await) });
            }
            while let Some((node, answer)) = asking.next().await {
                self.note_outcome(&node, &answer);
                read.answered += usize::from(answer.is_ok());
                for head in answer.into_iter().flatten() {
                    let before = read.heads.get(&head.log).map(|before| before.revision);
                    let room = before.is_some() || read.heads.len() < LOGS_MAX;
                    if room && before.is_none_or(|before| before < head.revision) {
                        read.heads.insert(head.log, head);
                    }
                }
                if read.reached() {
                    break;
                }
            }
            read
        })
    }

    /// One node's heads of an account, verified.
    async fn heads_of(
        &self,
        node: NodeId,
        account: &Pseudonym,
        known: &[KnownHead],
    ) -> Result<Vec<Head>, AskError> {
        let mut heads: Vec<Head> = Vec::new();
        let mut after = LogId([0; 16]);
        let known = &known[..known.len().min(HEADS_KNOWN_MAX)];
        for _ in 0..PAGES_MAX {
            let request = Request::Heads { account: *account, after, known: known.to_vec() };
            let answer = ask(&*self.transport, node, &request, Bytes::new(), READ_DEADLINE).await?;
            let (Reply::Heads { more }, body) = answer else {
                return Err(AskError::OffTopic { peer: node });
            };
            let page =
                heads_in(&body).map_err(|source| AskError::Garbage { peer: node, source })?;
            let Some(last) = page.last().map(|head| head.log) else { break };
            for head in page {
                let in_order = head.log > after;
                if head.account != *account || !in_order || head.verify(&self.mesh()).is_err() {
                    return Err(AskError::OffTopic { peer: node });
                }
                after = head.log;
                heads.push(head);
            }
            after = last;
            if !more || heads.len() >= LOGS_MAX {
                break;
            }
        }
        Ok(heads)
    }
}

/// The heads in the body of a reply.
fn heads_in(body: &Bytes) -> Result<Vec<Head>, wire::WireError> {
    let mut from = Reader::new(body);
    let mut heads = Vec::new();
    while from.remaining() > 0 {
        heads.push(wire::decode(from.bytes("head", datamesh_core::seam::HEAD_BYTES_MAX)?)?);
    }
    Ok(heads)
}
