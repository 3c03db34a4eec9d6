//! Catching up: what the mesh has of the account's logs comes into this device's catalog.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use datamesh_catalog::{CatalogError, LogEnd, OPERATIONS_MAX};
use datamesh_core::catalog::Operation;
use datamesh_core::head::{Head, HeadBody, PagePlace};
use datamesh_core::message::KnownHead;
use datamesh_core::{BoxFuture, Grant, Hash, LogId, SegmentId, seam};
use datamesh_crypto::DeviceKeys;
use datamesh_engine::{Engine, HeadsRead};

use super::{Own, State};
use crate::client::Client;
use crate::error::ClientError;
use crate::points;

/// What was taken in so lately is not asked for again by a reader.
const RECENT_MS: u64 = 5000;

/// How long a reader waits for what other devices did, where nothing of it comes.
const PATIENCE: Duration = Duration::from_secs(1);

/// What came of catching up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CaughtUp {
    /// Operations that were new here.
    pub operations: u64,
    /// What is here may not be the newest: too few nodes answered, or one log tells of operations of
    /// another that nobody had.
    pub may_be_old: bool,
    /// The mesh knew more of this device's log than the device: its files had been put back from a
    /// copy, and it writes another log now.
    pub took_log: bool,
}

impl Client {
    /// Takes in what the account's devices published.
    ///
    /// # Errors
    /// [`ClientError`] where the catalog fails, a page that is needed cannot be read, or this
    /// device's log has forked.
    pub fn catch_up(&self) -> BoxFuture<'_, Result<CaughtUp, ClientError>> {
        Box::pin(async move {
            let mut state = self.publication.state.lock().await;
            self.catch_up_locked(&mut state).await
        })
    }

    /// Takes in what the account's devices published, if that was not done or tried by somebody
    /// else since this call.
    ///
    /// # Errors
    /// As [`catch_up`](Self::catch_up).
    pub fn catch_up_once(&self) -> BoxFuture<'_, Result<CaughtUp, ClientError>> {
        Box::pin(async move {
            let asked = self.publication.asked();
            let mut state = self.publication.state.lock().await;
            let log = self.catalog.owner().log;
            if state.own(&log).is_some() || self.publication.asked() != asked {
                return Ok(CaughtUp::default());
            }
            self.catch_up_locked(&mut state).await
        })
    }

    /// Takes in what the account's devices published, unless that was done lately; for whoever reads
    /// and would rather have something old than wait for nodes that do not answer. As long as operations come in, it
    /// waits. What goes wrong is logged.
    pub fn catch_up_lately(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut catching_up = self.catch_up_if_due();
            let taken = || self.publication.taken.load(Ordering::Acquire);
            let mut before = taken();
            loop {
                match tokio::time::timeout(PATIENCE, &mut catching_up).await {
                    Ok(Ok(_)) => return,
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "what other devices did was not taken in");
                        return;
                    }
                    Err(_) => {}
                }
                let now = taken();
                if std::mem::replace(&mut before, now) == now {
                    tracing::warn!("too few nodes answered in time; the catalog may be old");
                    return;
                }
            }
        })
    }

    /// Takes in what the account's devices published, unless that was done lately, however long it takes.
    ///
    /// # Errors
    /// As [`catch_up`](Self::catch_up).
    pub fn catch_up_if_due(&self) -> BoxFuture<'_, Result<CaughtUp, ClientError>> {
        Box::pin(async move {
            let mut state = self.publication.state.lock().await;
            let now = self.engine.now();
            // A clock that went back makes it due.
            let due = state.caught_up.is_none_or(|at| !(at..at + RECENT_MS).contains(&now));
            if due {
                return self.catch_up_locked(&mut state).await;
            }
            Ok(CaughtUp { may_be_old: !state.told.is_empty(), ..CaughtUp::default() })
        })
    }

    pub(super) async fn catch_up_locked(&self, state: &mut State) -> Result<CaughtUp, ClientError> {
        let log = self.catalog.owner().log;
        let (read, reached) = self.read_newest(state, &log).await?;
        self.publication.taken.fetch_add(1, Ordering::AcqRel);
        self.publication.asked.fetch_add(1, Ordering::AcqRel);
        self.admitted().await?;
        let mut caught = CaughtUp { may_be_old: !reached, ..CaughtUp::default() };
        let mut bodies = BTreeMap::new();
        self.look_back(state, &log, &mut caught).await?;
        for (id, head) in &read.heads {
            match self.take_head(*id, head).await {
                Ok((body, _)) if self.beyond(id, &body) => {}
                Ok((body, new)) => {
                    caught.operations += new;
                    state.revisions.insert(*id, head.revision);
                    bodies.insert(*id, body);
                }
                Err(error) if *id == log => return Err(forked(error)),
                // One log that cannot be read does not keep the others back.
                Err(error) => {
                    tracing::warn!(log = %id, %error, "a log of this account cannot be taken in");
                    caught.may_be_old = true;
                }
            }
        }
        let ends: BTreeMap<LogId, LogEnd> = self
            .catalog_call(|catalog| catalog.logs())
            .await?
            .into_iter()
            .map(|end| (end.log, end))
            .collect();
        let epochs = self.epochs();
        // Kept, as a head that was taken in does not come again: what it tells of other logs counts
        // until somebody has it.
        for seen in bodies.values().flat_map(|body| &body.seen) {
            let end = ends.get(&seen.log);
            let bound =
                epochs.as_ref().zip(end).and_then(|(epochs, end)| epochs.bound(&end.key, &end.log));
            let told = state.told.entry(seen.log).or_default();
            *told = seen.sequence.min(bound.unwrap_or(u64::MAX)).max(*told);
        }
        state.told.retain(|log, told| ends.get(log).is_none_or(|end| end.sequence < *told));
        caught.may_be_old |= !state.told.is_empty();
        if reached {
            let own = read.heads.get(&log).zip(bodies.get(&log));
            caught.took_log = self.learn_own(state, &log, own).await?;
            if !caught.may_be_old {
                state.caught_up = Some(self.engine.now());
                let whole = self.catalog_call(|catalog| catalog.set_whole());
                self.step(points::TAKE_WHOLE, whole).await?;
            }
        }
        Ok(caught)
    }

    /// Reads the heads that are newer than what was taken in, in the newest epoch that there is.
    /// Says whether enough nodes answered to know that there is nothing else.
    async fn read_newest(
        &self,
        state: &mut State,
        log: &LogId,
    ) -> Result<(HeadsRead, bool), ClientError> {
        loop {
            let account = self.keys.pseudonym(&self.engine.mesh())?;
            // This device's own head always comes again where it must be learnt.
            let known: Vec<KnownHead> = state
                .revisions
                .iter()
                .filter(|(known, _)| state.own(log).is_some() || *known != log)
                .map(|(log, revision)| KnownHead { log: *log, revision: *revision })
                .collect();
            let reading = self.engine.read_heads(&account, &known);
            let (read, newer) = futures::join!(reading, self.newer_epochs());
            match newer? {
                // The epoch rises with each round, and there are few.
                (Some(record), _) => self.take_epochs(state, &record).await?,
                (None, reached) => {
                    let reached = reached && read.reached();
                    return Ok((read, reached));
                }
            }
        }
    }

    /// Takes in what was published where heads were read in earlier epochs, once for each epoch that
    /// is learnt of.
    async fn look_back(
        &self,
        state: &mut State,
        log: &LogId,
        caught: &mut CaughtUp,
    ) -> Result<(), ClientError> {
        if state.looked_back {
            return Ok(());
        }
        let mut all = true;
        for account in self.keys.earlier_pseudonyms(&self.engine.mesh()) {
            let read = self.engine.read_heads(&account, &[]).await;
            all &= read.reached();
            for (id, head) in &read.heads {
                if self.body(head).is_ok_and(|body| !self.agrees(id, &body)) {
                    continue;
                }
                match self.take_head(*id, head).await {
                    Ok((_, new)) => caught.operations += new,
                    Err(error) if id == log => return Err(forked(error)),
                    // A lost device has the key of this place and can have put anything there.
                    Err(error) => {
                        tracing::info!(log = %id, %error, "a head of an earlier epoch is passed over");
                    }
                }
            }
        }
        state.looked_back = all;
        // Somebody who was away since may have published there.
        caught.may_be_old |= !all;
        Ok(())
    }

    /// Opens a head and commits what it leads to, as far as it counts. Returns how many operations were new.
    pub(super) async fn take_head(
        &self,
        log: LogId,
        head: &Head,
    ) -> Result<(HeadBody, u64), ClientError> {
        let body = self.body(head)?;
        let new = if self.beyond(&log, &body) { 0 } else { self.take_in(log, &body).await? };
        Ok((body, new))
    }

    /// Opens a head and checks whose it is.
    pub(super) fn body(&self, head: &Head) -> Result<HeadBody, ClientError> {
        let body = self.keys.open_head(head)?;
        let ours = body.certificate.account == self.keys.account();
        if !ours || body.certificate.verify().is_err() {
            return Err(ClientError::Head { log: head.log });
        }
        Ok(body)
    }

    /// Commits what a head leads to and is not here yet. Returns how many operations were new.
    async fn take_in(&self, log: LogId, body: &HeadBody) -> Result<u64, ClientError> {
        let certificate = body.certificate.clone();
        let admitting = self.catalog_call(move |catalog| {
            catalog.admit(log, &certificate)?;
            Ok(catalog.logs()?.into_iter().find(|end| end.log == log))
        });
        let end = self.step(points::TAKE_ADMIT, admitting).await?;
        let mut have = end.map_or(0, |end| end.sequence);
        let mut new = 0;
        if have >= body.sequence {
            return Ok(0);
        }
        for page in self.pages_after(&log, body, have).await? {
            let operations = self.page(&log, &page).await?;
            self.publication.taken.fetch_add(1, Ordering::AcqRel);
            new += self.commit_after(log, &mut have, operations).await?;
        }
        new += self.commit_after(log, &mut have, body.operations.clone()).await?;
        if have != body.sequence {
            return Err(ClientError::Head { log });
        }
        Ok(new)
    }

    /// The pages of a log that have operations after `have`.
    async fn pages_after(
        &self,
        log: &LogId,
        body: &HeadBody,
        have: u64,
    ) -> Result<Vec<PagePlace>, ClientError> {
        let next = body.pages.first().map_or(1, |page| page.first);
        let mut pages = match &body.index {
            Some(index) if have + 1 < next => self.index(log, index, next).await?,
            _ => Vec::new(),
        };
        pages.extend_from_slice(&body.pages);
        pages.retain(|page| page.last > have);
        Ok(pages)
    }

    /// The segments that the catalog itself lies in: the pages and indexes that the newest head of
    /// each log leads to.
    ///
    /// # Errors
    /// [`ClientError::MayBeOld`] where too few nodes answer, and where any head or index cannot be
    /// read: then nobody can say which pages are not needed.
    pub(crate) async fn catalog_segments(&self) -> Result<BTreeSet<SegmentId>, ClientError> {
        let (segments, whole) = self.catalog_segments_known().await?;
        whole.map(|()| segments)
    }

    /// The same, with what can be known where too few nodes answer, or a head or an index cannot be read:
    /// an index that lies in the trash is among them. Says why they may not be all.
    ///
    /// # Errors
    /// Those of the keys.
    pub(crate) async fn catalog_segments_known(
        &self,
    ) -> Result<(BTreeSet<SegmentId>, Result<(), ClientError>), ClientError> {
        let mut whole = Ok(());
        // Nothing is published while this is read.
        let state = self.publication.state.lock().await;
        let mesh = self.engine.mesh();
        let read = self.engine.read_heads(&self.keys.pseudonym(&mesh)?, &[]).await;
        if !read.reached() {
            whole = whole.and(Err(ClientError::MayBeOld));
        }
        let mut heads: Vec<(LogId, HeadBody)> = Vec::new();
        for (log, head) in &read.heads {
            match self.body(head) {
                Ok(body) => heads.push((*log, body)),
                Err(error) => whole = whole.and(Err(error)),
            }
        }
        let now: BTreeMap<LogId, u64> =
            heads.iter().map(|(log, body)| (*log, body.sequence)).collect();
        // A device that is away may have published where heads were read before.
        for account in self.keys.earlier_pseudonyms(&mesh) {
            let read = self.engine.read_heads(&account, &[]).await;
            if !read.reached() {
                whole = whole.and(Err(ClientError::MayBeOld));
            }
            let opened =
                read.heads.iter().filter_map(|(log, head)| Some((*log, self.body(head).ok()?)));
            // What a head of this epoch leads to as well is not needed once more: its pages may have
            // been stored anew.
            let covered = |log: &LogId, body: &HeadBody| {
                now.get(log).is_some_and(|sequence| *sequence >= body.sequence)
            };
            heads.extend(
                opened.filter(|(log, body)| !self.beyond(log, body) && !covered(log, body)),
            );
        }
        // Pages that a head is still to be published for.
        let own = state.own.iter().flat_map(|own| &own.pages);
        let mut segments: BTreeSet<SegmentId> = own.map(|page| page.place.segment).collect();
        segments.extend(state.own.iter().filter_map(|own| own.index).map(|place| place.segment));
        for (log, body) in &heads {
            let mut pages = body.pages.clone();
            if let Some(index) = &body.index {
                segments.insert(index.segment);
                let next = body.pages.first().map_or(1, |page| page.first);
                match self.index(log, index, next).await {
                    Ok(older) => pages.extend(older),
                    Err(error) => whole = whole.and(Err(error)),
                }
            }
            segments.extend(pages.iter().map(|page| page.place.segment));
        }
        Ok((segments, whole))
    }

    /// Commits those of some operations of a log that come after `have`, which moves on.
    async fn commit_after(
        &self,
        log: LogId,
        have: &mut u64,
        mut operations: Vec<Operation>,
    ) -> Result<u64, ClientError> {
        operations.retain(|operation| operation.sequence > *have);
        if operations.iter().any(|operation| operation.log != log) {
            return Err(ClientError::Head { log });
        }
        let Some(last) = operations.last().map(|operation| operation.sequence) else {
            return Ok(0);
        };
        let mut new = 0;
        while !operations.is_empty() {
            let rest = operations.split_off(operations.len().min(OPERATIONS_MAX));
            let batch = std::mem::replace(&mut operations, rest);
            let committing = self.catalog_call(move |catalog| catalog.commit(&batch));
            new += self.step(points::TAKE_COMMIT, committing).await?;
            self.publication.taken.fetch_add(1, Ordering::AcqRel);
        }
        *have = last;
        Ok(new as u64)
    }

    /// Learns how far the mesh has this device's log, of which a quorum's newest head is given, if
    /// it is newer than what was known. Says whether another log had to be taken: where the mesh
    /// knew operations of this one that this device did not, others may follow that it never sees.
    async fn learn_own(
        &self,
        state: &mut State,
        log: &LogId,
        newest: Option<(&Head, &HeadBody)>,
    ) -> Result<bool, ClientError> {
        let Some((head, body)) = newest else {
            if state.own(log).is_none() {
                state.own = Some(Own::nothing(*log));
            }
            return Ok(false);
        };
        let (log, sequence) = (*log, body.sequence);
        let here = self
            .catalog_call(move |catalog| match sequence.checked_sub(1) {
                None => Ok(None),
                Some(before) => Ok(catalog.operations(&log, before, 1)?.pop()),
            })
            .await?;
        if here.map_or(Hash([0; 32]), |operation| operation.hash()) != body.hash {
            return Err(ClientError::Forked { log });
        }
        // Kept with the operations themselves: whoever took them in may have ended before this.
        if body.closed || self.catalog_call(|catalog| catalog.is_behind()).await? {
            let fresh = LogId(seam::random(&*self.entropy));
            let taking = self.catalog_call(move |catalog| catalog.take_log(fresh));
            self.step(points::TAKE_LOG, taking).await?;
            state.own = Some(Own::nothing(fresh));
            return Ok(true);
        }
        state.own = Some(Own {
            log,
            revision: head.revision,
            sequence: body.sequence,
            index: body.index,
            pages: body.pages.clone(),
        });
        Ok(false)
    }
}

