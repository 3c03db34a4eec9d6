//! Publishing: what this device committed becomes the newest head of its log.
//!
//! Whoever publishes takes everything that was committed so far; who comes meanwhile waits and often
//! finds that it was taken along. Operations that a head has no room for are stored as a page first,
//! and small pages are merged four at a time, so that a log of any length has few and each operation
//! is stored a few times only.

use datamesh_catalog::{LogEnd, OPERATIONS_MAX, Tip};
use datamesh_core::catalog::Operation;
use datamesh_core::head::{HEAD_PAGES_MAX, HEAD_SEEN_MAX, HeadBody, PagePlace, Seen};
use datamesh_core::{BoxFuture, LogId};

use super::objects::{PAGE_BYTES_MAX, operation_bytes};
use super::{Own, State};
use crate::client::Client;
use crate::error::ClientError;
use crate::points;

/// A head has up to so many bytes of operations itself; with more they become a page. Half of what
/// would fit: every head is stored whole on every node of its quorum.
const INLINE_BYTES: usize = datamesh_core::head::HEAD_INLINE_BYTES_MAX / 2;

/// Pages of one size that are merged into one.
const MERGED_PAGES: usize = 4;

/// Pages that stay named in the head itself when the others move to the index.
const PAGES_KEPT: usize = 16;

/// How often a head that met another one is tried with a higher revision.
pub(super) const TRIES: usize = 3;

/// How far the mesh has this device's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Published {
    /// Operations that are committed on this device and that no quorum has yet.
    pub pending: u64,
}

