//! Storing: read, cut or pack, seal, code, send; then commit.
//!
//! The caller's stream is read on one task; segments are sealed, coded and sent on others, a
//! bounded number at once. What the account stores already is not sent again. A file is committed when all its segments are stored, in batches, one
//! synced transaction each. What was committed stays, whatever happens to the rest of the stream.

mod commit;
mod known;
mod lone;
mod resume;

use std::collections::BTreeMap;
use std::sync::Arc;

use datamesh_codec::Buffer;
use datamesh_core::catalog::{EntryKind, INLINE_BYTES_MAX, Protection, TAG_BYTES_MAX, TAGS_MAX};
use datamesh_core::padding::padme;
use datamesh_core::stream::{EntryHead, Piece, Source};
use datamesh_core::{BoxFuture, ContentTag, FileId, Hash, MeshPath, Scheme, SegmentId, VersionId};
use datamesh_crypto::Slice;
use datamesh_engine::{Fault, block};
use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::oneshot;

use self::commit::Committing;
use self::known::Known;
use self::lone::{Lone, Noted};
use self::resume::Earlier;
use super::packs::Packing;
use super::segment::{Forge, SealedSmall};
use super::sending::{Sender, Sending, settle};
use super::{Finished, SEGMENT_PLAIN};
use crate::client::{Client, Progress, ProgressFn};
use crate::error::ClientError;
use crate::points;

/// Segments of large files being sealed, coded and sent at once: enough to keep six holders busy, at
/// 10 MiB each.
const SEGMENTS_IN_FLIGHT: usize = 5;

/// Files committed in one transaction.
const COMMIT_BATCH: usize = 256;

/// Files whose segments are under way; bounds what a stream of tiny files holds in memory.
const FILES_OPEN_MAX: usize = 4096;

/// Whether content is compressed before it is sealed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compress {
    /// Where a sample of it shrinks.
    #[default]
    Auto,
    /// The same with more effort, for content that is read seldom.
    Rest,
    /// Never.
    Off,
}

/// Up to so many bytes of a small file are sealed where they arrive: handing them to a blocking
/// thread and back takes longer.
const SEAL_INLINE_BYTES_MAX: usize = 128 * 1024;

/// Small files whose contents are looked for together: a call of the catalog for each one would take longer than
/// all the rest that is done for it.
const STAGED_MAX: usize = 32;

/// How a put stores.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// Tags of every stored file.
    pub tags: Vec<String>,
    /// Another scheme than the one that follows from the number of failure domains.
    pub scheme: Option<Scheme>,
    /// Store even where there are too few failure domains for the scheme.
    pub allow_degraded: bool,
    /// Whether to compress.
    pub compress: Compress,
    /// Most files under way at once; 0 for as many as memory is meant for.
    pub parallel: usize,
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
    /// Bytes of it that the account had stored already.
    pub known: u64,
}

/// An entry of which something failed, and the others did not.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Bytes that were not sent because the account had stored them already.
    pub known_bytes: u64,
    /// Operations of this device that no quorum of the mesh has yet; 0 where all is committed.
    pub pending: u64,
}

/// Faults that a report lists.
const FAULTS_MAX: usize = 100;

/// A file between its head and its commit.
struct Open {
    head: EntryHead,
    /// Its own tags and those of the whole put.
    tags: Vec<String>,
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
    /// The journal's rows of its segments, until it is committed.
    sending: Vec<Arc<Sending>>,
    /// Bytes that were there already.
    known: u64,
    /// Segments that it refers to without having sent them.
    referred: Vec<SegmentId>,
}

/// A small file whose content is yet to be looked for.
struct Staged {
    file: usize,
    plain: Vec<u8>,
    tag: ContentTag,
}

struct PutRun<'a> {
    client: &'a Client,
    options: &'a PutOptions,
    scheme: Scheme,
    sender: Sender,
    packing: Packing,
    progress: Option<ProgressFn>,
    done: Progress,
    report: PutReport,
    open: BTreeMap<usize, Open>,
    next_file: usize,
    /// Segments of large files under way.
    lone: FuturesUnordered<oneshot::Receiver<Finished>>,
    /// Packs that have slices of this put.
    packed: FuturesUnordered<oneshot::Receiver<Finished>>,
    /// Small files on their way to the packs.
    staged: Vec<Staged>,
    ready: Vec<usize>,
    committing: Option<Committing<'a>>,
    known: Known,
}

