//! Publishing shares: what nodes show is what is current.
//!
//! For each share a keyed mark says what it should show. It is compared with the mark of what this device
//! last published or saw, and where they differ with that of the slot: so a publication that was cut off
//! is made up for by whichever device comes next, and none is made twice.

use datamesh_catalog::{Append, KnownShare, SharedFile};
use datamesh_core::catalog::{Change, Put};
use datamesh_core::head::Head;
use datamesh_core::share::{SHARE_LOG, SealedShare, ShareWith, Unshare};
use datamesh_core::{MeshPath, PublicKey, wire};
use datamesh_crypto::{ShareBody, ShareError, ShareKeys};

use super::error::SharingError;
use super::make::ShareState;
use crate::client::Client;
use crate::error::ClientError;
use crate::points;

/// The furthest that this device's clock may be ahead of nodes that still show a share, in milliseconds: a day.
const CLOCKS_MS: u64 = 24 * 3600 * 1000;

/// The mark of a share that has ended. A keyed hash is this by a chance of one in 2¹²⁸.
const ENDED: [u8; 16] = [0xff; 16];

/// How often a head that met another one is tried with a higher revision.
const TRIES: usize = 3;

/// What this process knows of the account's shares on the mesh. Held while they are published, so that two
/// do not publish the same share at once.
#[derive(Debug, Default)]
pub(crate) struct SharesTold {
    /// The catalog's clock when all shares were as they should be.
    settled: Option<u64>,
}

/// What nodes are to show of a share.
enum Shown {
    /// This, under this mark.
    Body(Box<ShareBody>, [u8; 16]),
    /// That it has ended.
    End,
}

impl Shown {
    fn mark(&self) -> [u8; 16] {
        match self {
            Self::Body(_, mark) => *mark,
            Self::End => ENDED,
        }
    }
}

impl Client {
    /// Publishes the shares that do not show what is current, and ends those of files that were deleted. What
    /// too few nodes take is tried again with the next call.
    ///
    /// # Errors
    /// [`ClientError`] where the catalog or the keys fail.
    pub(crate) async fn publish_shares(&self) -> Result<(), ClientError> {
        let mut told = self.publication.shares.lock().await;
        let clock = self.catalog_call(|catalog| catalog.tip()).await?.clock;
        if told.settled == Some(clock) {
            return Ok(());
        }
        let (mut left, mut orphans) = (0u64, Vec::new());
        for known in self.known_shares().await? {
            let share = known.share.share;
            let file = known.share.file;
            let is_now = self.catalog_call(move |catalog| catalog.shared_file(&file)).await?;
            if is_now == SharedFile::Deleted && !known.ended {
                orphans.push(share);
            } else if !self.bring_up(&known, &is_now).await? {
                left += 1;
            }
        }
        // Nothing was changed meanwhile that the next call would not see: its clock is higher.
        told.settled = (left == 0 && orphans.is_empty()).then_some(clock);
        drop(told);
        if left > 0 {
            tracing::warn!(
                shares = left,
                "shares do not show what is current: too few nodes answered"
            );
        }
        if !orphans.is_empty() {
            self.end_orphans(&orphans).await?;
        }
        Ok(())
    }

    /// Ends the shares of files that were deleted: visibly, and for good, also if the file is taken back.
    async fn end_orphans(&self, orphans: &[PublicKey]) -> Result<(), ClientError> {
        let created = self.engine.now();
        for batch in orphans.chunks(datamesh_catalog::OPERATIONS_MAX) {
            let end = |share: &PublicKey| Change::Unshare(Unshare { share: *share, created });
            let append = Append { changes: batch.iter().map(end).collect(), ..Append::default() };
            self.append(points::SHARE_COMMIT, append).await?;
        }
        self.publish_committed().await?;
        for share in orphans {
            self.end_share(share).await?;
        }
        Ok(())
    }

    /// Tells nodes that a share has ended, if its operation says so. Where too few answer it is tried again
    /// with the next publication.
    pub(super) async fn end_share(&self, share: &PublicKey) -> Result<(), ClientError> {
        let _held = self.publication.shares.lock().await;
        let share = *share;
        let known = self.catalog_call(move |catalog| catalog.share(&share)).await?;
        if let Some(known) = known.filter(|known| known.ended) {
            self.bring_up(&known, &SharedFile::Unknown).await?;
        }
        Ok(())
    }

    /// How a share stands, as far as this device knows.
    pub(super) fn state_of(
        &self,
        known: &KnownShare,
        keys: &ShareKeys,
        is_now: &SharedFile,
    ) -> Result<ShareState, ClientError> {
        let (expiry, now) = (known.share.expiry, self.engine.now());
        if known.told == Some(ENDED) {
            return Ok(ShareState::Revoked);
        }
        // Nodes give out nothing of it, and take nothing for it, that it was ended too.
        if expiry != 0 && expiry <= now {
            return Ok(ShareState::Expired);
        }
        if known.ended || *is_now == SharedFile::Deleted {
            return Ok(ShareState::Ending);
        }
        let SharedFile::Is(put, path) = is_now else { return Ok(ShareState::Pending) };
        let mark = keys.mark(&self.share_body(keys, &known.share.with, put, path)?);
        Ok(if known.told == Some(mark) { ShareState::Current } else { ShareState::Pending })
    }