impl Client {
    /// Publishes everything that was committed on this device so far, renews what that refers to
    /// anew, and lets shares show what is current. What cannot be renewed or shown is tried again with the
    /// next call.
    ///
    /// # Errors
    /// [`ClientError`] where the catalog fails or the log must be given up. Nodes that do not answer
    /// are no error: the operations stay pending.
    pub fn publish(&self) -> BoxFuture<'_, Result<Published, ClientError>> {
        Box::pin(async move {
            let published = self.publish_committed().await?;
            if published.pending == 0
                && let Err(error) = self.renew_promised().await
            {
                tracing::warn!(%error, "what is referred to anew was not renewed on enough nodes yet");
            }
            if published.pending == 0
                && let Err(error) = self.publish_shares().await
            {
                tracing::warn!(%error, "the account's shares were not compared with its files");
            }
            Ok(published)
        })
    }

    pub(crate) async fn publish_committed(&self) -> Result<Published, ClientError> {
        let tip = self.catalog_call(|catalog| catalog.tip()).await?;
        let asked = self.publication.asked();
        let mut state = self.publication.state.lock().await;
        match state.own(&self.catalog.owner().log) {
            Some(own) if own.sequence >= tip.sequence => return Ok(Published { pending: 0 }),
            // Somebody else was told just now that too few nodes answer.
            None if self.publication.asked() != asked => {
                return Ok(Published { pending: tip.sequence });
            }
            _ => {}
        }
        match self.publish_locked(&mut state, false).await {
            Ok(published) => Ok(published),
            Err(ClientError::Write(error)) => {
                tracing::warn!(%error, "the catalog is not on the mesh yet");
                let own = state.own.as_ref().map_or(0, |own| own.sequence);
                Ok(Published { pending: tip.sequence.saturating_sub(own) })
            }
            Err(error) => Err(error),
        }
    }

    /// Publishes a head of this device's log where the mesh has none yet, be it without operations:
    /// by it the account's other devices know this one, and wrap keys to it.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn introduce(&self) -> BoxFuture<'_, Result<(), ClientError>> {
        Box::pin(async move {
            let mut state = self.publication.state.lock().await;
            self.publish_locked(&mut state, true).await.map(drop)
        })
    }

    /// Publishes what is pending; where there is nothing, a first head if one is wanted.
    pub(super) async fn publish_locked(
        &self,
        state: &mut State,
        introduce: bool,
    ) -> Result<Published, ClientError> {
        for _ in 0..TRIES {
            self.admitted().await?;
            if state.own(&self.catalog.owner().log).is_none() {
                self.catch_up_locked(state).await?;
            }
            // Those who wait for the lock are taken along.
            let tip = self.catalog_call(|catalog| catalog.tip()).await?;
            let log = self.catalog.owner().log;
            let Some(mut own) = state.own.take().filter(|own| own.log == log) else {
                return Ok(Published { pending: tip.sequence });
            };
            let wanted = introduce && own.revision == 0;
            if own.sequence >= tip.sequence && !wanted {
                state.own = Some(own);
                return Ok(Published { pending: 0 });
            }
            let pending = tip.sequence - own.sequence;
            let body = match self.next_body(log, &tip, &mut own).await {
                Ok(body) => body,
                Err(error) => {
                    // Pages that were stored stay known: they hold what they say.
                    state.own = Some(own);
                    return Err(error);
                }
            };
            own.revision += 1;
            let mesh = self.engine.mesh();
            let head = self.keys.seal_head(&*self.entropy, &mesh, (log, own.revision), &body)?;
            // A new epoch is learnt of with the head that would not count in it.
            let publishing = self.step(points::PUBLISH_HEAD, self.engine.publish_head(&head));
            let (published, newer) = futures::join!(publishing, self.newer_epochs());
            let (record, is_newest) = newer?;
            if let Some(record) = record {
                self.take_epochs(state, &record).await?;
                continue;
            }
            if published.reached() && !is_newest {
                // Where too few tell that no later epoch has begun, nobody may look here any more.
                state.own = Some(own);
                return Ok(Published { pending });
            }
            if published.reached() {
                own.sequence = tip.sequence;
                state.revisions.insert(log, own.revision);
                state.own = Some(own);
                return Ok(Published { pending: 0 });
            }
            if published.rival.is_none() {
                // The next attempt needs a revision of its own: some nodes may have this one.
                state.own = Some(own);
                return Ok(Published { pending });
            }
            // Somebody published to this log meanwhile, or an earlier run did that was cut off. What
            // the mesh has decides; `own` is learnt again.
        }
        Err(ClientError::Contended)
    }

    /// The body of the next head, after storing pages for what it has no room for.
    async fn next_body(
        &self,
        log: LogId,
        tip: &Tip,
        own: &mut Own,
    ) -> Result<HeadBody, ClientError> {
        let mut operations = self.operations_between(log, last_paged(own), tip.sequence).await?;
        let bytes: usize = operations.iter().map(operation_bytes).sum();
        if bytes > INLINE_BYTES {
            self.store_pages(log, own, std::mem::take(&mut operations)).await?;
            self.merge_pages(log, own).await?;
            self.shorten(log, own).await?;
        }
        let ends = self.catalog_call(|catalog| catalog.logs()).await?;
        Ok(HeadBody {
            certificate: self.keys.log_certificate().clone(),
            grant: Some((*self.grant).clone()),
            closed: false,
            sequence: tip.sequence,
            hash: tip.hash,
            index: own.index,
            pages: own.pages.clone(),
            operations,
            seen: seen(&ends, &log),
        })
    }

    /// The operations of a log after one and up to another.
    async fn operations_between(
        &self,
        log: LogId,
        mut after: u64,
        to: u64,
    ) -> Result<Vec<Operation>, ClientError> {
        let mut found: Vec<Operation> = Vec::new();
        while after < to {
            let count = (to - after).min(OPERATIONS_MAX as u64) as usize;
            let page =
                self.catalog_call(move |catalog| catalog.operations(&log, after, count)).await?;
            let Some(last) = page.last() else { break };
            after = last.sequence;
            found.extend(page);
        }
        Ok(found)
    }

    /// Stores operations as pages behind those that there are.
    pub(super) async fn store_pages(
        &self,
        log: LogId,
        own: &mut Own,
        operations: Vec<Operation>,
    ) -> Result<(), ClientError> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for operation in operations {
            let length = operation_bytes(&operation);
            if bytes + length > PAGE_BYTES_MAX && !batch.is_empty() {
                own.pages.push(self.store_page(log, std::mem::take(&mut batch)).await?);
                bytes = 0;
            }
            bytes += length;
            batch.push(operation);
        }
        if !batch.is_empty() {
            own.pages.push(self.store_page(log, batch).await?);
        }
        Ok(())
    }

    /// Merges the newest pages while four of them are of one size.
    async fn merge_pages(&self, log: LogId, own: &mut Own) -> Result<(), ClientError> {
        while let Some(from) = mergeable(&own.pages) {
            let first = own.pages.get(from).map_or(1, |page| page.first);
            let last = own.pages.last().map_or(0, |page| page.last);
            let operations = self.operations_between(log, first - 1, last).await?;
            let mut merged = Own::nothing(log);
            let storing = self.store_pages(log, &mut merged, operations);
            self.step(points::PUBLISH_MERGE, storing).await?;
            own.pages.truncate(from);
            own.pages.extend(merged.pages);
        }
        Ok(())
    }

    /// Moves the older pages to the index where the head would name too many.
    pub(super) async fn shorten(&self, log: LogId, own: &mut Own) -> Result<(), ClientError> {
        if own.pages.len() <= HEAD_PAGES_MAX {
            return Ok(());
        }
        let next = own.pages.first().map_or(1, |page| page.first);
        let mut all = match &own.index {
            Some(index) => self.index(&log, index, next).await?,
            None => Vec::new(),
        };
        let moved = own.pages.len() - PAGES_KEPT;
        all.extend_from_slice(&own.pages[..moved]);
        own.index = Some(self.store_index(log, all).await?);
        own.pages.drain(..moved);
        Ok(())
    }
}