impl Client {
    /// Stores every entry of a stream. What the report lists as stored is committed and durable.
    ///
    /// # Errors
    /// [`ClientError`] where the put cannot begin: too few failure domains, bad tags. What goes
    /// wrong later is in the report.
    pub fn put<'a>(
        &'a self,
        source: &'a mut dyn Source,
        options: &'a PutOptions,
        progress: Option<ProgressFn>,
    ) -> BoxFuture<'a, Result<PutReport, ClientError>> {
        Box::pin(async move {
            let options = &PutOptions { tags: checked_tags(&options.tags)?, ..options.clone() };
            let (scheme, spread) = self.protection(options.scheme, options.allow_degraded)?;
            self.admitted().await?;
            // A path that another device has used already keeps its file.
            self.catch_up_once().await?;
            let forge = Forge::new(self, spread, options.compress);
            let sender = Sender {
                engine: Arc::clone(&self.engine),
                catalog: Arc::clone(&self.catalog),
                forge,
            };
            let packing = self.packs.join(scheme, sender.clone());
            let mut run = PutRun {
                client: self,
                options,
                scheme,
                sender,
                packing,
                progress,
                done: Progress::default(),
                report: PutReport::default(),
                open: BTreeMap::new(),
                next_file: 0,
                lone: FuturesUnordered::new(),
                packed: FuturesUnordered::new(),
                staged: Vec::new(),
                ready: Vec::new(),
                committing: None,
                known: Known::default(),
            };
            run.look_for_known().await;
            if let Err(error) = run.stream(source).await {
                run.report.stopped = Some(error);
            }
            // Whatever ended the stream, segments under way may still complete files.
            if let Err(error) = run.finish().await {
                run.report.stopped.get_or_insert(error);
            }
            let held = run.let_go();
            let settled = self.catalog_call(move |catalog| {
                settle(catalog, held);
                Ok(())
            });
            if let Err(error) = settled.await {
                run.report.stopped.get_or_insert(error);
            }
            match self.step(points::PUT_PUBLISH, self.publish()).await {
                Ok(published) => run.report.pending = published.pending,
                Err(error) => {
                    run.report.stopped.get_or_insert(error);
                }
            }
            if let Err(error) = self.step(points::PUT_RENEW, self.renew_promised()).await {
                run.report.stopped.get_or_insert(error);
            }
            let report = std::mem::take(&mut run.report);
            // With it goes what holds its segments.
            drop(run);
            if matches!(report.stopped, Some(ClientError::Write(_))) && report.pending == 0 {
                // Shards of what was never committed would look like a loss that nobody can mend.
                if let Err(error) = self.give_back_left().await {
                    tracing::info!(%error, "what the put left is given back later");
                }
            }
            Ok(report)
        })
    }
}

