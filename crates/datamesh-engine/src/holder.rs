//! A node's answers to its peers.
//!
//! Every claim in a request is checked here: the grant's chain up to the authority, the ticket's
//! signature, the descriptor's hash, the cells' root. What is acknowledged is synced.

mod audit;
mod heads;
mod leases;
mod restore;
mod take_back;
mod ways;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use datamesh_codec::{check_shard, proof};
use datamesh_core::certificate::Issuer;
use datamesh_core::lease::Renewal;
use datamesh_core::message::{
    ADVERTS_MAX, PROBE_BYTES_MAX, ReadSpan, Redeem, Refusal, Reply, Request, WANTED_MAX,
};
use datamesh_core::{
    BoxFuture, Descriptor, Grant, GrantId, MeshId, Message, NodeCertificate, NodeId, Receipt,
    SegmentId, Service, Signer, StoreTicket, wire,
};
use datamesh_store::{LeaseChange, ShardState, ShardWrite, Store, StoreError};

use crate::engine::Engine;
use crate::work::block;

/// Grants whose signatures were checked and are remembered.
const GRANTS_MAX: usize = 1024;

/// Peers that have stored something and are remembered.
const WRITERS_MAX: usize = 1024;

/// Peers that have introduced themselves and are remembered.
const INTRODUCED_MAX: usize = 4096;

/// Why an invite is not redeemed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}{}{detail}", if .detail.is_empty() { "" } else { ": " })]
pub struct RedeemError {
    /// The reason that the protocol knows.
    pub refusal: Refusal,
    /// More for people.
    pub detail: String,
}

/// What comes of a redeemed invite.
pub type Redeemed = (Option<NodeCertificate>, Option<Grant>);

/// Redeems invites; the node that holds an issuing key implements it.
pub trait Admissions: Send + Sync {
    /// Redeems an invite for `peer`. May block.
    ///
    /// # Errors
    /// [`RedeemError`] for unknown, expired and used-up invites.
    fn redeem(&self, peer: NodeId, redeem: &Redeem) -> Result<Redeemed, RedeemError>;
}

/// Answers peers from a store.
pub struct Holder {
    engine: Arc<Engine>,
    store: Arc<Store>,
    signer: Arc<dyn Signer>,
    certificate: NodeCertificate,
    admissions: Option<Arc<dyn Admissions>>,
    grants: Mutex<Recent<GrantId>>,
    /// Peers that have stored something under a grant.
    writers: Mutex<Recent<NodeId>>,
    /// Peers that know the mesh's id.
    introduced: Mutex<Recent<NodeId>>,
    strangers: Mutex<heads::StrangersSlots>,
    looking: audit::Looking,
    /// Segments of which members are bringing shards, and how many.
    arriving: restore::Arriving,
    /// What probes are answered with.
    probe: OnceLock<Bytes>,
}

/// The newest of many, up to a bound.
#[derive(Debug)]
struct Recent<T> {
    known: BTreeSet<T>,
    order: VecDeque<T>,
    bound: usize,
}

impl<T: Ord + Copy> Recent<T> {
    fn new(bound: usize) -> Mutex<Self> {
        Mutex::new(Self { known: BTreeSet::new(), order: VecDeque::new(), bound })
    }

