//! Taking a version back: a deleted or older version becomes the current one again, without moving
//! its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datamesh_catalog::{Append, Version};
use datamesh_core::catalog::{Change, Content, Put};
use datamesh_core::lease::Renewal;
use datamesh_core::{MeshPath, SegmentId, VersionId, seam};
use datamesh_crypto::VersionKey;

use crate::client::Client;
use crate::error::ClientError;

/// What came of taking a version back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undeleted {
    /// The path.
    pub path: MeshPath,
    /// The new version, which has the content of the old one.
    pub version: VersionId,
    /// Operations that no quorum has yet.
    pub pending: u64,
}

impl Client {
    /// Makes a version of a path the current one again: the one with that number, or where there is
    /// none the newest that was not purged.
    ///
    /// # Errors
    /// [`ClientError::Purged`] and [`ClientError::NoVersion`] where there is none to take back,
    /// [`ClientError::NotRenewed`] where too few nodes still have its segments.
    pub async fn undelete(
        &self,
        name: &str,
        number: Option<u64>,
    ) -> Result<Undeleted, ClientError> {
        self.know_newest().await?;
        let path = self.path_of(name).await?;
        let versions = self.versions(path.as_str()).await?;
        let current = versions.last().map(Version::id);
        let wanted = |version: &&Version| match number {
            Some(number) => version.number == number,
            None => version.put().is_some() && !version.purged,
        };
        let found = versions.iter().rev().find(wanted);
        let name = || path.to_string();
        let Some((found, old)) = found.and_then(|found| Some((found, found.put()?))) else {
            return Err(match number {
                Some(version) => ClientError::NoVersion { name: name(), version },
                None => ClientError::Purged { name: name() },
            });
        };
        if found.purged {
            return Err(ClientError::Purged { name: name() });
        }
        if current == Some(old.version) {
            return Err(ClientError::Current { name: name() });
        }
        let renewed = self.renew_for_reference(old).await?;
        let (entropy, version) = (&*self.entropy, VersionId(seam::random(&*self.entropy)));
        let key = self.keys.unwrap_key(&old.version, &old.key)?;
        let tag = old.content.tag();
        let plain = key.open(&old.version, tag, old.content.sealed())?;
        let key = VersionKey::draw(entropy);
        let sealed = key.seal(entropy, &version, tag, &plain)?;
        let content = match old.content {
            Content::Inline(_) => Content::Inline(sealed),
            Content::Manifest(_) => Content::Manifest(sealed),
            Content::Meta(_) => Content::Meta(sealed),
        };
        let put = Put {
            version,
            replaces: current.unwrap_or(VersionId([0; 16])),
            created: self.engine.now(),
            key: self.keys.wrap(entropy, &version, &key)?,
            content,
            ..old.clone()
        };
        let (keys, now) = (Arc::clone(&self.keys), self.engine.now());
        let changes = vec![Change::Put(Box::new(put))];
        self.catalog_call(move |catalog| {
            let append = Append { changes, owed: Vec::new(), now };
            catalog.append(append, |body| keys.sign_operation(body))
        })
        .await?;
        let pending = self.publish().await?.pending;
        if pending == 0 {
            self.renew_again(renewed).await?;
        }
        Ok(Undeleted { path, version, pending })
    }

    /// Renews the segments of a version on as many nodes as a commit needs, before another version
    /// refers to them: somebody may be about to release them. Returns the epochs of the renewals.
    async fn renew_for_reference(
        &self,
        put: &Put,
    ) -> Result<BTreeMap<SegmentId, u64>, ClientError> {
        let segments = self.segments_of(put).await?;
        let uses = self.references(&segments, &BTreeSet::new()).await?;
        let mut renewed = BTreeMap::new();
        for (segment, uses) in uses {
            renewed.insert(segment, self.renew_segment(segment, uses.epoch()).await?);
        }
        Ok(renewed)
    }

    /// Renews segments once more, now that a published version refers to them, where others referred
    /// to them since they were renewed: whoever gave those references up, before it could know of this
    /// one, released with a higher epoch.
    async fn renew_again(&self, renewed: BTreeMap<SegmentId, u64>) -> Result<(), ClientError> {
        if let Err(ClientError::MayBeOld) = self.know_newest().await {
            tracing::warn!(
                "too few nodes answer to know whether others refer to the same segments"
            );
        }
        let segments = renewed.keys().copied().collect();
        for (segment, uses) in self.references(&segments, &BTreeSet::new()).await? {
            // Without the version that was just committed: who gives that up too must win.
            let others = uses.ever.saturating_sub(1);
            if renewed.get(&segment).is_some_and(|epoch| others > *epoch) {
                self.renew_segment(segment, others).await?;
            }
        }
        Ok(())
    }

    /// Renews a segment and returns the epoch that counts.
    async fn renew_segment(&self, segment: SegmentId, epoch: u64) -> Result<u64, ClientError> {
        let Some(descriptor) = self.engine.descriptor_of(&segment).await else {
            return Err(ClientError::NotRenewed { segment, shards: 0, needed: 1 });
        };
        let mesh = self.engine.mesh();
        let needed = descriptor.scheme.commit_min() as u32;
        let mut epoch = epoch;
        loop {
            let expiry = match u64::from(self.engine.genesis().lease_days) {
                0 => 0,
                days => self.engine.now() + days * 24 * 3600 * 1000,
            };
            let renewal: Renewal =
                self.keys.renew(&mesh, segment, &descriptor.roots, epoch, expiry);
            let told = self.engine.renew(&[renewal]).await.pop().unwrap_or_default();
            if told.shards() >= needed {
                return Ok(epoch);
            }
            match told.behind {
                // Somebody who knows more references released it: keeping is never wrong.
                Some(higher) if higher > epoch => epoch = higher,
                _ => {
                    let shards = told.shards();
                    return Err(ClientError::NotRenewed { segment, shards, needed });
                }
            }
        }
    }
}
