//! What is asked of files beside their bytes: names, versions, placement, deletion.

use datamesh_catalog::{Append, Entry, Named, Version};
use datamesh_core::catalog::{Change, Delete, Put};
use datamesh_core::{BoxFuture, MeshPath, NodeId, Scheme, SegmentId, VersionId, seam};

use crate::below::Below;
use crate::client::Client;
use crate::error::ClientError;
use crate::points;

/// Where the shards of one segment are, as their holders say now.
#[derive(Debug, Clone)]
pub struct SegmentPlacement {
    /// The segment.
    pub segment: SegmentId,
    /// Its scheme, where it is known.
    pub scheme: Option<Scheme>,
    /// Shards and who holds them.
    pub holders: Vec<(u8, NodeId)>,
}

impl SegmentPlacement {
    /// Distinct shards that are held above k; negative where the segment cannot be read now.
    pub fn margin(&self) -> Option<i32> {
        let scheme = self.scheme?;
        let mut shards: Vec<u8> = self.holders.iter().map(|(shard, _)| *shard).collect();
        shards.sort_unstable();
        shards.dedup();
        Some(shards.len() as i32 - scheme.k() as i32)
    }
}

/// What was deleted.
#[derive(Debug, Clone, Default)]
pub struct Removed {
    /// The names.
    pub paths: Vec<MeshPath>,
    /// Operations of this device that no quorum of the mesh has yet; 0 where all is committed.
    pub pending: u64,
}

/// A version and where its segments are.
#[derive(Debug, Clone)]
pub struct VersionInfo {
    /// The version.
    pub version: Version,
    /// Its segments; empty where its content lives in the catalog.
    pub segments: Vec<SegmentPlacement>,
}