/// The last operation that lies in a page.
fn last_paged(own: &Own) -> u64 {
    own.pages.last().map_or(0, |page| page.last)
}

/// What the head tells of other logs: those that came furthest, where there are many.
fn seen(ends: &[LogEnd], own: &LogId) -> Vec<Seen> {
    let mut seen: Vec<Seen> = ends
        .iter()
        .filter(|end| end.log != *own && end.sequence > 0)
        .map(|end| Seen { log: end.log, sequence: end.sequence, hash: end.hash })
        .collect();
    seen.sort_by_key(|seen| std::cmp::Reverse(seen.sequence));
    seen.truncate(HEAD_SEEN_MAX);
    seen
}

/// The size class of a page: pages of one class differ by less than a factor of four.
fn class(page: &PagePlace) -> u32 {
    (page.place.length / INLINE_BYTES as u32).max(1).ilog2() / 2
}

/// Where the pages begin that should become one: the newest four of one class, smaller ones behind
/// them included. Pages that are nearly full stay.
fn mergeable(pages: &[PagePlace]) -> Option<usize> {
    let newest = class(pages.last()?);
    let run = pages.iter().rev().take_while(|page| class(page) <= newest).count();
    let from = pages.len() - run;
    let bytes: usize = pages[from..].iter().map(|page| page.place.length as usize).sum();
    (run >= MERGED_PAGES && bytes <= PAGE_BYTES_MAX).then_some(from)
}

#[cfg(test)]
mod tests {
    use datamesh_core::SegmentId;
    use datamesh_core::head::ObjectPlace;

    use super::*;

    fn page(length: u32) -> PagePlace {
        PagePlace { place: ObjectPlace { segment: SegmentId([0; 32]), length }, first: 1, last: 1 }
    }

    #[test]
    fn pages_are_merged_four_of_a_size_and_never_beyond_a_segment() {
        let pages = |lengths: &[u32]| lengths.iter().map(|l| page(*l)).collect::<Vec<_>>();
        assert_eq!(mergeable(&[]), None);
        assert_eq!(mergeable(&pages(&[17_000; 3])), None);
        assert_eq!(mergeable(&pages(&[17_000; 4])), Some(0));
        assert_eq!(mergeable(&pages(&[400_000, 17_000, 17_000, 17_000, 17_000])), Some(1));
        assert_eq!(mergeable(&pages(&[400_000, 400_000, 400_000, 17_000, 400_000])), Some(0));
        assert_eq!(mergeable(&pages(&[3_600_000; 8])), None);
    }

    #[test]
    fn a_long_log_has_few_pages_and_stores_each_operation_few_times() {
        let (mut pages, mut stored): (Vec<PagePlace>, u64) = (Vec::new(), 0);
        const STEPS: u64 = 4096;
        for _ in 0..STEPS {
            pages.push(page(17_000));
            stored += 17_000;
            while let Some(from) = mergeable(&pages) {
                let length = pages[from..].iter().map(|page| page.place.length).sum();
                stored += u64::from(length);
                pages.truncate(from);
                pages.push(page(length));
            }
        }
        let full = (STEPS * 17_000) as usize / PAGE_BYTES_MAX;
        assert!(pages.len() <= 5 * full + 20, "{}", pages.len());
        assert!(stored <= 6 * STEPS * 17_000, "{stored}");
    }
}
