//! Storing: read, cut or pack, seal, code, send; then commit.
//!
//! The caller's stream is read on one task; segments are sealed, coded and sent on others, a
//! bounded number at once. A file is committed when all its segments are stored, in batches, one
//! synced transaction each. What was committed stays, whatever happens to the rest of the stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datamesh_catalog::{Append, CatalogError, Journal, Owed, SegmentWritten, SliceDone, Transfer};
use datamesh_codec::Buffer;
use datamesh_core::catalog::{
    Change, Content, EntryKind, INLINE_BYTES_MAX, MANIFEST_INLINE_BYTES_MAX, Protection, Put,
    TAG_BYTES_MAX, TAGS_MAX,
};
use datamesh_core::padding::padme;
use datamesh_core::stream::{EntryHead, Piece, Source};
use datamesh_core::wire::{self, Encode};
use datamesh_core::{Domain, FileId, Hash, MeshPath, NodeId, Scheme, SegmentId, VersionId, seam};
use datamesh_crypto::manifest::Compression;
use datamesh_crypto::{Manifest, Secret, Slice, VersionKey};
use datamesh_engine::{Fault, SegmentWrite, WriteOutcome, block};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::oneshot;

use super::segment::{Forge, seal_into};
use super::{FRAME, SEGMENT_PLAIN};
use crate::client::{Client, Progress, ProgressFn};
use crate::error::ClientError;

/// Segments being sealed, coded and sent at once: enough to keep six holders busy, at 10 MiB each.
const SEGMENTS_IN_FLIGHT: usize = 5;

/// Files committed in one transaction.
const COMMIT_BATCH: usize = 256;

/// Files whose segments are under way; bounds what a stream of tiny files holds in memory.
const FILES_OPEN_MAX: usize = 4096;

/// Rows of the journal read at once.
const JOURNAL_PAGE: usize = 1024;

/// How a put stores.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// Tags of every stored file.
    pub tags: Vec<String>,
    /// Another scheme than the one that follows from the number of failure domains.
    pub scheme: Option<Scheme>,
    /// Store even where there are too few failure domains for the scheme.
    pub allow_degraded: bool,
}

/// A file that was stored and committed.
#[derive(Debug, Clone)]
pub struct StoredEntry {
    /// Its name.
    pub path: MeshPath,
    /// The file.
    pub file: FileId,
    /// The version.
    pub version: VersionId,
    /// Bytes of plaintext.
    pub size: u64,
    /// How safely it is stored; nothing where its content lives in the catalog.
    pub protection: Option<Protection>,
    /// Shards that are owed.
    pub owed: usize,
}

/// An entry of the stream that was not stored.
#[derive(Debug, Clone)]
pub struct EntryFailure {
    /// Its name.
    pub path: MeshPath,
    /// Why.
    pub reason: String,
}

/// What came of a put.
#[derive(Debug, Default)]
pub struct PutReport {
    /// What was stored, in the order of commits.
    pub stored: Vec<StoredEntry>,
    /// What was not, one by one.
    pub failed: Vec<EntryFailure>,
    /// Why the put ended before its stream did.
    pub stopped: Option<ClientError>,
    /// Peers that failed on the way.
    pub faults: Vec<Fault>,
    /// Bytes that were not sent because an earlier transfer had sent them.
    pub resumed_bytes: u64,
}

/// Faults that a report lists.
const FAULTS_MAX: usize = 100;

/// A file between its head and its commit.
struct Open {
    head: EntryHead,
    size: u64,
    hash: Hash,
    /// The slices that are stored, by their place.
    slices: BTreeMap<u32, Slice>,
    /// Slices that there will be; nothing while the file is being read.
    expected: Option<u32>,
    inline: Option<Vec<u8>>,
    margin: u8,
    owed: Vec<(SegmentId, u8)>,
    transfer: Option<[u8; 16]>,
}

