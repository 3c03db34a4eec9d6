//! How adverts spread: by comparing digests with a few peers, and by announcing what is new.

use std::time::Duration;

use bytes::Bytes;
use datamesh_core::message::{ADVERTS_MAX, Refusal, Reply, Request, WANTED_MAX};
use datamesh_core::{Advert, BoxFuture, Context, NodeId, Signature, Signer, TransportError, seam};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::ask::{AskError, ask};
use crate::engine::Engine;
use crate::view::AdvertError;

/// Entries in one page of a digest.
const PAGE: usize = 512;

/// Pages in one exchange, so that no peer keeps us forever.
const ROUNDS_MAX: usize = 256;

/// How long a peer may take for one page.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long one exchange may take in all, however willing the peer seems; what is missing comes
/// with the next.
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a peer is waited for before another is asked for the same.
const HEAD_START: Duration = Duration::from_secs(2);

/// Members that a newcomer announces itself to at once; the rest hears of it from them.
const ANNOUNCE_MAX: usize = 32;

impl Engine {
    /// Takes an advert in and remembers where its node listens. Says whether it was newer.
    pub fn learn_advert(&self, advert: Advert) -> bool {
        let (node, addresses) = (advert.node(), advert.addresses.clone());
        let learnt = self.view_mut().learn(advert, self.now());
        self.took_advert(node, &addresses, learnt)
    }

    /// Takes an advert in that was kept over a restart.
    pub fn recall_advert(&self, advert: Advert) -> bool {
        let (node, addresses) = (advert.node(), advert.addresses.clone());
        let learnt = self.view_mut().recall(advert, self.now());
        self.took_advert(node, &addresses, learnt)
    }

    fn took_advert(
        &self,
        node: NodeId,
        addresses: &[String],
        learnt: Result<bool, AdvertError>,
    ) -> bool {
        match learnt {
            Ok(true) => {
                self.transport.learn(node, addresses);
                true
            }
            Ok(false) => false,
            Err(error) => {
                if !matches!(error, AdvertError::Expired) {
                    // Not louder: whoever sends them would choose how much is logged.
                    tracing::debug!(%node, %error, "an advert was refused");
                }
                false
            }
        }
    }

    /// Signs an advert with the next sequence, after `previous`.
    pub fn sign_advert(&self, signer: &dyn Signer, mut advert: Advert, lifetime_ms: u64) -> Advert {
        let now = self.now();
        // The time makes sequences grow over restarts without a counter on disk; where the clock
        // went back, the last one counts on.
        advert.sequence = now.max(advert.sequence + 1);
        advert.expiry = now + lifetime_ms;
        advert.signature = Signature([0; 64]);
        advert.signature = signer.sign(Context::Advert, &self.mesh(), &advert.signed_part());
        advert
    }

