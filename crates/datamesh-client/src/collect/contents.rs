//! What versions are made of, for the catalog's counts: told with each operation by the device that
//! makes it, and read from the operations of others here.

use datamesh_catalog::Contents;
use datamesh_core::catalog::{Change, SealedContent};
use datamesh_core::{ContentTag, LogId, VersionId};
use datamesh_crypto::Manifest;

use crate::client::Client;
use crate::error::ClientError;

/// Operations read at a time.
const PAGE: usize = 512;

/// Adds a version's content that has this manifest, and is itself in the segments of `meta`.
pub(crate) fn add_manifest(
    contents: &mut Contents,
    version: VersionId,
    manifest: &Manifest,
    meta: Option<&Manifest>,
) {
    let mut segments: Vec<_> = manifest
        .slices
        .iter()
        .chain(meta.into_iter().flat_map(|meta| &meta.slices))
        .map(|slice| slice.segment)
        .collect();
    segments.sort_unstable();
    segments.dedup();
    contents.segments.append(&mut segments);
    let tags = manifest.slices.iter().map(|slice| slice.tag);
    let told = tags.filter(|tag| *tag != ContentTag([0; ContentTag::SIZE]));
    contents.tags.extend(told.map(|tag| (tag, version)));
}

impl Client {
    /// Adds what a version is made of.
    pub(crate) async fn add_contents(
        &self,
        contents: &mut Contents,
        sealed: SealedContent<'_>,
    ) -> Result<(), ClientError> {
        let Some(manifest) = self.manifest(sealed).await? else { return Ok(()) };
        let meta = self.meta_manifest(sealed)?;
        add_manifest(contents, *sealed.version, &manifest, meta.as_ref());
        Ok(())
    }

    /// Tells the catalog what the operations of other devices, and those that a restored catalog
    /// brought, are made of. Afterwards it can say how often a segment is referred to.
    pub(crate) async fn index_contents(&self) -> Result<(), ClientError> {
        for mut from in self.catalog_call(|catalog| catalog.unindexed()).await? {
            loop {
                let operations = self
                    .catalog_call(move |catalog| catalog.operations(&from.log, from.after, PAGE))
                    .await?;
                let Some(last) = operations.last().map(|operation| operation.sequence) else {
                    break;
                };
                let mut contents = Contents::default();
                for operation in operations {
                    let place = (operation.log, operation.sequence);
                    let sealed = match &operation.change {
                        Change::Put(put) => put.sealed(),
                        Change::Rewrite(rewrite) => rewrite.sealed(),
                        _ => continue,
                    };
                    match self.add_contents(&mut contents, sealed).await {
                        Ok(()) => {}
                        // The long manifest of a purged or rewritten version may be released
                        // already; nobody can come to refer to what was in it any more.
                        Err(_) if !self.counts(*sealed.version, place).await? => {}
                        Err(error) => return Err(error),
                    }
                }
                self.catalog_call(move |catalog| catalog.index_contents(from, last, &contents))
                    .await?;
                from.after = last;
            }
        }
        Ok(())
    }

    /// Whether the content of a version is where the operation at `place` says.
    async fn counts(&self, version: VersionId, place: (LogId, u64)) -> Result<bool, ClientError> {
        self.catalog_call(move |catalog| {
            let purged = catalog.purged(&[version])?.first() == Some(&true);
            let rewritten = catalog.rewritten(&[version])?.first().copied().flatten();
            let put = catalog.version_by_id(&version)?;
            let put = put.map(|put| (put.log, put.sequence));
            Ok(!purged && rewritten.or(put) == Some(place))
        })
        .await
    }
}