/// A slice that an earlier transfer stored, and what its holders say of it now.
struct Earlier {
    hash: Hash,
    slice: Slice,
    /// Distinct shards.
    shards: BTreeSet<u8>,
}

/// A small file's place in the pack being filled.
struct Member {
    file: usize,
    offset: u32,
    length: u32,
    plain_length: u32,
    key: Secret,
}

/// Where a slice is noted when it is stored.
struct Noted {
    transfer: [u8; 16],
    /// BLAKE3 of the file's plaintext from its beginning to the end of the slice. The hash of the
    /// slice alone would cost a second pass over every byte.
    hash: Hash,
}

/// A segment to be made.
enum Job {
    Lone { file: usize, number: u32, plain: Buffer, plain_length: u32, journal: Option<Noted> },
    Packed { ciphertext: Vec<u8>, members: Vec<Member> },
}

/// A segment that was stored: which slices of which files it has.
struct Done {
    slices: Vec<(usize, u32, Slice)>,
    outcome: WriteOutcome,
}

type Finished = Result<Done, (Vec<usize>, ClientError)>;

struct PutRun<'a> {
    client: &'a Client,
    options: &'a PutOptions,
    scheme: Scheme,
    forge: Forge,
    progress: Option<ProgressFn>,
    done: Progress,
    report: PutReport,
    open: BTreeMap<usize, Open>,
    next_file: usize,
    pack: Vec<u8>,
    members: Vec<Member>,
    jobs: FuturesUnordered<oneshot::Receiver<Finished>>,
    ready: Vec<usize>,
}

impl Client {
    /// Stores every entry of a stream. What the report lists as stored is committed and durable.
    ///
    /// # Errors
    /// [`ClientError`] where the put cannot begin: too few failure domains, bad tags. What goes
    /// wrong later is in the report.
    pub async fn put(
        &self,
        source: &mut dyn Source,
        options: &PutOptions,
        progress: Option<ProgressFn>,
    ) -> Result<PutReport, ClientError> {
        let options = &PutOptions { tags: checked_tags(&options.tags)?, ..options.clone() };
        let (scheme, spread) = self.protection(options.scheme, options.allow_degraded)?;
        let forge = Forge {
            keys: Arc::clone(&self.keys),
            entropy: Arc::clone(&self.entropy),
            grant: Arc::clone(&self.grant),
            mesh: self.engine.mesh(),
            pool: self.pool.clone(),
            spread,
        };
        let mut run = PutRun {
            client: self,
            options,
            scheme,
            forge,
            progress,
            done: Progress::default(),
            report: PutReport::default(),
            open: BTreeMap::new(),
            next_file: 0,
            pack: Vec::new(),
            members: Vec::new(),
            jobs: FuturesUnordered::new(),
            ready: Vec::new(),
        };
        if let Err(error) = run.stream(source).await {
            run.report.stopped = Some(error);
        }
        // Whatever ended the stream, segments under way may still complete files.
        if let Err(error) = run.finish().await {
            run.report.stopped.get_or_insert(error);
        }
        Ok(run.report)
    }
}

fn checked_tags(tags: &[String]) -> Result<Vec<String>, ClientError> {
    let mut tags: Vec<String> = tags.iter().map(|tag| tag.trim().to_owned()).collect();
    tags.sort();
    tags.dedup();
    if tags.len() > TAGS_MAX {
        return Err(ClientError::Tags("a file can have at most 64 tags"));
    }
    if tags.iter().any(|tag| tag.is_empty() || tag.len() > TAG_BYTES_MAX) {
        return Err(ClientError::Tags("a tag has between 1 and 128 bytes"));
    }
    Ok(tags)
}

