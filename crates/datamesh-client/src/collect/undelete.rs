//! Taking a version back: a deleted or older version becomes the current one again, without moving
//! its bytes.

use std::sync::Arc;

use datamesh_catalog::{Append, Contents, Version};
use datamesh_core::catalog::{Change, Content, Put};
use datamesh_core::{MeshPath, SegmentId, VersionId, seam};
use datamesh_crypto::VersionKey;

use crate::client::Client;
use crate::error::ClientError;
use crate::points;

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
        let renew_published =
            self.step(points::UNDELETE_RENEW, self.renew_for_reference(old)).await?;
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
        let mut contents = Contents::default();
        self.add_contents(&mut contents, put.sealed()).await?;
        let (keys, now) = (Arc::clone(&self.keys), self.engine.now());
        let changes = vec![Change::Put(Box::new(put))];
        let committing = self.catalog_call(move |catalog| {
            let append = Append {
                changes,
                contents: Some(contents),
                renew_published,
                now,
                ..Append::default()
            };
            catalog.append(append, |body| keys.sign_operation(body))
        });
        self.step(points::UNDELETE_COMMIT, committing).await?;
        let pending = self.publish().await?.pending;
        self.renew_promised().await?;
        Ok(Undeleted { path, version, pending })
    }

    /// Renews the segments of a version on as many nodes as a commit needs, before another version
    /// refers to them: somebody may be about to release them. Returns these segments.
    async fn renew_for_reference(&self, put: &Put) -> Result<Vec<SegmentId>, ClientError> {
        let segments = self.segments_of(put.sealed()).await?;
        let uses = self.references(&segments, &Default::default()).await?;
        for (segment, uses) in uses {
            self.renew_segment(segment, uses.epoch()).await?;
        }
        Ok(segments.into_iter().collect())
    }
}
