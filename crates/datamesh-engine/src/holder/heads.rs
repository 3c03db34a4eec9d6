//! Keeping and giving out the heads of accounts' logs.
//!
//! A head needs no grant: its signature by the account's pseudonym is all that is asked for. So that
//! strangers, whose keys cost nothing, cannot fill the disk with heads of accounts that nobody has,
//! slots are bounded in number and those that strangers begin in rate.
//!
//! A head that says when it expires is neither taken nor given out from then on. It stays on the disk, so
//! that an earlier one of its log cannot come back.

use std::sync::{Arc, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use datamesh_core::head::{Head, Pseudonym};
use datamesh_core::message::{HEADS_BODY_BYTES_MAX, KnownHead, Refusal, Reply};
use datamesh_core::wire::{self, Encode};
use datamesh_core::{LogId, NodeId, Timestamp};
use datamesh_store::{HeadWrite, Slot, StoreError};

use super::{Answer, Holder, refuse, store_refusal};

/// Slots that strangers may begin at once, and that become free again one a second.
const STRANGERS_SLOTS: u64 = 256;

/// Logs of one account.
const LOGS_PER_ACCOUNT_MAX: usize = 1024;

/// Counts the slots that strangers began lately: a bucket that empties by one a second.
#[derive(Debug, Default)]
pub(super) struct StrangersSlots {
    level: u64,
    at: Timestamp,
}

impl StrangersSlots {
    fn take(&mut self, now: Timestamp) -> bool {
        let emptied = now.saturating_sub(self.at) / 1000;
        self.level = self.level.saturating_sub(emptied);
        // A clock that went back must not stop the bucket for ever.
        if emptied > 0 || now < self.at {
            self.at = now;
        }
        let room = self.level < STRANGERS_SLOTS;
        self.level += u64::from(room);
        room
    }
}

fn slot_of(head: &Head) -> Slot {
    (head.account.0, head.log.0)
}

impl Holder {
    /// Keeps a head, unless a later one of its log is here.
    pub(super) async fn put_head(&self, peer: NodeId, head: Head) -> Answer {
        if let Err(error) = head.verify(&self.engine.mesh()) {
            return refuse(Refusal::NotPermitted, error);
        }
        if head.has_expired(self.engine.now()) {
            return refuse(Refusal::NotPermitted, "the head has expired");
        }
        let (store, slot) = (Arc::clone(&self.store), slot_of(&head));
        if self.store.head_slot(slot).is_none() {
            self.admit_slot(peer, &head.account)?;
        }
        let record = datamesh_store::record::Head {
            account: slot.0,
            log: slot.1,
            revision: head.revision,
            head: head.to_bytes(),
        };
        let written = self.block(move || store.put_head(&record)).await?;
        match written {
            Ok(HeadWrite::Kept) => Ok((Reply::Done, Bytes::new())),
            Ok(HeadWrite::Behind(kept)) => match wire::decode::<Head>(&kept.head) {
                Ok(kept) if kept.has_expired(self.engine.now()) => refuse(
                    Refusal::NotPermitted,
                    "a later head of this log was here and has expired",
                ),
                Ok(kept) => Ok((Reply::HeadKept(kept), Bytes::new())),
                Err(_) => refuse(Refusal::Damaged, "the head that is kept here cannot be read"),
            },
            Err(StoreError::HeadBusy) => refuse(Refusal::Busy, ""),
            Err(error) => Err(store_refusal(error)),
        }
    }

    /// Whether a slot that is not here yet may be begun.
    fn admit_slot(&self, peer: NodeId, account: &Pseudonym) -> Result<(), (Refusal, String)> {
        if self.logs_of(account, None, LOGS_PER_ACCOUNT_MAX).len() >= LOGS_PER_ACCOUNT_MAX {
            return refuse(Refusal::Full, "the account has too many logs");
        }
        let known = datamesh_core::Service::knows(self, peer);
        let now = self.engine.now();
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if known || strangers.take(now) {
            Ok(())
        } else {
            refuse(Refusal::Busy, "too many accounts are new here; try again in a minute")
        }
    }

    /// Slots of an account behind a log, at most `count`.
    fn logs_of(&self, account: &Pseudonym, after: Option<LogId>, count: usize) -> Vec<(Slot, u64)> {
        let from = (account.0, after.unwrap_or(LogId([0; 16])).0);
        let mut slots = match after {
            None => {
                self.store.head_slot(from).map(|revision| (from, revision)).into_iter().collect()
            }
            Some(_) => Vec::new(),
        };
        let mut behind = Some(from);
        while slots.len() < count {
            let page = self.store.heads_after(behind, count - slots.len());
            let Some((last, _)) = page.last() else { break };
            behind = Some(*last);
            let ours = page.iter().take_while(|(slot, _)| slot.0 == account.0).count();
            let whole = ours == page.len();
            slots.extend(page.into_iter().take(ours));
            if !whole {
                break;
            }
        }
        slots
    }

    /// Heads of an account's logs behind `after`, without those that the asking side has.
    pub(super) async fn heads(
        &self,
        account: Pseudonym,
        after: LogId,
        known: Vec<KnownHead>,
    ) -> Answer {
        let after = (after != LogId([0; 16])).then_some(after);
        let mut slots = self.logs_of(&account, after, LOGS_PER_ACCOUNT_MAX);
        slots.retain(|(slot, revision)| {
            known.iter().all(|known| known.log.0 != slot.1 || known.revision < *revision)
        });
        let (store, now) = (Arc::clone(&self.store), self.engine.now());
        let found = self
            .block(move || {
                let mut body = BytesMut::new();
                for (slot, _) in slots {
                    // One that cannot be read is as one that is not here; others have it.
                    let Ok(Some(kept)) = store.head(&slot) else { continue };
                    if wire::decode::<Head>(&kept.head).is_ok_and(|head| head.has_expired(now)) {
                        continue;
                    }
                    if body.len() + 4 + kept.head.len() > HEADS_BODY_BYTES_MAX {
                        return (body.freeze(), true);
                    }
                    body.put_u32_le(kept.head.len() as u32);
                    body.extend_from_slice(&kept.head);
                }
                (body.freeze(), false)
            })
            .await?;
        let (body, more) = found;
        Ok((Reply::Heads { more }, body))
    }
}