impl PutRun<'_> {
    async fn stream(&mut self, source: &mut dyn Source) -> Result<(), ClientError> {
        while let Some(head) = source.next_entry().await? {
            let file = self.next_file;
            self.next_file += 1;
            let path = head.path.clone();
            self.open.insert(file, Open::new(head));
            if let Some(reason) = self.entry(file, source).await? {
                self.open.remove(&file);
                self.report.failed.push(EntryFailure { path, reason });
            }
            while self.open.len() >= FILES_OPEN_MAX {
                self.flush_pack().await?;
                self.settle_one().await?;
                self.commit().await?;
            }
        }
        Ok(())
    }

    /// Reads one entry to its end. `Some` says why the entry alone cannot be stored.
    async fn entry(
        &mut self,
        file: usize,
        source: &mut dyn Source,
    ) -> Result<Option<String>, ClientError> {
        let mut hasher = blake3::Hasher::new();
        let mut size = 0u64;
        let mut number = 0u32;
        let mut earlier: Option<BTreeMap<u32, Earlier>> = None;
        let mut plain = self.client.pool.take(SEGMENT_PLAIN);
        let mut filled = 0;
        loop {
            let bytes = match source.next_piece().await? {
                Piece::Bytes(bytes) => bytes,
                Piece::End => break,
                Piece::Broken(reason) => return Ok(Some(reason)),
            };
            size += bytes.len() as u64;
            self.done.bytes += bytes.len() as u64;
            self.tell();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                if filled == SEGMENT_PLAIN {
                    // More follows a full segment, so this is a file of several.
                    if earlier.is_none() {
                        earlier = Some(self.begin_transfer(file).await);
                    }
                    let next = self.client.pool.take(SEGMENT_PLAIN);
                    let full = std::mem::replace(&mut plain, next);
                    let so_far = Hash(*hasher.finalize().as_bytes());
                    self.lone(file, number, (full, filled), so_far, earlier.as_mut()).await?;
                    number += 1;
                    filled = 0;
                }
                let count = rest.len().min(SEGMENT_PLAIN - filled);
                plain[filled..filled + count].copy_from_slice(&rest[..count]);
                // While the bytes are in the cache.
                hasher.update(&rest[..count]);
                filled += count;
                rest = &rest[count..];
            }
        }
        let hash = Hash(*hasher.finalize().as_bytes());
        let is_folder =
            self.open.get(&file).is_some_and(|open| open.head.kind == EntryKind::Folder);
        if let Some(open) = self.open.get_mut(&file) {
            (open.size, open.hash) = (size, hash);
        }
        if number == 0 && (filled <= INLINE_BYTES_MAX || is_folder) {
            if let Some(open) = self.open.get_mut(&file) {
                open.inline = Some(plain[..filled].to_vec());
                open.expected = Some(0);
            }
            self.ready(file);
            if self.ready.len() >= COMMIT_BATCH {
                self.commit().await?;
            }
        } else if number == 0 {
            self.pack(file, &plain[..filled]).await?;
        } else {
            // The last slices carry the padding of the whole file.
            let mut padded = (padme(size) - number as u64 * SEGMENT_PLAIN as u64) as usize;
            while padded > 0 {
                let length = padded.min(SEGMENT_PLAIN);
                plain[filled.min(length)..length].fill(0);
                let next = self.client.pool.take(SEGMENT_PLAIN);
                let mut full = std::mem::replace(&mut plain, next);
                full.shorten(length);
                self.lone(file, number, (full, filled), hash, earlier.as_mut()).await?;
                number += 1;
                filled = 0;
                padded -= length;
            }
            if let Some(open) = self.open.get_mut(&file) {
                open.expected = Some(number);
            }
            self.ready(file);
        }
        Ok(None)
    }

    fn tell(&self) {
        if let Some(progress) = &self.progress {
            progress(self.done);
        }
    }

    /// Looks for an earlier transfer of the same file, or begins one. A journal that fails costs
    /// only the ability to resume.
    async fn begin_transfer(&mut self, file: usize) -> BTreeMap<u32, Earlier> {
        let Some(open) = self.open.get_mut(&file) else { return BTreeMap::new() };
        let Some(identity) = open.head.source.clone() else { return BTreeMap::new() };
        let (path, scheme) = (open.head.path.clone(), self.scheme);
        let source = datamesh_catalog::Source {
            name: identity.name,
            size: identity.size,
            modified: identity.modified,
            identity: identity.identity,
        };
        let (id, started) = (seam::random(&*self.client.entropy), self.client.engine.now());
        let found = self
            .client
            .catalog_call(move |catalog| {
                let journal = catalog.journal();
                if let Some(transfer) = journal.load(&source, &path)? {
                    if transfer.scheme == scheme {
                        return Ok((transfer.id, done_before(journal, &transfer.id)?));
                    }
                    journal.end(&transfer.id)?;
                }
                journal.begin(&Transfer { id, source, path, started, scheme })?;
                Ok((id, (Vec::new(), BTreeMap::new())))
            })
            .await;
        match found {
            Ok((id, (slices, acknowledged))) => {
                open.transfer = Some(id);
                self.still_stored(slices, &acknowledged).await
            }
            Err(error) => {
                tracing::warn!(%error, "the transfer cannot be resumed");
                BTreeMap::new()
            }
        }
    }

    /// Those of the slices that are as safe as they were when they were stored: nodes may have gone
    /// since, and then a slice is sent again while there are others to take it.
    async fn still_stored(
        &self,
        slices: Vec<SliceDone>,
        acknowledged: &BTreeMap<SegmentId, u32>,
    ) -> BTreeMap<u32, Earlier> {
        let slices: Vec<(u32, Hash, Slice)> = slices
            .into_iter()
            .filter_map(|done| Some((done.number, done.hash, self.stored_slice(&done)?)))
            .collect();
        let segments: Vec<SegmentId> = slices.iter().map(|(.., slice)| slice.segment).collect();
        let confirmed = self.client.engine.confirmed(&segments).await;
        let least = self.scheme.commit_min();
        let domains: BTreeMap<NodeId, Domain> = self
            .client
            .engine
            .peers()
            .into_iter()
            .map(|peer| peer.member.advert.certificate.claim)
            .map(|claim| (claim.node, claim.domain))
            .collect();
        let strict = self.forge.spread == datamesh_engine::Spread::Strict;
        let mut earlier = BTreeMap::new();
        for ((number, hash, slice), holders) in slices.into_iter().zip(confirmed) {
            // Of shards that fail together only one counts, as an earlier put may have been allowed
            // to store with less protection than this one.
            let mut taken = BTreeSet::new();
            let shards: BTreeSet<u8> = holders
                .into_iter()
                .filter(|(_, node)| !strict || domains.get(node).is_some_and(|d| taken.insert(d)))
                .map(|(shard, _)| shard)
                .collect();
            let mask = shards.iter().fold(0, |mask, shard| mask | 1 << shard);
            let before = acknowledged.get(&slice.segment).copied().unwrap_or(u32::MAX);
            if shards.len() >= least && before & !mask == 0 {
                earlier.insert(number, Earlier { hash, slice, shards });
            }
        }
        earlier
    }

    /// Makes a slice with a segment of its own, unless an earlier transfer stored the same bytes:
    /// those of the file up to the end of the slice have the hash `so_far`.
    async fn lone(
        &mut self,
        file: usize,
        number: u32,
        (plain, filled): (Buffer, usize),
        so_far: Hash,
        earlier: Option<&mut BTreeMap<u32, Earlier>>,
    ) -> Result<(), ClientError> {
        let transfer = self.open.get(&file).and_then(|open| open.transfer);
        if let Some(Earlier { hash, slice, shards }) =
            earlier.and_then(|earlier| earlier.remove(&number))
            && hash == so_far
            && slice.plain_length as usize == filled
        {
            self.report.resumed_bytes += filled as u64;
            if let Some(open) = self.open.get_mut(&file) {
                let segment = slice.segment;
                let missing = (0..self.scheme.n() as u8).filter(|shard| !shards.contains(shard));
                open.owed.extend(missing.map(|shard| (segment, shard)));
                let margin = shards.len().saturating_sub(self.scheme.k()) as u8;
                open.margin = open.margin.min(margin);
                open.slices.insert(number, slice);
            }
            return Ok(());
        }
        let journal = transfer.map(|transfer| Noted { transfer, hash: so_far });
        let plain_length = filled as u32;
        self.start(Job::Lone { file, number, plain, plain_length, journal }).await
    }

    fn stored_slice(&self, done: &SliceDone) -> Option<Slice> {
        let opened = self.client.keys.open_note(&done.sealed).ok()?;
        wire::decode(&opened).ok()
    }

    /// Adds a small file to the pack being filled.
    async fn pack(&mut self, file: usize, plain: &[u8]) -> Result<(), ClientError> {
        let sealed = datamesh_crypto::frame::sealed_length(plain.len(), FRAME);
        if self.pack.len() + sealed > datamesh_core::descriptor::SEGMENT_BYTES_MAX {
            self.flush_pack().await?;
        }
        // All at once, as growing would copy what is there again and again.
        let room = datamesh_core::descriptor::SEGMENT_BYTES_MAX - self.pack.len();
        self.pack.reserve(room);
        let (offset, length, key) = seal_into(&mut self.pack, plain, &*self.client.entropy)?;
        let plain_length = plain.len() as u32;
        self.members.push(Member { file, offset, length, plain_length, key });
        if let Some(open) = self.open.get_mut(&file) {
            open.expected = Some(1);
        }
        Ok(())
    }

    async fn flush_pack(&mut self) -> Result<(), ClientError> {
        if self.members.is_empty() {
            return Ok(());
        }
        let mut ciphertext = std::mem::take(&mut self.pack);
        let members = std::mem::take(&mut self.members);
        // The padding slice: bytes that look as every other slice does.
        let length = ciphertext.len();
        ciphertext.resize(padme(length as u64) as usize, 0);
        self.client.entropy.fill(&mut ciphertext[length..]);
        self.start(Job::Packed { ciphertext, members }).await
    }

    /// Starts a job, after waiting until there is room for it.
    async fn start(&mut self, job: Job) -> Result<(), ClientError> {
        while self.jobs.len() >= SEGMENTS_IN_FLIGHT {
            self.settle_one().await?;
        }
        if self.ready.len() >= COMMIT_BATCH {
            self.commit().await?;
        }
        let (sender, receiver) = oneshot::channel();
        let (engine, forge, scheme) =
            (Arc::clone(&self.client.engine), self.forge.clone(), self.scheme);
        let catalog = Arc::clone(&self.client.catalog);
        let executor = Arc::clone(self.client.engine.executor());
        self.client.executor().spawn(Box::pin(async move {
            let finished = job.run(&engine, forge, scheme, &catalog, &*executor).await;
            drop(sender.send(finished));
        }));
        self.jobs.push(receiver);
        Ok(())
    }

    /// Waits for one segment and books its slices.
    async fn settle_one(&mut self) -> Result<(), ClientError> {
        let Some(finished) = self.jobs.next().await else { return Ok(()) };
        match finished.map_err(|_| ClientError::Shutdown)? {
            Ok(done) => {
                let room = FAULTS_MAX.saturating_sub(self.report.faults.len());
                self.report.faults.extend(done.outcome.faults.into_iter().take(room));
                let margin = done.outcome.receipts.len().saturating_sub(self.scheme.k()) as u8;
                for (file, number, slice) in done.slices {
                    let Some(open) = self.open.get_mut(&file) else { continue };
                    let segment = slice.segment;
                    open.slices.insert(number, slice);
                    open.margin = open.margin.min(margin);
                    open.owed.extend(done.outcome.owed.iter().map(|shard| (segment, *shard)));
                    self.ready(file);
                }
                self.client.engine.remember_receipts(done.outcome.receipts).await;
                Ok(())
            }
            Err((files, error)) => {
                for file in files {
                    if let Some(open) = self.open.remove(&file) {
                        let failure =
                            EntryFailure { path: open.head.path, reason: error.to_string() };
                        self.report.failed.push(failure);
                    }
                }
                Err(error)
            }
        }
    }

    /// Notes a file as ready for its commit once all its slices are stored.
    fn ready(&mut self, file: usize) {
        let complete = self
            .open
            .get(&file)
            .is_some_and(|open| open.expected == Some(open.slices.len() as u32));
        if complete {
            self.ready.push(file);
        }
    }

    async fn finish(&mut self) -> Result<(), ClientError> {
        let mut first = Ok(());
        if self.report.stopped.is_none() {
            first = self.flush_pack().await;
        }
        while !self.jobs.is_empty() {
            let settled = self.settle_one().await;
            first = first.and(settled);
        }
        let committed = self.commit().await;
        for (_, open) in std::mem::take(&mut self.open) {
            let reason = "the put ended before it was stored".to_owned();
            self.report.failed.push(EntryFailure { path: open.head.path, reason });
        }
        first.and(committed)
    }

    /// Commits the files that are ready: from here on they are stored.
    async fn commit(&mut self) -> Result<(), ClientError> {
        while !self.ready.is_empty() {
            let count = self.ready.len().min(COMMIT_BATCH);
            let batch: Vec<Open> =
                self.ready.drain(..count).filter_map(|file| self.open.remove(&file)).collect();
            let paths: Vec<MeshPath> = batch.iter().map(|open| open.head.path.clone()).collect();
            if let Err(error) = self.commit_batch(batch, paths.clone()).await {
                let reason = error.to_string();
                let failed = |path| EntryFailure { path, reason: reason.clone() };
                self.report.failed.extend(paths.into_iter().map(failed));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Commits these files, which have these paths, all or none.
    async fn commit_batch(
        &mut self,
        batch: Vec<Open>,
        paths: Vec<MeshPath>,
    ) -> Result<(), ClientError> {
        let mut changes = Vec::new();
        let mut entries = Vec::new();
        let mut owed = Vec::new();
        let mut transfers = Vec::new();
        let known = self
            .client
            .catalog_call(move |catalog| {
                paths.iter().map(|path| catalog.file_at(path)).collect::<Result<Vec<_>, _>>()
            })
            .await?;
        for (open, known) in batch.into_iter().zip(known) {
            transfers.extend(open.transfer);
            let (put, missing) = self.operation(open, known).await?;
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
            });
            changes.push(Change::Put(Box::new(put)));
        }
        let (keys, now) = (Arc::clone(&self.client.keys), self.client.engine.now());
        self.client
            .catalog_call(move |catalog| {
                let append = Append { changes, owed, now };
                catalog.append(append, |body| keys.sign_operation(body))?;
                for transfer in transfers {
                    // The commit stands; a journal row too many is cleaned up later.
                    if let Err(error) = catalog.journal().end(&transfer) {
                        tracing::warn!(%error, "a finished transfer stays in the journal");
                    }
                }
                Ok(())
            })
            .await?;
        self.done.files += entries.len() as u64;
        self.report.stored.extend(entries);
        self.tell();
        Ok(())
    }

    /// Builds the operation of a file whose slices are stored, and what it owes. `known` is the
    /// file that has the path already. A manifest too
    /// long for an operation is stored in segments of its own first.
    async fn operation(
        &mut self,
        open: Open,
        known: Option<FileId>,
    ) -> Result<(Put, Vec<(SegmentId, u8)>), ClientError> {
        let client = self.client;
        let entropy = &*client.entropy;
        let version = VersionId(seam::random(entropy));
        let file = known.unwrap_or_else(|| FileId(seam::random(entropy)));
        let key = VersionKey::draw(entropy);
        let (mut owed, mut margin) = (open.owed, open.margin);
        let (content, protected) = match open.inline {
            Some(plain) => (Content::Inline(key.seal(entropy, &version, 1, &plain)?), false),
            None => {
                let slices = open.slices.into_values().collect();
                let manifest = Manifest { size: open.size, hash: open.hash, slices };
                let bytes = zeroize::Zeroizing::new(manifest.to_bytes());
                let content = if bytes.len() <= MANIFEST_INLINE_BYTES_MAX {
                    Content::Manifest(key.seal(entropy, &version, 2, &bytes)?)
                } else {
                    let (meta, missing, least) = self.store_meta(&bytes).await?;
                    owed.extend(missing);
                    margin = margin.min(least);
                    Content::Meta(key.seal(entropy, &version, 3, &meta.to_bytes())?)
                };
                (content, true)
            }
        };
        let protection = Protection {
            scheme: self.scheme,
            degraded: self.forge.spread == datamesh_engine::Spread::Relaxed,
            margin: margin.min(self.scheme.m() as u8),
        };
        let put = Put {
            file,
            version,
            path: open.head.path,
            kind: open.head.kind,
            mode: open.head.mode,
            modified: open.head.modified,
            created: client.engine.now(),
            size: open.size,
            hash: open.hash,
            tags: self.options.tags.clone(),
            protection: protected.then_some(protection),
            key: client.keys.wrap(entropy, &version, &key)?,
            content,
        };
        Ok((put, owed))
    }

    /// Stores a long manifest in segments of its own, under the catalog's scheme. Returns the
    /// manifest of the manifest, what is owed, and the least margin.
    async fn store_meta(
        &self,
        bytes: &[u8],
    ) -> Result<(Manifest, Vec<(SegmentId, u8)>, u8), ClientError> {
        let scheme = self.scheme.for_catalog();
        let mut slices = Vec::new();
        let mut owed = Vec::new();
        let mut margin = u8::MAX;
        for part in bytes.chunks(SEGMENT_PLAIN) {
            let length = padme(part.len() as u64) as usize;
            let mut plain = self.client.pool.take(length.min(SEGMENT_PLAIN));
            plain[..part.len()].copy_from_slice(part);
            plain[part.len()..].fill(0);
            let (write, sealed) = self.forge.lone(scheme, &plain)?;
            let outcome = self.client.engine.write_segment(&write).await?;
            margin = margin.min(outcome.receipts.len().saturating_sub(scheme.k()) as u8);
            owed.extend(outcome.owed.iter().map(|shard| (outcome.segment, *shard)));
            slices.push(slice_of(sealed, part.len() as u32));
            self.client.engine.remember_receipts(outcome.receipts).await;
        }
        let manifest = Manifest { size: bytes.len() as u64, hash: Hash::of(bytes), slices };
        Ok((manifest, owed, margin))
    }
}