impl Client {
    /// The version that `name` (a path, or the beginning of an id) and `number` stand for.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Folder`], [`ClientError::Deleted`],
    /// [`ClientError::NoVersion`].
    pub fn resolve<'a>(
        &'a self,
        name: &'a str,
        number: Option<u64>,
    ) -> BoxFuture<'a, Result<Version, ClientError>> {
        Box::pin(async move {
            let not_found = || ClientError::NotFound { name: name.to_owned() };
            let found = match (self.named(name).await?, number) {
                (Named::Version(id, _), None) => {
                    self.catalog_call(move |catalog| catalog.version_by_id(&id)).await?
                }
                (
                    Named::Path(path) | Named::File(_, path) | Named::Version(_, path),
                    Some(number),
                ) => {
                    let version =
                        self.catalog_call(move |catalog| catalog.version(&path, number)).await?;
                    let name = name.to_owned();
                    return match version {
                        Some(version) if version.purged => Err(ClientError::Purged { name }),
                        Some(version) => Ok(version),
                        None => Err(ClientError::NoVersion { name, version: number }),
                    };
                }
                (Named::Path(path) | Named::File(_, path), None) => {
                    self.catalog_call(move |catalog| catalog.lookup(&path)).await?
                }
            };
            let version = found.ok_or_else(not_found)?;
            match version.entry {
                Entry::Put(_) if version.purged => {
                    Err(ClientError::Purged { name: name.to_owned() })
                }
                Entry::Put(_) => Ok(version),
                Entry::Delete(_) => Err(ClientError::Deleted { name: name.to_owned() }),
            }
        })
    }

    /// All versions and delete markers of a path, the oldest first.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] where the path was never there.
    pub fn versions<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Version>, ClientError>> {
        Box::pin(async move {
            let path = self.path_of(name).await?;
            self.catalog_call(move |catalog| catalog.all_versions(&path)).await
        })
    }

    /// The path that `name` stands for, deleted or not.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] where there never was one.
    pub(crate) async fn path_of(&self, name: &str) -> Result<MeshPath, ClientError> {
        let (Named::Path(path) | Named::File(_, path) | Named::Version(_, path)) =
            self.named(name).await?;
        Ok(path)
    }

    /// What `name` stands for.
    async fn named(&self, name: &str) -> Result<Named, ClientError> {
        let asked = name.to_owned();
        let found = self.catalog_call(move |catalog| match catalog.resolve(&asked)? {
            Some(named) => Ok(Ok(named)),
            None => Ok(Err(catalog.is_folder(asked.trim_end_matches('/'))?)),
        });
        found.await?.map_err(|is_folder| match is_folder {
            true => ClientError::Folder { name: name.to_owned() },
            false => ClientError::NotFound { name: name.to_owned() },
        })
    }

    /// Marks files as deleted, all in one transaction. Their versions and space stay.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] and [`ClientError::Deleted`] name the first that is not there;
    /// nothing is deleted then.
    pub fn remove<'a>(
        &'a self,
        names: &'a [String],
    ) -> BoxFuture<'a, Result<Removed, ClientError>> {
        Box::pin(async move {
            self.know_newest().await?;
            let mut puts: Vec<Box<Put>> = Vec::new();
            for name in names {
                let version = self.resolve(name, None).await?;
                if let Entry::Put(put) = version.entry
                    && !puts.iter().any(|other| other.path == put.path)
                {
                    puts.push(put);
                }
            }
            let paths = self.mark_deleted(&puts).await?;
            Ok(Removed { paths, pending: self.publish().await?.pending })
        })
    }

    /// Makes sure that this device knows all that was published: a device whose catalog was put back
    /// from a copy must not delete what it has never seen.
    pub(crate) async fn know_newest(&self) -> Result<(), ClientError> {
        if self.catch_up().await?.may_be_old { Err(ClientError::MayBeOld) } else { Ok(()) }
    }

    /// Marks these as deleted, all in one transaction.
    async fn mark_deleted(&self, puts: &[Box<Put>]) -> Result<Vec<MeshPath>, ClientError> {
        let paths = puts.iter().map(|put| put.path.clone()).collect();
        let changes = puts.iter().map(|put| self.delete_marker(put)).collect();
        self.append(points::REMOVE_COMMIT, Append { changes, ..Append::default() }).await?;
        Ok(paths)
    }

    /// The operation that deletes the file of this version.
    pub(crate) fn delete_marker(&self, put: &Put) -> Change {
        Change::Delete(Delete {
            file: put.file,
            version: VersionId(seam::random(&*self.entropy)),
            replaces: put.version,
            path: put.path.clone(),
            created: self.engine.now(),
        })
    }

    /// Marks everything below a folder as deleted, all files where there is none, page by page.
    ///
    /// # Errors
    /// [`ClientError::NothingBelow`]; after an error the pages before stay deleted.
    pub fn remove_below(
        &self,
        folder: Option<MeshPath>,
    ) -> BoxFuture<'_, Result<Removed, ClientError>> {
        Box::pin(async move {
            self.know_newest().await?;
            let mut below = Below::new(self, folder);
            let mut paths = Vec::new();
            let mut page = below.page().await?;
            while !page.is_empty() {
                for batch in page.chunks(datamesh_catalog::OPERATIONS_MAX) {
                    paths.extend(self.mark_deleted(batch).await?);
                }
                page = below.page().await?;
            }
            Ok(Removed { paths, pending: self.publish().await?.pending })
        })
    }

    /// The segments of a version, its long manifest's included.
    ///
    /// # Errors
    /// [`ClientError`] where the manifest cannot be read.
    pub fn segments<'a>(
        &'a self,
        put: &'a Put,
    ) -> BoxFuture<'a, Result<Vec<SegmentId>, ClientError>> {
        Box::pin(async move { Ok(self.segments_of(put.sealed()).await?.into_iter().collect()) })
    }

    /// Bytes of a version that its put found stored already.
    ///
    /// # Errors
    /// [`ClientError`] where the manifest cannot be read.
    pub fn known_bytes<'a>(&'a self, put: &'a Put) -> BoxFuture<'a, Result<u64, ClientError>> {
        Box::pin(async move {
            Ok(self.manifest(put.sealed()).await?.map_or(0, |manifest| manifest.known))
        })
    }

    /// The segments of the current versions of all files.
    ///
    /// # Errors
    /// [`ClientError::NothingBelow`] where there are no files, and where a manifest cannot be read.
    pub fn all_segments(&self) -> BoxFuture<'_, Result<Vec<SegmentId>, ClientError>> {
        Box::pin(async move {
            let mut below = Below::new(self, None);
            let mut segments = std::collections::BTreeSet::new();
            let mut page = below.page().await?;
            while !page.is_empty() {
                for put in &page {
                    segments.extend(self.segments(put).await?);
                }
                page = below.page().await?;
            }
            Ok(segments.into_iter().collect())
        })
    }

    /// Asks every member where the segments of a version are.
    ///
    /// # Errors
    /// [`ClientError`] where the manifest cannot be read.
    pub fn placement<'a>(
        &'a self,
        put: &'a Put,
    ) -> BoxFuture<'a, Result<Vec<SegmentPlacement>, ClientError>> {
        Box::pin(async move {
            let Some(manifest) = self.manifest(put.sealed()).await? else { return Ok(Vec::new()) };
            let mut segments: Vec<SegmentId> = Vec::new();
            for slice in &manifest.slices {
                // Slices of one segment are neighbours, so the last one is all there is to compare.
                if segments.last() != Some(&slice.segment) {
                    segments.push(slice.segment);
                }
            }
            let census = self.engine.census(&segments).await;
            let scheme = put.protection.map(|protection| protection.scheme);
            let placed = segments.into_iter().zip(census);
            Ok(placed
                .map(|(segment, holders)| SegmentPlacement { segment, scheme, holders })
                .collect())
        })
    }
}
