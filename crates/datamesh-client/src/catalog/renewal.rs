//! Storing pages anew after an epoch began: sealed under its key, in segments that only those who have it
//! can release.
//!
//! Whoever has the key of the epoch can do it for all logs, since the account's head key signs the heads
//! of all of them. The device that writes a log finds that somebody published its head with other pages
//! and goes on from there. The pages of before are named by heads of earlier epochs alone, and count as
//! needed no more.

use datamesh_catalog::OPERATIONS_MAX;
use datamesh_core::LogId;
use datamesh_core::head::HeadBody;

use super::Own;
use super::publish::TRIES;
use crate::client::Client;
use crate::error::ClientError;

impl Client {
    /// Stores the pages of all logs anew that are of an epoch before the newest. Returns of how many.
    ///
    /// # Errors
    /// [`ClientError::MayBeOld`] where too few nodes answer; where pages cannot be stored.
    pub(crate) async fn renew_pages(&self) -> Result<u64, ClientError> {
        let mut state = self.publication.state.lock().await;
        self.catch_up_locked(&mut state).await?;
        let account = self.keys.pseudonym(&self.engine.mesh())?;
        let read = self.engine.read_heads(&account, &[]).await;
        if !read.reached() {
            return Err(ClientError::MayBeOld);
        }
        let mut renewed = 0;
        for (log, head) in &read.heads {
            let body = self.body(head)?;
            if !self.pages_are_of_this_epoch(log, &body).await? {
                self.renew_log(*log, head.revision, body).await?;
                renewed += 1;
            }
        }
        // Where this device's own pages are now is read again.
        state.own = None;
        self.catch_up_locked(&mut state).await?;
        Ok(renewed)
    }

    /// Whether the segments of a log's pages have lease keys of the newest epoch. One that nobody
    /// describes counts as old.
    async fn pages_are_of_this_epoch(
        &self,
        log: &LogId,
        body: &HeadBody,
    ) -> Result<bool, ClientError> {
        let mut segments: Vec<_> = body.pages.iter().map(|page| page.place.segment).collect();
        if let Some(index) = &body.index {
            segments.push(index.segment);
            let next = body.pages.first().map_or(1, |page| page.first);
            let older = self.index(log, index, next).await?;
            segments.extend(older.iter().map(|page| page.place.segment));
        }
        for segment in segments {
            let Some(descriptor) = self.engine.descriptor_of(&segment).await else {
                return Ok(false);
            };
            if descriptor.lease_key != self.keys.lease_key(&descriptor.roots)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Stores the pages of a log anew and publishes its head with them.
    async fn renew_log(
        &self,
        log: LogId,
        mut revision: u64,
        mut body: HeadBody,
    ) -> Result<(), ClientError> {
        for _ in 0..TRIES {
            let last = body.pages.last().map_or(0, |page| page.last);
            let mut own = Own::nothing(log);
            let mut after = 0;
            while after < last {
                let count = (last - after).min(OPERATIONS_MAX as u64) as usize;
                let operations = self
                    .catalog_call(move |catalog| catalog.operations(&log, after, count))
                    .await?;
                let Some(end) = operations.last() else { return Err(ClientError::Head { log }) };
                after = end.sequence;
                self.store_pages(log, &mut own, operations).await?;
            }
            self.shorten(log, &mut own).await?;
            let fresh = HeadBody { index: own.index, pages: own.pages, ..body.clone() };
            let (mesh, next) = (self.engine.mesh(), revision.saturating_add(1));
            let head = self.keys.seal_head(&*self.entropy, &mesh, (log, next), &fresh)?;
            let published = self.engine.publish_head(&head).await;
            if published.reached() {
                return Ok(());
            }
            let Some(rival) = published.rival else { return Err(ClientError::MayBeOld) };
            // Its device published meanwhile, or an earlier attempt was cut off.
            revision = rival.revision;
            let newer = self.body(&rival)?;
            if newer.sequence >= body.sequence {
                self.take_head(log, &rival).await?;
                body = newer;
            }
        }
        Err(ClientError::Contended)
    }
}