    fn insert(&mut self, item: T) {
        if self.known.insert(item) {
            self.order.push_back(item);
        }
        if self.order.len() > self.bound
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// A shard on its way to the disk.
struct Parts {
    descriptor: Descriptor,
    shard: u8,
    ticket: StoreTicket,
    grant: Grant,
    /// Most bytes that this node may keep under the grant afterwards.
    grant_bound: u64,
    /// The newest renewal of the segment that whoever brings it knows.
    renewal: Option<Renewal>,
    /// It is brought back: its lease may have ended a while ago.
    restored: bool,
}

type Answer = Result<(Reply, Bytes), (Refusal, String)>;

fn refuse<T>(refusal: Refusal, detail: impl ToString) -> Result<T, (Refusal, String)> {
    Err((refusal, detail.to_string()))
}

/// What a store's error means to a peer. Paths and other inner matters stay here.
fn store_refusal(error: StoreError) -> (Refusal, String) {
    match error {
        StoreError::NotFound { .. } | StoreError::SegmentNotFound { .. } => {
            (Refusal::NotFound, String::new())
        }
        StoreError::Damaged { .. } => (Refusal::Damaged, String::new()),
        StoreError::Range { .. } => (Refusal::Malformed, error.to_string()),
        StoreError::Inconsistent { .. } => (Refusal::Mismatch, error.to_string()),
        StoreError::Full { .. } => (Refusal::Full, String::new()),
        StoreError::GrantUsedUp { .. } => (Refusal::GrantUsedUp, error.to_string()),
        StoreError::Released { .. } => (Refusal::NotPermitted, error.to_string()),
        StoreError::ReadOnly { .. } => (Refusal::ReadOnly, String::new()),
        error => {
            tracing::error!(%error, "the store failed");
            (Refusal::Internal, String::new())
        }
    }
}

impl Holder {
    /// A holder over `store`, for the node that `signer` and `certificate` speak for.
    pub fn new(
        engine: Arc<Engine>,
        store: Arc<Store>,
        signer: Arc<dyn Signer>,
        certificate: NodeCertificate,
        admissions: Option<Arc<dyn Admissions>>,
    ) -> Self {
        Self {
            engine,
            store,
            signer,
            certificate,
            admissions,
            grants: Recent::new(GRANTS_MAX),
            writers: Recent::new(WRITERS_MAX),
            introduced: Recent::new(INTRODUCED_MAX),
            strangers: Mutex::default(),
            looking: audit::Looking::default(),
            arriving: restore::Arriving::default(),
            probe: OnceLock::new(),
        }
    }

    async fn answer(&self, peer: NodeId, message: Message) -> Answer {
        let request = match wire::decode::<Request>(&message.head) {
            Ok(request) => request,
            Err(error) => return refuse(Refusal::Malformed, error),
        };
        match request {
            Request::Hello { mesh } => self.hello(peer, mesh),
            Request::Redeem(redeem) => self.redeem(peer, redeem).await,
            Request::Digest { after, known, complete } => {
                if !self.may_see_members(&peer) {
                    return refuse(Refusal::NotAdmitted, "say hello first");
                }
                let view = self.engine.view();
                let (fresh, mut wanted, more) = view.compare(&after, &known, complete, ADVERTS_MAX);
                // What does not fit into the head is wanted again in the next round.
                wanted.truncate(WANTED_MAX);
                Ok((Reply::Adverts { fresh, wanted, more }, Bytes::new()))
            }
            Request::Announce(adverts) => {
                // Each costs the checking of signatures while the view is locked.
                if !self.may_see_members(&peer) {
                    return refuse(Refusal::NotAdmitted, "say hello first");
                }
                for advert in adverts {
                    self.engine.learn_advert(advert);
                }
                Ok((Reply::Done, Bytes::new()))
            }
            Request::Store { descriptor, shard, ticket, grant, renewal } => {
                self.check_store(&descriptor, &ticket, &grant, message.body.len())?;
                let (grant_bound, restored) = (grant.bytes_per_node, false);
                let parts =
                    Parts { descriptor, shard, ticket, grant, grant_bound, renewal, restored };
                self.store(peer, parts, message.body).await
            }
            Request::Read { segment, shard, span, describe } => {
                self.read(segment, shard, span, describe).await
            }
            Request::Describe { segment } => {
                let store = Arc::clone(&self.store);
                // Of shards in the trash too: whoever wants them back signs with the key that it names.
                let described = self.block(move || store.any_descriptor(segment)).await?;
                Ok((Reply::Described(described.map_err(store_refusal)?), Bytes::new()))
            }
            Request::Have(segments) => {
                let held = segments.into_iter().map(|segment| self.store.held(segment)).collect();
                Ok((Reply::Holding(held), Bytes::new()))
            }
            Request::Permit { segment } => self.permit(&peer, segment).await,
            Request::Restore { descriptor, shard, ticket, grant, alone, renewal } => {
                let grant_bound =
                    self.check_restore(&peer, &descriptor, &ticket, &grant, &message.body)?;
                let _arriving = self.arrives(ticket.segment, shard, alone)?;
                let restored = true;
                let parts =
                    Parts { descriptor, shard, ticket, grant, grant_bound, renewal, restored };
                self.store(peer, parts, message.body).await
            }
            Request::PutHead(head) => self.put_head(peer, head).await,
            Request::Heads { account, after, known } => self.heads(account, after, known).await,
            Request::Release(releases) => self.change_leases(leases::Said::Release(releases)).await,
            Request::Renew(renewals) => self.change_leases(leases::Said::Renew(renewals)).await,
            Request::Releases(segments) => self.releases(segments).await,
            Request::Segments(listing) => self.segments(listing).await,
            Request::Audit { nonce, challenges } => self.audit(peer, nonce, challenges).await,
            Request::Report { segment, shard } => self.examine(peer, segment, shard).await,
            Request::TakeBack(wanted) => self.take_back(peer, wanted).await,
            Request::Pin(pins) => self.pin(pins).await,
            Request::Probe { reply_bytes } => Ok((Reply::Probed, self.probed(reply_bytes))),
            Request::Links => self.links(&peer),
        }
    }

    async fn block<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, (Refusal, String)> {
        match block(&**self.engine.executor(), work).await {
            Some(done) => Ok(done),
            None => refuse(Refusal::Busy, "shutting down"),
        }
    }

    /// Whether a peer may be told who the members are: it is one of them, or it knows the mesh.
    fn may_see_members(&self, peer: &NodeId) -> bool {
        let introduced = self.introduced.lock().unwrap_or_else(PoisonError::into_inner);
        introduced.known.contains(peer) || self.engine.view().member(peer).is_some()
    }

    fn hello(&self, peer: NodeId, mesh: MeshId) -> Answer {
        // Zeros: whoever restores an account from its words alone does not know the mesh yet.
        if mesh != self.engine.mesh() && mesh != MeshId([0; 32]) {
            return refuse(Refusal::OtherMesh, "");
        }
        self.introduced.lock().unwrap_or_else(PoisonError::into_inner).insert(peer);
        let reply = Reply::Welcome {
            genesis: self.engine.genesis(),
            certificate: Some(self.certificate.clone()),
            time: self.engine.now(),
        };
        Ok((reply, Bytes::new()))
    }

    async fn redeem(&self, peer: NodeId, redeem: Redeem) -> Answer {
        let Some(admissions) = self.admissions.clone() else {
            return refuse(Refusal::NotIssuer, "");
        };
        let redeemed = self.block(move || admissions.redeem(peer, &redeem)).await?;
        let (certificate, grant) = redeemed.map_err(|error| (error.refusal, error.detail))?;
        let reply = Reply::Redeemed { genesis: self.engine.genesis(), certificate, grant };
        Ok((reply, Bytes::new()))
    }

    /// Checks a grant's chain, once for each grant while it is remembered.
    fn check_grant(&self, grant: &Grant) -> Result<(), (Refusal, String)> {
        let id = grant.id();
        let now = self.engine.now();
        let delegation = match &grant.issuer {
            Issuer::Authority => 0,
            Issuer::Delegate(delegation) => delegation.expiry,
        };
        let current = [grant.expiry, delegation].iter().all(|expiry| *expiry == 0 || *expiry > now);
        let known = self.grants.lock().unwrap_or_else(PoisonError::into_inner).known.contains(&id);
        if known && current {
            return Ok(());
        }
        let genesis = self.engine.genesis();
        if let Err(error) = grant.verify(&genesis.authority, &self.engine.mesh(), now) {
            return refuse(Refusal::NotPermitted, error);
        }
        self.grants.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        Ok(())
    }

    /// Checks what can be checked of a shard without its bytes and without much work.
    fn check_store(
        &self,
        descriptor: &Descriptor,
        ticket: &StoreTicket,
        grant: &Grant,
        cells: usize,
    ) -> Result<(), (Refusal, String)> {
        self.check_grant(grant)?;
        Self::check_fit(descriptor, ticket, cells)
    }

    fn check_fit(
        descriptor: &Descriptor,
        ticket: &StoreTicket,
        cells: usize,
    ) -> Result<(), (Refusal, String)> {
        let fits = ticket.segment == descriptor.id()
            && ticket.shard_length as usize == descriptor.shard_length()
            && cells == descriptor.shard_length();
        if !fits {
            return refuse(Refusal::Mismatch, "ticket, descriptor and cells do not fit together");
        }
        Ok(())
    }

    /// Stores a shard whose permission was checked but for the signatures of ticket and renewal.
    async fn store(&self, peer: NodeId, parts: Parts, cells: Bytes) -> Answer {
        let lease = self.lease_of(&parts).await?;
        let Parts { descriptor, shard, ticket, grant, grant_bound, renewal, .. } = parts;
        let (mesh, now) = (self.engine.mesh(), self.engine.now());
        let segment = descriptor.id();
        let (store, signer) = (Arc::clone(&self.store), Arc::clone(&self.signer));
        let stored = self
            .block(move || {
                if let Err(error) = check_shard(&descriptor, usize::from(shard), &cells) {
                    return Err((Refusal::Mismatch, error.to_string()));
                }
                let sign = |sequence| {
                    Receipt::issue(&*signer, &mesh, segment, shard, sequence, lease.expiry)
                };
                let receipt = store
                    .put_shard(ShardWrite {
                        descriptor,
                        shard,
                        ticket,
                        grant,
                        grant_bound,
                        cells,
                        stored_at: now,
                        lease_epoch: lease.epoch,
                        lease_expiry: lease.expiry,
                        sign_receipt: &sign,
                    })
                    .map_err(store_refusal)?;
                // Kept as it is signed, so that it can be passed on.
                let renewals: Vec<_> = renewal.into_iter().map(LeaseChange::Renew).collect();
                store.change_leases(&renewals, now).map_err(store_refusal)?;
                Ok(receipt)
            })
            .await?;
        let receipt = stored?;
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).insert(peer);
        self.engine.note_stored(segment);
        Ok((Reply::Stored(receipt), Bytes::new()))
    }

    async fn read(&self, segment: SegmentId, shard: u8, span: ReadSpan, describe: bool) -> Answer {
        if self.engine.withholds(segment, shard) {
            return refuse(Refusal::Busy, "others are asked to prove this shard");
        }
        let store = Arc::clone(&self.store);
        let read = self
            .block(move || {
                // The reader checks the root or the proof; a holder that checked too would hash
                // everything twice. Rot is found by the reader and by the scrub.
                let stored = store.read_shard_unverified(segment, shard).inspect_err(|_| {
                    if store.shard_state(segment, shard) == Some(ShardState::Trash) {
                        tracing::warn!(%segment, shard, "a shard that is in the trash was asked for");
                    }
                })?;
                let descriptor = stored.meta.descriptor;
                let (proof, cells) = match span {
                    ReadSpan::Whole => (Vec::new(), stored.cells),
                    ReadSpan::Cells { first, end } => {
                        let cell = descriptor.cell as usize;
                        let count = (stored.cells.len() / cell) as u32;
                        if first >= end || end > count {
                            return Err(StoreError::Range { shard, first, end, cells: count });
                        }
                        let range = first as usize * cell..end as usize * cell;
                        let proof = proof::prove(&stored.cells, range.clone());
                        (proof, stored.cells.slice(range))
                    }
                };
                Ok((describe.then_some(descriptor), proof, cells))
            })
            .await?;
        let (descriptor, proof, cells) = read.map_err(store_refusal)?;
        Ok((Reply::Shard { descriptor, proof }, cells))
    }
}

fn refusal((refusal, detail): (Refusal, String)) -> Message {
    Message { head: Reply::Refused { refusal, detail }.to_head(), body: Bytes::new() }
}

impl Service for Holder {
    fn serve(&self, peer: NodeId, request: Message) -> BoxFuture<'_, Message> {
        Box::pin(async move {
            self.engine.note_answer(&peer, false);
            match self.answer(peer, request).await {
                Ok((reply, body)) => Message { head: reply.to_head(), body },
                Err(refused) => refusal(refused),
            }
        })
    }