/// The slices that a transfer recorded, and the shards of their segments that were acknowledged.
fn done_before(
    journal: &Journal,
    transfer: &[u8; 16],
) -> Result<(Vec<SliceDone>, BTreeMap<SegmentId, u32>), CatalogError> {
    let mut slices: Vec<SliceDone> = Vec::new();
    loop {
        let from = slices.last().map_or(0, |slice| slice.number + 1);
        let page = journal.slices(transfer, from, JOURNAL_PAGE)?;
        if page.is_empty() {
            break;
        }
        slices.extend(page);
    }
    let mut acknowledged = BTreeMap::new();
    let mut after = None;
    loop {
        let page = journal.segments(transfer, after, JOURNAL_PAGE)?;
        after = match page.last() {
            Some(last) => Some(last.segment),
            None => return Ok((slices, acknowledged)),
        };
        acknowledged.extend(page.into_iter().map(|row| (row.segment, row.acknowledged)));
    }
}

fn slice_of(sealed: super::segment::Sealed, plain_length: u32) -> Slice {
    Slice {
        segment: sealed.segment,
        offset: sealed.offset,
        length: sealed.length,
        plain_length,
        frame: sealed.frame,
        compression: Compression::None,
        key: sealed.key,
    }
}

impl Open {
    fn new(head: EntryHead) -> Self {
        Self {
            head,
            size: 0,
            hash: Hash([0; 32]),
            slices: BTreeMap::new(),
            expected: None,
            inline: None,
            margin: u8::MAX,
            owed: Vec::new(),
            transfer: None,
        }
    }
}