/// A fork in this device's own log has another meaning than one in another's: this device cannot
/// go on with it.
fn forked(error: ClientError) -> ClientError {
    match error {
        ClientError::Catalog(CatalogError::Fork { log, .. }) => ClientError::Forked { log },
        error => error,
    }
}

/// What the heads of an account say without a catalog: its permission to store in the mesh, and
/// whether enough nodes answered to know that there is nothing else. Heads that do not open are
/// passed over.
///
/// # Errors
/// [`ClientError::Seal`] for keys without any epoch, which cannot be.
pub fn find_grant<'a>(
    engine: &'a Engine,
    keys: &'a DeviceKeys,
) -> BoxFuture<'a, Result<(Option<Grant>, bool), ClientError>> {
    Box::pin(async move {
        let read = engine.read_heads(&keys.pseudonym(&engine.mesh())?, &[]).await;
        let mut newest: Option<Grant> = None;
        for head in read.heads.values() {
            let grant = match keys.open_head(head) {
                Ok(body) => body.grant,
                Err(error) => {
                    tracing::warn!(log = %head.log, %error, "a head of this account does not open");
                    None
                }
            };
            let Some(grant) = grant else { continue };
            if newest.as_ref().is_none_or(|known| known.serial < grant.serial) {
                newest = Some(grant);
            }
        }
        Ok((newest, read.reached()))
    })
}