    /// Only a shard that its sender may store, and a probe, come with a body, and only reads and probes
    /// are answered with one.
    fn admit(&self, peer: NodeId, head: &Bytes, body: usize) -> Result<usize, Message> {
        let request = match wire::decode::<Request>(head) {
            Ok(request) => request,
            Err(error) => return Err(refusal((Refusal::Malformed, error.to_string()))),
        };
        if let Request::Store { descriptor, ticket, grant, .. } = &request {
            self.check_store(descriptor, ticket, grant, body).map_err(refusal)?;
        } else if let Request::Restore { descriptor, ticket, .. } = &request {
            self.admit_restore(&peer, descriptor, ticket, body).map_err(refusal)?;
        } else if matches!(request, Request::Probe { .. }) && body <= PROBE_BYTES_MAX {
            // What is measured is the way here; how much of it is used up is bounded for each peer.
        } else if body > 0 {
            let detail = "only a shard to store, or a probe, comes with a body".to_owned();
            return Err(refusal((Refusal::Malformed, detail)));
        }
        Ok(request.reply_max())
    }

    /// Members, and peers that have stored something here under a grant: homes without a node of
    /// their own. A Hello does not count, as the mesh's id is known to everybody who ever had an
    /// invite, and keys cost nothing.
    fn knows(&self, peer: NodeId) -> bool {
        self.engine.view().member(&peer).is_some()
            || self.writers.lock().unwrap_or_else(PoisonError::into_inner).known.contains(&peer)
    }

    fn busy(&self) -> Option<Message> {
        let detail = "its owner limits its bandwidth".to_owned();
        Some(refusal((Refusal::Busy, detail)))
    }
}