impl Job {
    fn files(&self) -> Vec<usize> {
        match self {
            Self::Lone { file, .. } => vec![*file],
            Self::Packed { members, .. } => members.iter().map(|member| member.file).collect(),
        }
    }

    async fn run(
        self,
        engine: &datamesh_engine::Engine,
        forge: Forge,
        scheme: Scheme,
        catalog: &Arc<datamesh_catalog::AccountDb>,
        executor: &dyn datamesh_core::Executor,
    ) -> Finished {
        let files = self.files();
        let keys = Arc::clone(&forge.keys);
        let entropy = Arc::clone(&forge.entropy);
        let made = block(executor, move || self.make(&forge, scheme)).await;
        let made = match made {
            Some(Ok(made)) => made,
            Some(Err(error)) => return Err((files, error)),
            None => return Err((files, ClientError::Shutdown)),
        };
        let outcome = match engine.write_segment(&made.write).await {
            Ok(outcome) => outcome,
            Err(error) => return Err((files, error.into())),
        };
        if let Some((transfer, number, hash)) = made.journal
            && let Some((_, _, slice)) = made.slices.first()
            && let Ok(sealed) = keys.seal_note(&*entropy, &slice.to_bytes())
        {
            let written = SegmentWritten {
                segment: slice.segment,
                acknowledged: outcome.receipts.iter().fold(0, |mask, r| mask | 1 << r.shard),
            };
            let done = SliceDone { number, hash, sealed: sealed.to_vec() };
            let catalog = Arc::clone(catalog);
            let noted = block(executor, move || {
                catalog.journal().segment(&transfer, written)?;
                catalog.journal().slice(&transfer, &done)
            })
            .await;
            if let Some(Err(error)) = noted {
                tracing::warn!(%error, "a slice of the transfer is not in the journal");
            }
        }
        Ok(Done { slices: made.slices, outcome })
    }

    /// Seals and codes; the part that computes.
    fn make(self, forge: &Forge, scheme: Scheme) -> Result<Made, ClientError> {
        match self {
            Self::Lone { file, number, plain, plain_length, journal } => {
                let (write, sealed) = forge.lone(scheme, &plain)?;
                let journal = journal.map(|noted| (noted.transfer, number, noted.hash));
                let slices = vec![(file, number, slice_of(sealed, plain_length))];
                Ok(Made { write, slices, journal })
            }
            Self::Packed { ciphertext, members } => {
                let write = forge.packed(scheme, &ciphertext)?;
                let segment = write.ticket.segment;
                let slices = members
                    .into_iter()
                    .map(|member| {
                        let slice = Slice {
                            segment,
                            offset: member.offset,
                            length: member.length,
                            plain_length: member.plain_length,
                            frame: FRAME as u32,
                            compression: Compression::None,
                            key: member.key,
                        };
                        (member.file, 0, slice)
                    })
                    .collect();
                Ok(Made { write, slices, journal: None })
            }
        }
    }
}

/// A segment that is ready to be sent.
struct Made {
    write: SegmentWrite,
    slices: Vec<(usize, u32, Slice)>,
    journal: Option<([u8; 16], u32, Hash)>,
}