/// Tags in their order, each once.
pub(crate) fn checked_tags(tags: &[String]) -> Result<Vec<String>, ClientError> {
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
        let open_max = match self.options.parallel {
            0 => FILES_OPEN_MAX,
            parallel => parallel.min(FILES_OPEN_MAX),
        };
        while let Some(head) = source.next_entry().await? {
            let file = self.next_file;
            self.next_file += 1;
            let path = head.path.clone();
            let tags = match &head.tags[..] {
                [] => Ok(self.options.tags.clone()),
                own => checked_tags(&[&self.options.tags, own].concat()),
            };
            let failed = match tags {
                Ok(tags) => {
                    self.open.insert(file, Open::new(head, tags));
                    self.entry(file, source).await?
                }
                Err(error) => {
                    while let Piece::Bytes(_) = source.next_piece().await? {}
                    Some(error.to_string())
                }
            };
            if let Some(reason) = failed {
                self.open.remove(&file);
                self.report.failed.push(EntryFailure { path, reason });
            }
            while self.open.len() >= open_max {
                self.pack_staged().await?;
                self.packing.want();
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
            self.commit_soon().await?;
        } else if number == 0 {
            self.pack(file, (plain, filled), hash).await?;
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
                open.sending.push(Sending::hold(&self.client.catalog, segment));
                open.slices.insert(number, slice);
            }
            return Ok(());
        }
        let first = (number == 0).then_some(so_far);
        let Some((plain, tag)) = self.known(file, number, (plain, filled), first).await? else {
            return Ok(());
        };
        let journal = transfer.map(|transfer| Noted { transfer, hash: so_far });
        let plain_length = filled as u32;
        self.start(Lone { file, number, plain, plain_length, tag, journal }).await
    }

    /// Adds a small file to the packs.
    async fn pack(
        &mut self,
        file: usize,
        (plain, filled): (Buffer, usize),
        hash: Hash,
    ) -> Result<(), ClientError> {
        if let Some(open) = self.open.get_mut(&file) {
            open.expected = Some(1);
        }
        if filled <= SEAL_INLINE_BYTES_MAX {
            let tag = self.client.keys.content_tag(&hash, filled as u64);
            self.staged.push(Staged { file, plain: plain[..filled].to_vec(), tag });
            if self.staged.len() < STAGED_MAX {
                return Ok(());
            }
            return self.pack_staged().await;
        }
        let Some((plain, tag)) = self.known(file, 0, (plain, filled), Some(hash)).await? else {
            return Ok(());
        };
        let forge = self.sender.forge.clone();
        let sealing = block(self.client.executor(), move || forge.small(&plain[..filled]));
        let small = sealing.await.ok_or(ClientError::Shutdown)??;
        self.add_to_pack(file, small, tag).await
    }

    /// Looks for the contents of the staged files, and packs those that are not there.
    async fn pack_staged(&mut self) -> Result<(), ClientError> {
        let staged = std::mem::take(&mut self.staged);
        let having = self.having(staged.iter().map(|staged| staged.tag).collect()).await;
        for (Staged { file, plain, tag }, having) in staged.into_iter().zip(having) {
            if !self.taken(file, 0, (tag, plain.len()), having).await {
                let small = self.sender.forge.small(&plain)?;
                self.add_to_pack(file, small, tag).await?;
            }
        }
        Ok(())
    }

    async fn add_to_pack(
        &mut self,
        file: usize,
        small: SealedSmall,
        tag: ContentTag,
    ) -> Result<(), ClientError> {
        let hears = self.packing.add(file, small, tag).await?;
        self.packed.extend(hears);
        self.commit_soon().await?;
        // What has landed meanwhile is booked, so that it does not wait for the end of the stream.
        while let Some(Some(finished)) = self.packed.next().now_or_never() {
            self.book(finished)?;
        }
        Ok(())
    }

    /// Starts on a segment of a large file, after waiting until there is room for it.
    async fn start(&mut self, lone: Lone) -> Result<(), ClientError> {
        while self.lone.len() >= SEGMENTS_IN_FLIGHT {
            self.settle_one().await?;
        }
        self.commit_soon().await?;
        let (told, hears) = oneshot::channel();
        let (sender, scheme) = (self.sender.clone(), self.scheme);
        self.client.executor().spawn(Box::pin(async move {
            let finished = lone.run(&sender, scheme).await;
            drop(told.send(finished));
        }));
        self.lone.push(hears);
        Ok(())
    }

    /// Waits for one segment and books its slices.
    async fn settle_one(&mut self) -> Result<(), ClientError> {
        let finished = tokio::select! {
            biased;
            Some(finished) = self.lone.next() => finished,
            Some(finished) = self.packed.next() => finished,
            else => return Ok(()),
        };
        self.book(finished)
    }

    fn book(
        &mut self,
        finished: Result<Finished, oneshot::error::RecvError>,
    ) -> Result<(), ClientError> {
        match finished.map_err(|_| ClientError::Shutdown)? {
            Ok(done) => {
                let Some(stored) = done.stored else { return Ok(()) };
                let room = FAULTS_MAX.saturating_sub(self.report.faults.len());
                self.report.faults.extend(stored.faults.iter().take(room).cloned());
                for (file, number, slice) in done.slices {
                    self.arrived(&slice, &stored);
                    let Some(open) = self.open.get_mut(&file) else { continue };
                    open.slices.insert(number, slice);
                    open.margin = open.margin.min(stored.margin);
                    open.owed.extend(stored.owed.iter().map(|shard| (stored.segment, *shard)));
                    open.sending.extend(stored.sending.clone());
                    self.ready(file);
                }
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
            first = self.pack_staged().await;
            self.packing.want();
        } else {
            self.packing.leave();
        }
        while !self.lone.is_empty() || !self.packed.is_empty() {
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
}

impl Open {
    /// The segments of its slices.
    fn segments(&self) -> Vec<SegmentId> {
        self.slices.values().map(|slice| slice.segment).collect()
    }

    fn new(head: EntryHead, tags: Vec<String>) -> Self {
        Self {
            head,
            tags,
            size: 0,
            hash: Hash([0; 32]),
            slices: BTreeMap::new(),
            expected: None,
            inline: None,
            margin: u8::MAX,
            owed: Vec::new(),
            transfer: None,
            sending: Vec::new(),
            known: 0,
            referred: Vec::new(),
        }
    }
}
