//! Versions that refer to segments which are there already: their content is that of other versions, and
//! no byte of it moves.
//!
//! The segments are renewed at as many nodes as a commit needs before the operations count, and once
//! more when these are published: somebody who has not heard of them may release what they refer to.

use std::collections::BTreeSet;

use datamesh_catalog::{Append, Contents};
use datamesh_core::catalog::{Content, Put};
use datamesh_core::{FileId, MeshPath, SegmentId, VersionId, seam};
use datamesh_crypto::VersionKey;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::renew::RENEWED_AT_ONCE;
use crate::client::Client;
use crate::error::ClientError;
use crate::points;

/// How often a commit is tried whose segments were referred to again meanwhile.
pub(crate) const RENEWED_AGAIN_MAX: usize = 16;

/// Where a version stands that takes the content of another.
#[derive(Debug, Clone)]
pub(crate) struct Stand {
    /// Its path.
    pub(crate) path: MeshPath,
    /// The file that it is a version of.
    pub(crate) file: FileId,
    /// The path's current version or delete marker; zero where it was never there.
    pub(crate) replaces: VersionId,
}

impl Client {
    /// A version at `stand` with the content of `old`, sealed under a key of its own. What it is made
    /// of goes to `contents`, the segments that it refers to go to `referred`.
    pub(crate) async fn take_content(
        &self,
        old: &Put,
        stand: Stand,
        contents: &mut Contents,
        referred: &mut BTreeSet<SegmentId>,
    ) -> Result<Put, ClientError> {
        referred.extend(self.segments_of(old.sealed()).await?);
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
            path: stand.path,
            file: stand.file,
            version,
            replaces: stand.replaces,
            created: self.engine.now(),
            key: self.keys.wrap(entropy, &version, &key)?,
            content,
            ..old.clone()
        };
        self.add_contents(contents, put.sealed()).await?;
        Ok(put)
    }

    /// Commits, with the segments that it refers to renewed for all that refers to them.
    ///
    /// # Errors
    /// [`ClientError::NotRenewed`] where too few nodes still have one; nothing is committed then.
    pub(super) async fn append_renewed(
        &self,
        point: &'static str,
        append: Append,
        referred: &BTreeSet<SegmentId>,
    ) -> Result<(), ClientError> {
        if append.changes.is_empty() {
            return Ok(());
        }
        for _ in 0..RENEWED_AGAIN_MAX {
            let renewed = self.renew_referred(referred).await?;
            if self.append_referring(point, Append { renewed, ..append.clone() }).await? {
                return Ok(());
            }
        }
        Err(ClientError::Contended)
    }

    /// Renews segments for all that refers to them. Returns for how many references each.
    async fn renew_referred(
        &self,
        referred: &BTreeSet<SegmentId>,
    ) -> Result<Vec<(SegmentId, u64)>, ClientError> {
        if referred.is_empty() {
            return Ok(Vec::new());
        }
        self.index_contents().await?;
        let asked: Vec<SegmentId> = referred.iter().copied().collect();
        let uses = self.catalog_call(move |catalog| catalog.uses(&asked)).await?;
        let uses = uses.ok_or(ClientError::Contended)?;
        let due: Vec<(SegmentId, u64)> = referred.iter().copied().zip(uses).collect();
        let renewing = due.into_iter().map(|(segment, uses)| async move {
            self.renew_segment(segment, uses.max(1)).await.map(|_| (segment, uses.max(1)))
        });
        let renewing = stream::iter(renewing).buffer_unordered(RENEWED_AT_ONCE).try_collect();
        self.step(points::REFER_RENEW, renewing).await
    }
}
