//! The end of a put: files whose slices are all stored become versions in the catalog, in batches,
//! one synced transaction each.

use std::sync::Arc;

use datamesh_catalog::{AccountDb, Append, CatalogError, Contents, Owed};
use datamesh_core::catalog::{Change, Content, MANIFEST_INLINE_BYTES_MAX, Protection, Put};
use datamesh_core::wire::Encode;
use datamesh_core::{BoxFuture, FileId, MeshPath, Scheme, SegmentId, VersionId, seam};
use datamesh_crypto::{Manifest, VersionKey};
use datamesh_engine::Spread;
use futures::FutureExt;

use super::known::Renewals;
use super::{COMMIT_BATCH, EntryFailure, Open, PutRun, StoredEntry};
use crate::client::Client;
use crate::collect::contents::add_manifest;
use crate::collect::referring::RENEWED_AGAIN_MAX;
use crate::error::ClientError;
use crate::labels::note_of;
use crate::pipeline::sending::{Sender, Sending, settle};
use crate::points;

/// What has a path before a put: that of it which stays.
#[derive(Default)]
struct Known {
    file: Option<FileId>,
    version: Option<VersionId>,
    tags: Vec<String>,
    note: String,
}

impl Known {
    fn of(catalog: &AccountDb, path: &MeshPath) -> Result<Self, CatalogError> {
        let Some((_, version)) = catalog.current_at(path)? else { return Ok(Self::default()) };
        let (file, version) = (catalog.file_at(path)?, Some(version));
        let listed = catalog.summary(path)?.map(|listed| (listed.tags, listed.note));
        let (tags, note) = listed.unwrap_or_default();
        Ok(Self { file, version, tags, note })
    }
}

/// A batch of files on its way into the catalog.
pub(super) type Committing<'a> = BoxFuture<'a, Result<Committed, (Vec<MeshPath>, ClientError)>>;

/// What a batch needs to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Talks {
    WithTheCatalog,
    /// It stores long manifests or renews segments.
    WithNodes,
}

/// What was committed.
pub(super) struct Committed {
    entries: Vec<StoredEntry>,
    segments: Vec<SegmentId>,
    renewed: Renewals,
}

impl PutRun<'_> {
    /// Commits the files that are ready: from here on they are stored.
    pub(super) async fn commit(&mut self) -> Result<(), ClientError> {
        loop {
            self.wait_for_commit().await?;
            if self.ready.is_empty() {
                return Ok(());
            }
            let _: Talks = self.begin_commit();
        }
    }

    /// Where enough files are ready, begins to commit them, and goes on meanwhile if the batch before is done.
    pub(super) async fn commit_soon(&mut self) -> Result<(), ClientError> {
        if self.ready.len() >= COMMIT_BATCH {
            self.wait_for_commit().await?;
            // What talks with nodes could hold something that the put comes to wait for.
            if self.begin_commit() == Talks::WithNodes {
                return self.wait_for_commit().await;
            }
        }
        if let Some(committing) = &mut self.committing
            && let Some(done) = committing.now_or_never()
        {
            self.committing = None;
            self.committed(done)?;
        }
        Ok(())
    }

    async fn wait_for_commit(&mut self) -> Result<(), ClientError> {
        let Some(committing) = self.committing.as_mut() else { return Ok(()) };
        let done = committing.await;
        self.committing = None;
        self.committed(done)
    }

    /// One batch at a time, so that of two files of one path the later one counts.
    fn begin_commit(&mut self) -> Talks {
        let count = self.ready.len().min(COMMIT_BATCH);
        let files: Vec<Open> =
            self.ready.drain(..count).filter_map(|file| self.open.remove(&file)).collect();
        let alone = |open: &Open| open.referred.is_empty() && open.slices.len() <= 1;
        let talks = if files.iter().all(alone) { Talks::WithTheCatalog } else { Talks::WithNodes };
        let batch = Batch {
            client: self.client,
            sender: self.sender.clone(),
            scheme: self.scheme,
            renewed: self.known.renewals(files.iter().flat_map(|open| &open.referred)),
        };
        self.committing = Some(Box::pin(batch.commit(files)));
        talks
    }

    /// Books what came of a batch.
    fn committed(
        &mut self,
        done: Result<Committed, (Vec<MeshPath>, ClientError)>,
    ) -> Result<(), ClientError> {
        match done {
            Ok(Committed { entries, segments, renewed }) => {
                self.known.committed(segments, renewed);
                self.done.files += entries.len() as u64;
                self.report.stored.extend(entries);
                self.tell();
                Ok(())
            }
            Err((paths, error)) => {
                let reason = error.to_string();
                let failed = |path| EntryFailure { path, reason: reason.clone() };
                self.report.failed.extend(paths.into_iter().map(failed));
                Err(error)
            }
        }
    }
}

/// What a batch of files needs to become versions, apart from what the put goes on with meanwhile.
struct Batch<'a> {
    client: &'a Client,
    sender: Sender,
    scheme: Scheme,
    /// Of the segments that are referred to without having been sent.
    renewed: Renewals,
}

