//! Taking renewals, releases and pins, telling which releases count here, and telling the owner of a
//! grant what is kept under it.
//!
//! A renewal, a release or a pin needs no grant and no membership: the segment's lease key signed it, and the
//! key stands in the descriptor of a shard that is here already. So nothing that a stranger says of
//! a segment that this node does not have takes any room.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use datamesh_core::lease::{
    LeaseAnswer, Listed, Listing, PIN_PRIORITY_MAX, Release, Renewal, SegmentPin,
};
use datamesh_core::message::{LISTED_MAX, Refusal, Reply};
use datamesh_core::{PublicKey, SegmentId, Timestamp};
use datamesh_store::{LeaseChange, LeaseOutcome, Store, StoreError};

use super::{Answer, Holder, Parts, refuse, store_refusal};

/// How far the time of a listing may be from this node's: an hour, for clocks that are not set.
const LISTING_AGE_MS: u64 = 3_600_000;

/// What a peer says of leases.
pub(super) enum Said {
    Release(Vec<Release>),
    Renew(Vec<Renewal>),
}

/// A change whose signature was checked, or the answer where there is none.
type Checked = Result<LeaseChange, LeaseAnswer>;

/// The lease that a shard is stored with.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstLease {
    pub(super) epoch: u64,
    pub(super) expiry: Timestamp,
}

impl Holder {
    /// The lease of a shard that somebody brings: its owner signed when it ends, in the ticket or in a
    /// renewal since, and it is not made longer or shorter by who brings it. One that would end later
    /// than this mesh's leases do ends when they do.
    pub(super) async fn lease_of(&self, parts: &Parts) -> Result<FirstLease, (Refusal, String)> {
        let Parts { descriptor, ticket, grant, renewal, restored, .. } = parts;
        let mesh = self.engine.mesh();
        if let Err(error) = ticket.verify(&grant.key, &mesh) {
            return refuse(Refusal::NotPermitted, error);
        }
        if self.engine.genesis().lease_days == 0 {
            return match (ticket.lease_end, renewal) {
                (0, None) => Ok(FirstLease { epoch: 0, expiry: 0 }),
                _ => refuse(Refusal::NotPermitted, "leases do not end in this mesh"),
            };
        }
        let (epoch, end) = match renewal {
            None => (0, ticket.lease_end),
            Some(renewal) => {
                let signed = renewal.verify(&descriptor.lease_key, &mesh).is_ok();
                if renewal.segment != ticket.segment || !signed {
                    return refuse(Refusal::NotPermitted, "the renewal is not signed for it");
                }
                (renewal.epoch, renewal.expiry)
            }
        };
        if end == 0 {
            return refuse(Refusal::NotPermitted, "leases end in this mesh, and this one does not");
        }
        let now = self.engine.now();
        // Where this node's clock says no, it may be this clock that is wrong.
        if !restored && end <= now && self.engine.peers_time().await.is_none_or(|time| end <= time)
        {
            return refuse(Refusal::NotPermitted, "its lease has ended");
        }
        Ok(FirstLease { epoch, expiry: end.min(self.lease_end_max(end).await) })
    }

    /// The latest end of a lease that this node takes now. Where `end` is later, its peers are asked for
    /// the time: a clock that is behind must not make a lease shorter.
    async fn lease_end_max(&self, end: Timestamp) -> Timestamp {
        let genesis = self.engine.genesis();
        let bound = genesis.lease_end_max(self.engine.now());
        if end <= bound {
            return bound;
        }
        let peers = self.engine.peers_time().await.unwrap_or(0);
        bound.max(genesis.lease_end_max(peers))
    }

    /// Takes renewals or releases; what is answered as taken is synced.
    pub(super) async fn change_leases(&self, said: Said) -> Answer {
        let (store, mesh, now) = (Arc::clone(&self.store), self.engine.mesh(), self.engine.now());
        let until = match &said {
            Said::Renew(renewals) if self.engine.genesis().lease_days != 0 => {
                let latest = renewals.iter().map(|renewal| renewal.expiry).max();
                self.lease_end_max(latest.unwrap_or(0)).await
            }
            _ => 0,
        };
        let fits = move |expiry| expiry <= until && (expiry == 0) == (until == 0);
        let answers = self
            .block(move || {
                let check = |segment| lease_key_of(&store, segment);
                let checked: Vec<Checked> = match said {
                    Said::Release(releases) => releases
                        .into_iter()
                        .map(|release| {
                            Ok(match check(release.segment)? {
                                None => Err(LeaseAnswer::NotHeld),
                                Some(lease_key) if release.verify(&lease_key, &mesh).is_ok() => {
                                    Ok(LeaseChange::Release { release, lease_key })
                                }
                                Some(_) => Err(LeaseAnswer::NotSigned),
                            })
                        })
                        .collect::<Result<_, StoreError>>()?,
                    Said::Renew(renewals) => renewals
                        .into_iter()
                        .map(|renewal| {
                            Ok(match check(renewal.segment)? {
                                None => Err(LeaseAnswer::NotHeld),
                                // Not cut: what is passed on to others is signed as it is.
                                Some(_) if !fits(renewal.expiry) => {
                                    Err(LeaseAnswer::TooLong { until })
                                }
                                Some(lease_key) if renewal.verify(&lease_key, &mesh).is_ok() => {
                                    Ok(LeaseChange::Renew(renewal))
                                }
                                Some(_) => Err(LeaseAnswer::NotSigned),
                            })
                        })
                        .collect::<Result<_, StoreError>>()?,
                };
                take(&store, checked, now)
            })
            .await?;
        Ok((Reply::Leases(answers.map_err(store_refusal)?), Bytes::new()))
    }