    /// Compares views with one peer until both know the same. Says how many adverts were new here.
    ///
    /// # Errors
    /// [`AskError`] where the peer fails on the way or takes more than 10 s in all; what was learnt
    /// before stays.
    pub fn exchange_adverts(&self, peer: NodeId) -> BoxFuture<'_, Result<usize, AskError>> {
        Box::pin(async move {
            let after = EXCHANGE_DEADLINE;
            match tokio::time::timeout(after, self.exchange_pages(peer)).await {
                Ok(exchanged) => exchanged,
                Err(_) => Err(TransportError::Timeout { peer, after }.into()),
            }
        })
    }

    async fn exchange_pages(&self, peer: NodeId) -> Result<usize, AskError> {
        let mut after = NodeId([0; 32]);
        let mut new = 0;
        let mut introduced = false;
        for _ in 0..ROUNDS_MAX {
            let known = self.view().digest(&after, PAGE);
            let complete = known.len() < PAGE;
            let last = known.last().map(|entry| entry.node);
            let request = Request::Digest { after, known, complete };
            let transport = &*self.transport;
            let answer = ask(transport, peer, &request, Bytes::new(), DEADLINE).await;
            if !introduced
                && matches!(&answer, Err(AskError::Refused { refusal: Refusal::NotAdmitted, .. }))
            {
                self.introduce(peer).await?;
                introduced = true;
                continue;
            }
            let (Reply::Adverts { fresh, wanted, more }, _) = answer? else {
                return Err(AskError::OffTopic { peer });
            };
            self.note_answer(&peer, false);
            // What is fresh comes in the order of ids, so where more is due the next page begins
            // behind it. A peer that names nothing further on cannot have the page again.
            let shown = fresh.iter().map(Advert::node).max();
            let cut = wanted.iter().max().filter(|_| wanted.len() >= WANTED_MAX);
            let further = match (shown, cut) {
                (Some(shown), Some(cut)) => Some(shown.min(*cut)),
                (shown, _) => shown,
            };
            for advert in fresh {
                new += usize::from(self.learn_advert(advert));
            }
            let ours: Vec<Advert> = {
                let view = self.view();
                wanted
                    .iter()
                    .filter_map(|node| view.member(node))
                    .map(|member| member.advert.clone())
                    .collect()
            };
            for adverts in ours.chunks(ADVERTS_MAX) {
                self.announce(peer, adverts.to_vec()).await?;
            }
            match (further.filter(|further| more && *further > after), last) {
                (Some(further), _) => after = further,
                (None, Some(last)) if !complete => after = last,
                _ => break,
            }
        }
        Ok(new)
    }

    /// Compares views with one of `peers`, whichever answers first. They are asked in order, each a
    /// little after the one before, so that one that does not answer holds nobody up.
    pub fn fetch_view<'a>(&'a self, peers: &'a [NodeId]) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let mut peers = peers.iter();
            let mut asked = FuturesUnordered::new();
            loop {
                asked.extend(peers.next().map(|peer| self.exchange_adverts(*peer)));
                let answer = if peers.len() == 0 {
                    asked.next().await
                } else {
                    tokio::time::timeout(HEAD_START, asked.next()).await.ok().flatten()
                };
                if matches!(answer, Some(Ok(_))) || asked.is_empty() && peers.len() == 0 {
                    return;
                }
            }
        })
    }

    /// Shows a peer that this side knows the mesh.
    pub(crate) async fn introduce(&self, peer: NodeId) -> Result<(), AskError> {
        let request = Request::Hello { mesh: self.mesh() };
        match ask(&*self.transport, peer, &request, Bytes::new(), DEADLINE).await? {
            (Reply::Welcome { .. }, _) => Ok(()),
            _ => Err(AskError::OffTopic { peer }),
        }
    }

    /// Hands adverts to a peer, at most [`ADVERTS_MAX`].
    ///
    /// # Errors
    /// [`AskError`] where the peer does not take them.
    pub fn announce(
        &self,
        peer: NodeId,
        adverts: Vec<Advert>,
    ) -> BoxFuture<'_, Result<(), AskError>> {
        Box::pin(async move {
            let request = Request::Announce(adverts);
            let transport = &*self.transport;
            let mut answer = ask(transport, peer, &request, Bytes::new(), DEADLINE).await;
            if let Err(AskError::Refused { refusal: Refusal::NotAdmitted, .. }) = &answer {
                self.introduce(peer).await?;
                answer = ask(transport, peer, &request, Bytes::new(), DEADLINE).await;
            }
            match answer? {
                (Reply::Done, _) => Ok(()),
                _ => Err(AskError::OffTopic { peer }),
            }
        })
    }

    /// All members but this node.
    fn others(&self) -> Vec<NodeId> {
        let view = self.view();
        let members = view.members().map(|member| member.advert.node());
        members.filter(|node| *node != self.transport.local()).collect()
    }

    /// Tells some members of `advert` at once. Those that do not answer hear of it later.
    pub fn announce_widely<'a>(&'a self, advert: &'a Advert) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let told = self.sample(self.others(), ANNOUNCE_MAX);
            let announcements =
                told.into_iter().map(|node| self.announce(node, vec![advert.clone()]));
            futures::future::join_all(announcements).await;
        })
    }

    /// One round of gossip with a few random members.
    pub fn gossip(&self, peers: usize) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for peer in self.sample(self.others(), peers) {
                if let Err(error) = self.exchange_adverts(peer).await {
                    tracing::debug!(%peer, %error, "no adverts were exchanged");
                    if error.is_absence() {
                        self.note_answer(&peer, true);
                    }
                }
            }
        })
    }

    /// Up to `count` of `nodes`, drawn at random.
    fn sample(&self, mut nodes: Vec<NodeId>, count: usize) -> Vec<NodeId> {
        let mut drawn = Vec::new();
        while drawn.len() < count && !nodes.is_empty() {
            let number = u64::from_le_bytes(seam::random(&*self.entropy));
            drawn.push(nodes.swap_remove((number % nodes.len() as u64) as usize));
        }
        drawn
    }
}