impl Batch<'_> {
    /// Commits these files, all or none.
    async fn commit(mut self, files: Vec<Open>) -> Result<Committed, (Vec<MeshPath>, ClientError)> {
        let paths: Vec<MeshPath> = files.iter().map(|open| open.head.path.clone()).collect();
        match self.versions(files, paths.clone()).await {
            Ok((entries, segments)) => Ok(Committed { entries, segments, renewed: self.renewed }),
            Err(error) => Err((paths, error)),
        }
    }

    /// Makes versions of files which have these paths. Returns them and the segments that they refer to.
    async fn versions(
        &mut self,
        batch: Vec<Open>,
        paths: Vec<MeshPath>,
    ) -> Result<(Vec<StoredEntry>, Vec<SegmentId>), ClientError> {
        let mut changes = Vec::new();
        let mut entries = Vec::new();
        let mut owed = Vec::new();
        let mut transfers = Vec::new();
        let mut held = Vec::new();
        let mut committed: Vec<SegmentId> = Vec::new();
        let mut contents = Contents::default();
        let mut referred: Vec<SegmentId> =
            batch.iter().flat_map(|open| &open.referred).copied().collect();
        referred.sort_unstable();
        referred.dedup();
        let known = self
            .client
            .catalog_call(move |catalog| {
                paths.iter().map(|path| Known::of(catalog, path)).collect::<Result<Vec<_>, _>>()
            })
            .await?;
        for (open, known) in batch.into_iter().zip(known) {
            let note = known.note.clone();
            let (transfer, segments) = (open.transfer, open.segments());
            committed.extend(segments.iter().copied());
            transfers.extend(transfer.map(|transfer| (transfer, segments)));
            let already = open.known;
            let (put, missing) = self.operation(open, known, &mut held, &mut contents).await?;
            owed.extend(missing.iter().map(|(segment, shard)| Owed {
                segment: *segment,
                shard: *shard,
                version: put.version,
            }));
            entries.push(StoredEntry {
                path: put.path.clone(),
                file: put.file,
                version: put.version,
                size: put.size,
                protection: put.protection,
                owed: missing.len(),
                known: already,
            });
            let version = put.version;
            changes.push(Change::Put(Box::new(put)));
            changes.extend(note_of(version, note, self.client.engine.now()));
        }
        self.append(
            Append { changes, owed, contents: Some(contents), ..Append::default() },
            &referred,
        )
        .await?;
        let settling = self.client.catalog_call(move |catalog| {
            for (transfer, segments) in transfers {
                // The commit stands; a journal row too many is cleaned up later.
                if let Err(error) = catalog.journal().end(&transfer, &segments) {
                    tracing::warn!(%error, "a finished transfer stays in the journal");
                }
            }
            settle(catalog, held);
            Ok(())
        });
        self.client.step(points::PUT_SETTLE, settling).await?;
        Ok((entries, committed))
    }

    /// Commits. Segments that it refers to without having sent them are renewed for what is referred
    /// to them by then.
    async fn append(&mut self, append: Append, referred: &[SegmentId]) -> Result<(), ClientError> {
        for _ in 0..RENEWED_AGAIN_MAX {
            let renewed = self.renewed.again(self.client, referred).await?;
            // What this put sent itself nobody else knows of.
            let there = renewed.iter().filter(|(_, epoch)| *epoch > 0);
            let renew_published = there.map(|(segment, _)| *segment).collect();
            let append = Append { renewed, renew_published, ..append.clone() };
            if self.client.append_referring(points::PUT_COMMIT, append).await? {
                return Ok(());
            }
        }
        Err(ClientError::Contended)
    }

    /// Builds the operation of a file whose slices are stored, and what it owes. `known` is the
    /// file that has the path already, and its current version. A manifest too long for an operation
    /// is stored in segments of its own first. The journal's rows of all its segments go to `held`, what it
    /// is made of to `contents`.
    async fn operation(
        &mut self,
        open: Open,
        known: Known,
        held: &mut Vec<Arc<Sending>>,
        contents: &mut Contents,
    ) -> Result<(Put, Vec<(SegmentId, u8)>), ClientError> {
        let client = self.client;
        let entropy = &*client.entropy;
        let version = VersionId(seam::random(entropy));
        let file = known.file.unwrap_or_else(|| FileId(seam::random(entropy)));
        let replaces = known.version.unwrap_or(VersionId([0; 16]));
        let key = VersionKey::draw(entropy);
        let (mut owed, mut margin) = (open.owed, open.margin);
        held.extend(open.sending);
        let (content, protected) = match open.inline {
            Some(plain) => (Content::Inline(key.seal(entropy, &version, 1, &plain)?), false),
            None => {
                let slices = open.slices.into_values().collect();
                let (size, hash) = (open.size, open.hash);
                let manifest = Manifest { size, hash, known: open.known, slices };
                let bytes = zeroize::Zeroizing::new(manifest.to_bytes());
                let content = if bytes.len() <= MANIFEST_INLINE_BYTES_MAX {
                    add_manifest(contents, version, &manifest, None);
                    Content::Manifest(key.seal(entropy, &version, 2, &bytes)?)
                } else {
                    let (meta, missing, least) =
                        self.sender.manifest(self.scheme, &self.client.pool, &bytes, held).await?;
                    owed.extend(missing);
                    margin = margin.min(least);
                    add_manifest(contents, version, &manifest, Some(&meta));
                    Content::Meta(key.seal(entropy, &version, 3, &meta.to_bytes())?)
                };
                (content, true)
            }
        };
        let protection = Protection {
            scheme: self.scheme,
            degraded: self.sender.forge.spread == Spread::Relaxed,
            margin: margin.min(self.scheme.m() as u8),
        };
        let put = Put {
            file,
            version,
            replaces,
            path: open.head.path,
            kind: open.head.kind,
            mode: open.head.mode,
            modified: open.head.modified,
            created: client.engine.now(),
            size: open.size,
            hash: open.hash,
            tags: if open.tags.is_empty() { known.tags } else { open.tags },
            protection: protected.then_some(protection),
            key: client.keys.wrap(entropy, &version, &key)?,
            content,
        };
        Ok((put, owed))
    }
}