    /// Takes pins; what is answered as taken is synced. One of no priority there is, or of a segment that
    /// was named before, is as one that nobody signed.
    pub(super) async fn pin(&self, pins: Vec<SegmentPin>) -> Answer {
        let (store, mesh) = (Arc::clone(&self.store), self.engine.mesh());
        let answers = self
            .block(move || {
                let mut answers = Vec::with_capacity(pins.len());
                let (mut taken, mut named) = (Vec::new(), BTreeSet::new());
                for pin in pins {
                    let fits = pin.priority <= PIN_PRIORITY_MAX && named.insert(pin.segment);
                    answers.push(match lease_key_of(&store, pin.segment)? {
                        None => Some(LeaseAnswer::NotHeld),
                        Some(key) if fits && pin.verify(&key, &mesh).is_ok() => {
                            taken.push(pin);
                            None
                        }
                        Some(_) => Some(LeaseAnswer::NotSigned),
                    });
                }
                let outcomes = store.pin(&taken)?;
                Ok(with_outcomes(answers, outcomes))
            })
            .await?;
        Ok((Reply::Leases(answers.map_err(store_refusal)?), Bytes::new()))
    }

    /// The releases that count here, of those segments.
    pub(super) async fn releases(&self, segments: Vec<SegmentId>) -> Answer {
        let store = Arc::clone(&self.store);
        let found = self
            .block(move || {
                let mut found = Vec::new();
                for segment in segments {
                    let tombstone = store.tombstone(segment)?;
                    found.extend(tombstone.map(|tombstone| tombstone.release));
                }
                Ok(found)
            })
            .await?;
        Ok((Reply::Releases(found.map_err(store_refusal)?), Bytes::new()))
    }

    /// A page of what is kept under a grant, for whoever has its key.
    pub(super) async fn segments(&self, listing: Listing) -> Answer {
        let near = self.engine.now().abs_diff(listing.time) <= LISTING_AGE_MS;
        let meant = listing.node == self.engine.transport().local();
        if !near || !meant || listing.verify(&self.engine.mesh()).is_err() {
            return refuse(
                Refusal::NotPermitted,
                "the listing is not signed for this node and time",
            );
        }
        let store = Arc::clone(&self.store);
        let (listed, more) = self
            .block(move || {
                let after = (listing.after != SegmentId([0; 32])).then_some(listing.after);
                let (stored, more) = store.stored_under(&listing.grant_key, after, LISTED_MAX);
                let listed = stored
                    .into_iter()
                    .map(|stored| Listed {
                        segment: stored.segment,
                        shards: stored.shards,
                        shard_bytes: stored.shard_bytes,
                        stored: stored.stored_at,
                        lease_end: stored.lease_end,
                    })
                    .collect();
                (listed, more)
            })
            .await?;
        Ok((Reply::Segments { listed, more }, Bytes::new()))
    }
}

/// Hands what was checked to the store, and gives each its answer.
fn take(
    store: &Store,
    checked: Vec<Checked>,
    now: Timestamp,
) -> Result<Vec<LeaseAnswer>, StoreError> {
    let mut changes: Vec<LeaseChange> = Vec::new();
    let mut answers = Vec::with_capacity(checked.len());
    let segment_of = |change: &LeaseChange| match change {
        LeaseChange::Renew(renewal) => renewal.segment,
        LeaseChange::Release { release, .. } => release.segment,
    };
    let mut segments = BTreeSet::new();
    for checked in checked {
        match checked {
            // A second word on one segment would be judged without knowing the first.
            Ok(change) if !segments.insert(segment_of(&change)) => {
                answers.push(Some(LeaseAnswer::NotHeld));
            }
            Ok(change) => {
                changes.push(change);
                answers.push(None);
            }
            Err(answer) => answers.push(Some(answer)),
        }
    }
    Ok(with_outcomes(answers, store.change_leases(&changes, now)?))
}

/// The answers, with what the store said in place of those that it was asked for.
fn with_outcomes(
    answers: Vec<Option<LeaseAnswer>>,
    outcomes: Vec<LeaseOutcome>,
) -> Vec<LeaseAnswer> {
    let mut outcomes = outcomes.into_iter();
    let answer = |outcome| match outcome {
        Some(LeaseOutcome::Taken { shards }) => LeaseAnswer::Taken { shards },
        Some(LeaseOutcome::Behind { epoch }) => LeaseAnswer::Behind { epoch },
        Some(LeaseOutcome::NotHeld) | None => LeaseAnswer::NotHeld,
    };
    let answers = answers.into_iter();
    answers.map(|known| known.unwrap_or_else(|| answer(outcomes.next()))).collect()
}

/// The key that a segment's owner signs with; nothing where it is not here.
fn lease_key_of(store: &Store, segment: SegmentId) -> Result<Option<PublicKey>, StoreError> {
    match store.lease_key(segment) {
        Ok(key) => Ok(Some(key)),
        // Damaged beyond telling whose it is: as good as not here.
        Err(StoreError::SegmentNotFound { .. } | StoreError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
