//! What versions are made of, for the catalog's counts: told with each operation by the device that
//! makes it, and read from the operations of others here.

use datamesh_catalog::Contents;
use datamesh_core::catalog::{Change, Put};
use datamesh_core::{ContentTag, VersionId};
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
        put: &Put,
    ) -> Result<(), ClientError> {
        let Some(manifest) = self.manifest(put).await? else { return Ok(()) };
        let meta = self.meta_manifest(put)?;
        add_manifest(contents, put.version, &manifest, meta.as_ref());
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
                    let Change::Put(put) = operation.change else { continue };
                    match self.add_contents(&mut contents, &put).await {
                        Ok(()) => {}
                        // The long manifest of a purged version may be released already; nobody
                        // can refer to what was in it any more.
                        Err(_) if self.is_purged(&put).await? => {}
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

    async fn is_purged(&self, put: &Put) -> Result<bool, ClientError> {
        let version = put.version;
        let purged = self.catalog_call(move |catalog| catalog.purged(&[version])).await?;
        Ok(purged.first() == Some(&true))
    }
}