    /// Lets nodes show what is current. Says whether they do; true too where there is nothing to show.
    async fn bring_up(&self, known: &KnownShare, is_now: &SharedFile) -> Result<bool, ClientError> {
        let share = &known.share;
        if known.told == Some(ENDED) {
            return Ok(true);
        }
        // By then it has expired by the clocks of all nodes.
        if share.expiry != 0 && share.expiry.saturating_add(CLOCKS_MS) <= self.engine.now() {
            return Ok(true);
        }
        let keys = self.keys.open_share_keys(&share.share, &share.secrets)?;
        let shown = match is_now {
            _ if known.ended => Shown::End,
            SharedFile::Is(put, path) => {
                if share.expiry != 0 && share.expiry <= self.engine.now() {
                    return Ok(true);
                }
                let body = self.share_body(&keys, &share.with, put, path)?;
                let mark = keys.mark(&body);
                Shown::Body(Box::new(body), mark)
            }
            SharedFile::Deleted | SharedFile::Unknown => return Ok(true),
        };
        let mark = shown.mark();
        if known.told == Some(mark) {
            return Ok(true);
        }
        let Some(mark) = self.show(known, &keys, &shown).await? else { return Ok(false) };
        let share = share.share;
        let noting = self.catalog_call(move |catalog| catalog.note_share(&share, mark));
        self.step(points::SHARE_NOTE, noting).await?;
        Ok(true)
    }

    /// Publishes what a share is to show, unless the mesh shows it already. Returns the mark of what is
    /// shown then; nothing where too few nodes answer.
    async fn show(
        &self,
        known: &KnownShare,
        keys: &ShareKeys,
        shown: &Shown,
    ) -> Result<Option<[u8; 16]>, ClientError> {
        let (mesh, share) = (self.engine.mesh(), known.share.share);
        let mut least = 0;
        for _ in 0..TRIES {
            let mut read = self.engine.read_heads(&share, &[]).await;
            let there = read.heads.remove(&SHARE_LOG);
            if !read.reached() {
                // An end needs no knowledge of what was there but its revision, and helps wherever it
                // comes; it counts as told only with a quorum.
                if let Shown::End = shown {
                    let revision = there.as_ref().map_or(0, |head| head.revision).max(least) + 1;
                    let _kept = self.engine.publish_head(&keys.end(&mesh, revision)).await;
                }
                return Ok(None);
            }
            let revision = match &there {
                // An end is final: a device that has not heard of it yet does not take it back.
                Some(head) if head.ended => {
                    return Ok(self.spread(head).await.then_some(ENDED));
                }
                Some(head) if marked(head) == Some(shown.mark()) => {
                    return Ok(self.spread(head).await.then(|| shown.mark()));
                }
                Some(head) => head.revision,
                None => 0,
            };
            let revision = revision.max(least) + 1;
            least = revision;
            let head = match shown {
                Shown::End => keys.end(&mesh, revision),
                Shown::Body(body, _) => {
                    let term = (revision, known.share.expiry);
                    let sealed = keys.seal(&*self.entropy, &mesh, term, &known.share.with, body);
                    sealed.map_err(SharingError::from)?
                }
            };
            let published = self.step(points::SHARE_HEAD, self.engine.publish_head(&head)).await;
            if published.reached() {
                return Ok(Some(shown.mark()));
            }
            if published.rival.is_none() {
                return Ok(None);
            }
            // Another device was faster: what it published may be just this.
        }
        Ok(None)
    }

    /// Hands a head that was read to a quorum: whoever published it may have been cut off, and a later
    /// reader must not miss what an earlier one saw.
    async fn spread(&self, head: &Head) -> bool {
        self.step(points::SHARE_HEAD, self.engine.publish_head(head)).await.reached()
    }

    /// What a share shows of a version.
    fn share_body(
        &self,
        keys: &ShareKeys,
        with: &ShareWith,
        put: &Put,
        path: &MeshPath,
    ) -> Result<ShareBody, ClientError> {
        let name = path.name().parse().map_err(|_| SharingError::Share(ShareError::Damaged))?;
        let sharer = match with {
            ShareWith::Link(_) => None,
            ShareWith::Person { contact, .. } => {
                Some(self.keys.sharer(&self.engine.mesh(), &keys.share(), contact))
            }
        };
        Ok(ShareBody {
            name,
            mode: put.mode,
            modified: put.modified,
            size: put.size,
            hash: put.hash,
            version: put.version,
            key: self.keys.unwrap_key(&put.version, &put.key)?,
            content: put.content.clone(),
            sharer,
        })
    }
}

/// The mark of what a share's head shows; nothing where it cannot be read.
fn marked(head: &Head) -> Option<[u8; 16]> {
    wire::decode::<SealedShare>(&head.sealed).ok().map(|sealed| sealed.mark)
}
