//! Fetching: manifests become slices, slices are fetched ahead of the reader, opened, checked and
//! handed on in order.
//!
//! Promised: no byte reaches the sink that was not verified against its shard's root or proof and
//! opened with its slice's key; an entry ends well only if the whole content has its version's
//! hash. Where the sink has the beginning of a large file already, only the rest is fetched, and
//! the hash of the whole is for the sink to check.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use datamesh_core::catalog::{Content, EntryKind, Put, SealedContent};
use datamesh_core::stream::{EntryHead, PIECE_BYTES_MAX, Sink, StreamError};
use datamesh_core::{BoxFuture, FileId, Hash, MeshPath, Timestamp, VersionId, wire};
use datamesh_crypto::manifest::Compression;
use datamesh_crypto::{Manifest, ShareBody, Slice, VersionKey};
use datamesh_engine::{Engine, Fault, Urgency};
use tokio::sync::oneshot;

use super::put::EntryFailure;
use super::slices::{Fetch, Opened, Opening, Shared};
use crate::below::{Below, PAGE, current};
use crate::client::{Client, Progress, ProgressFn};
use crate::error::ClientError;

/// Plaintext fetched ahead of the reader.
const AHEAD_BYTES: usize = 20 * 1024 * 1024;

/// Slices fetched ahead of the reader, however small.
const AHEAD_SLICES: usize = 64;

/// Faults that a report lists.
const FAULTS_MAX: usize = 100;

/// A version to fetch, and the name it gets at the sink.
pub struct GetItem {
    /// The version.
    pub put: Box<Put>,
    /// Its name at the sink.
    pub path: MeshPath,
    /// Only these bytes; `None` for all.
    pub range: Option<(u64, u64)>,
}

/// What to fetch.
pub enum Wanted {
    /// One version.
    One(GetItem),
    /// The current versions of everything below a folder, each under its name below it; of all
    /// files, under their whole names, where there is none.
    Below(Option<MeshPath>),
    /// The current versions of these files, under their whole names, at most so many of them under
    /// way at once; 0 for as many as memory is meant for. One that is not there is a failure.
    Files(Vec<MeshPath>, usize),
}

/// A version to fetch, whoever's it is, with the key that opens it.
struct Item {
    /// Its name at the sink.
    path: MeshPath,
    kind: EntryKind,
    mode: u32,
    modified: Timestamp,
    size: u64,
    hash: Hash,
    /// The file, where it is one of the account's.
    file: Option<FileId>,
    version: VersionId,
    key: Result<VersionKey, ClientError>,
    content: Content,
    /// The longest manifest that is read for it.
    manifest_bytes_max: u64,
    /// Only these bytes; `None` for all.
    range: Option<(u64, u64)>,
}

/// Longest manifest of a version that somebody else made, so that nobody chooses how much memory a reader
/// takes: enough for 2 TiB.
const FOREIGN_MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;

impl Item {
    /// A version of the account.
    fn of(client: &Client, item: GetItem) -> Self {
        let GetItem { put, path, range } = item;
        let Put { kind, mode, modified, size, hash, file, version, key, content, .. } = *put;
        let key = client.keys.unwrap_key(&version, &key).map_err(ClientError::from);
        let (file, manifest_bytes_max) = (Some(file), u64::MAX);
        Self {
            path,
            kind,
            mode,
            modified,
            size,
            hash,
            file,
            version,
            key,
            content,
            manifest_bytes_max,
            range,
        }
    }

    /// What somebody shares.
    fn shared(body: ShareBody) -> Self {
        let ShareBody { name, mode, modified, size, hash, version, key, content, .. } = body;
        // A stranger's name is neither hidden nor one that a shell or another program reads by itself.
        let shown = name.as_str().trim_start_matches('.');
        let name = if shown == name.as_str() {
            name
        } else {
            format!("shared.{shown}").parse().unwrap_or(name)
        };
        Self {
            path: name,
            kind: EntryKind::File,
            mode,
            modified,
            size,
            hash,
            file: None,
            version,
            key: Ok(key),
            content,
            manifest_bytes_max: FOREIGN_MANIFEST_BYTES_MAX,
            range: None,
        }
    }
}

/// Files of a get that are named in its report.
const FETCHED_MAX: usize = 65_536;

/// What came of a get.
#[derive(Debug, Default)]
pub struct GetReport {
    /// Entries that arrived whole.
    pub files: u64,
    /// The files among them, at most the first 65,536.
    pub fetched: Vec<FileId>,
    /// Bytes that they have.
    pub bytes: u64,
    /// How many of these the sink had already.
    pub resumed_bytes: u64,
    /// Entries that did not.
    pub failed: Vec<EntryFailure>,
    /// The first error behind them.
    pub error: Option<ClientError>,
    /// Peers that failed on the way.
    pub faults: Vec<Fault>,
}

/// One step of the stream, in order.
enum Step {
    Begin(EntryHead),
    Plain(Bytes),
    /// A slice under way.
    Slice(oneshot::Receiver<Result<Opened, ClientError>>, Arc<Urgency>, usize),
    /// The entry's end, and the hash that what was fetched must have.
    End(MeshPath, Option<FileId>, Option<Hash>),
    /// The entry cannot be begun or goes no further.
    Broken(ClientError),
}

impl Client {
    /// Fetches versions to a sink, in order. Entries that fail are reported and the others go on.
    ///
    /// # Errors
    /// [`ClientError::Stream`] where the sink breaks, [`ClientError::NothingBelow`], and
    /// [`ClientError::Catalog`] where the catalog cannot say what is below.
    pub fn get<'a>(
        &'a self,
        wanted: Wanted,
        sink: &'a mut dyn Sink,
        progress: Option<ProgressFn>,
    ) -> BoxFuture<'a, Result<GetReport, ClientError>> {
        Box::pin(async move {
            let fetch = match wanted {
                Wanted::One(_) => Fetch::Alone,
                Wanted::Below(_) | Wanted::Files(..) => Fetch::Shared(Arc::new(Shared::default())),
            };
            let mut run = GetRun::new(Opening::of(self), fetch, progress);
            match wanted {
                Wanted::One(item) => run.schedule(Item::of(self, item), sink).await?,
                Wanted::Below(folder) => {
                    let mut below = Below::new(self, folder.clone());
                    let mut page = below.page().await?;
                    while !page.is_empty() {
                        for put in page {
                            if folder.as_ref() == Some(&put.path) {
                                // It is where the others go, so the sink has it already.
                                continue;
                            }
                            let inner = folder.as_ref().and_then(|folder| put.path.below(folder));
                            let inner = inner.and_then(|inner| inner.parse().ok());
                            let path = inner.unwrap_or_else(|| put.path.clone());
                            let item = Item::of(self, GetItem { put, path, range: None });
                            run.schedule(item, sink).await?;
                        }
                        page = below.page().await?;
                    }
                }
                Wanted::Files(paths, parallel) => {
                    for batch in paths.chunks(PAGE) {
                        let asked = batch.to_vec();
                        let puts = self.catalog_call(move |catalog| {
                            let each = asked.iter().map(|path| current(catalog, path));
                            each.collect::<Result<Vec<_>, _>>()
                        });
                        for (path, put) in batch.iter().zip(puts.await?) {
                            while parallel > 0 && run.entries >= parallel {
                                run.step(sink).await?;
                            }
                            let path = path.clone();
                            match put {
                                Some(put) => {
                                    let item = GetItem { put, path, range: None };
                                    run.schedule(Item::of(self, item), sink).await?;
                                }
                                None => run.missing(path),
                            }
                        }
                    }
                }
            }
            run.end(sink).await
        })
    }
}

/// Fetches what a share holds to a sink. Needs no account: its keys are in the share.
///
/// # Errors
/// [`ClientError::Stream`] where the sink breaks; other errors are in the report.
pub fn get_shared<'a>(
    engine: &'a Arc<Engine>,
    body: ShareBody,
    sink: &'a mut dyn Sink,
    progress: Option<ProgressFn>,
) -> BoxFuture<'a, Result<GetReport, ClientError>> {
    Box::pin(async move {
        let mut run = GetRun::new(Opening::over(engine), Fetch::Alone, progress);
        run.schedule(Item::shared(body), sink).await?;
        run.end(sink).await
    })
}

/// The entry that the sink has open.
struct Entry {
    path: MeshPath,
    /// Of what was fetched.
    hasher: blake3::Hasher,
    bytes: u64,
    /// Bytes that the sink had before.
    held: u64,
    failed: bool,
}

impl Entry {
    fn new(path: MeshPath, held: u64) -> Self {
        Self { path, hasher: blake3::Hasher::new(), bytes: held, held, failed: false }
    }
}

/// What a slice under way has in memory: a compressed one opens whole, beside what it opens from.
fn weight(slice: &Slice, part: &std::ops::Range<usize>) -> usize {
    match slice.compression {
        Compression::None => part.len(),
        Compression::Zstd => slice.plain_length as usize + slice.opened_length(),
    }
}

struct GetRun {
    opening: Opening,
    fetch: Fetch,
    steps: VecDeque<Step>,
    /// Entries whose end is among the steps.
    entries: usize,
    /// Plaintext bytes of the slices under way.
    ahead: usize,
    report: GetReport,
    entry: Option<Entry>,
    progress: Option<ProgressFn>,
    done: Progress,
}

impl GetRun {
    fn new(opening: Opening, fetch: Fetch, progress: Option<ProgressFn>) -> Self {
        Self {
            opening,
            fetch,
            steps: VecDeque::new(),
            entries: 0,
            ahead: 0,
            report: GetReport::default(),
            entry: None,
            progress,
            done: Progress::default(),
        }
    }

    /// Carries the stream to its end.
    async fn end(mut self, sink: &mut dyn Sink) -> Result<GetReport, ClientError> {
        while !self.steps.is_empty() {
            self.step(sink).await?;
        }
        Ok(self.report)
    }

    async fn schedule(&mut self, item: Item, sink: &mut dyn Sink) -> Result<(), ClientError> {
        let (start, end) = item.range.unwrap_or((0, item.size));
        let hash = (item.range.is_none() && item.kind == EntryKind::File).then_some(item.hash);
        let (path, file) = (item.path.clone(), item.file);
        let head = EntryHead {
            path: path.clone(),
            kind: item.kind,
            mode: item.mode,
            modified: item.modified,
            tags: Vec::new(),
            size: Some(end - start),
            source: None,
            hash,
        };
        let mut held = 0;
        if head.resumable().is_some() {
            // What is to be fetched is known only when the sink has begun.
            while !self.steps.is_empty() {
                self.step(sink).await?;
            }
            held = self.begin(head, sink).await?;
        } else {
            self.steps.push_back(Step::Begin(head));
        }
        let content = self.content(item, start + held, end, sink).await;
        self.entries += 1;
        if let Err(error) = content {
            if matches!(error, ClientError::Stream(_)) {
                return Err(error);
            }
            self.steps.push_back(Step::Broken(error));
            return Ok(());
        }
        self.steps.push_back(Step::End(path, file, hash.filter(|_| held == 0)));
        Ok(())
    }

    /// Begins an entry at the sink. Returns how many bytes it has already.
    async fn begin(&mut self, head: EntryHead, sink: &mut dyn Sink) -> Result<u64, ClientError> {
        let path = head.path.clone();
        let most = head.resumable().map_or(0, |(_, size)| size);
        let held = sink.begin(head).await?;
        if held > most {
            let text = format!("{held} bytes of \"{path}\" cannot be there already");
            return Err(StreamError::new(text).into());
        }
        self.done.bytes += held;
        self.entry = Some(Entry::new(path, held));
        Ok(held)
    }

    async fn content(
        &mut self,
        item: Item,
        start: u64,
        end: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), ClientError> {
        let content = item.content;
        let opened = item.key?.open(&item.version, content.tag(), content.sealed())?;
        let manifest = match content {
            Content::Inline(_) => {
                let part = opened.get(start as usize..end as usize).unwrap_or_default();
                self.steps.push_back(Step::Plain(Bytes::copy_from_slice(part)));
                return Ok(());
            }
            Content::Manifest(_) => {
                wire::decode::<Manifest>(&opened).map_err(ClientError::Manifest)?
            }
            Content::Meta(_) => {
                let meta = wire::decode::<Manifest>(&opened).map_err(ClientError::Manifest)?;
                if meta.size > item.manifest_bytes_max {
                    let (size, bound) = (meta.size, item.manifest_bytes_max);
                    return Err(ClientError::ManifestLong { size, bound });
                }
                self.opening.long_manifest(&meta).await?
            }
        };
        let mut at = 0u64;
        for slice in manifest.slices {
            let (from, to) = (at, at + u64::from(slice.plain_length));
            at = to;
            if to <= start || from >= end {
                continue;
            }
            let part = (start.max(from) - from) as usize..(end.min(to) - from) as usize;
            while !self.steps.is_empty()
                && (self.ahead + weight(&slice, &part) > AHEAD_BYTES
                    || self.steps.len() >= AHEAD_SLICES * 3)
            {
                self.step(sink).await?;
            }
            self.start(slice, part);
        }
        Ok(())
    }

    /// Starts fetching part of a slice.
    fn start(&mut self, slice: Slice, part: std::ops::Range<usize>) {
        let weight = weight(&slice, &part);
        self.ahead += weight;
        let (sender, receiver) = oneshot::channel();
        let urgent = Arc::new(Urgency::default());
        let (opening, fetch) = (self.opening.clone(), self.fetch.clone());
        let waiting = Arc::clone(&urgent);
        let executor = Arc::clone(self.opening.engine.executor());
        executor.spawn(Box::pin(async move {
            let opened = opening.slice(&slice, part, &fetch, &waiting).await;
            drop(sender.send(opened));
        }));
        self.steps.push_back(Step::Slice(receiver, urgent, weight));
    }

    /// Carries the stream one step on.
    async fn step(&mut self, sink: &mut dyn Sink) -> Result<(), ClientError> {
        let Some(step) = self.steps.pop_front() else { return Ok(()) };
        match step {
            Step::Begin(head) => {
                self.begin(head, sink).await?;
            }
            Step::Plain(bytes) => self.write(bytes, sink).await?,
            Step::Slice(receiver, urgent, weight) => {
                urgent.raise();
                let opened = receiver.await.map_err(|_| ClientError::Shutdown);
                self.ahead -= weight;
                match opened.and_then(|opened| opened) {
                    Ok(opened) => {
                        let room = FAULTS_MAX.saturating_sub(self.report.faults.len());
                        self.report.faults.extend(opened.faults.into_iter().take(room));
                        self.write(opened.plain, sink).await?;
                    }
                    Err(error) => self.fail(error, sink).await?,
                }
            }
            Step::End(path, file, hash) => {
                self.entries -= 1;
                let Some(entry) = self.entry.take() else { return Ok(()) };
                if entry.failed {
                    return Ok(());
                }
                let got = Hash(*entry.hasher.finalize().as_bytes());
                if hash.is_some_and(|hash| hash != got) {
                    self.entry = Some(Entry::new(path.clone(), 0));
                    self.fail(ClientError::Hash { path }, sink).await?;
                    self.entry = None;
                    return Ok(());
                }
                sink.end(None).await?;
                self.report.files += 1;
                if self.report.fetched.len() < FETCHED_MAX {
                    self.report.fetched.extend(file);
                }
                self.report.bytes += entry.bytes;
                self.report.resumed_bytes += entry.held;
                self.done.files += 1;
                self.tell();
            }
            Step::Broken(error) => {
                self.entries -= 1;
                self.fail(error, sink).await?;
                self.entry = None;
            }
        }
        Ok(())
    }

    /// A file that was asked for is not there.
    fn missing(&mut self, path: MeshPath) {
        let error = ClientError::NotFound { name: path.to_string() };
        self.report.failed.push(EntryFailure { path, reason: error.to_string() });
        self.report.error.get_or_insert(error);
    }

    fn tell(&self) {
        if let Some(progress) = &self.progress {
            progress(self.done);
        }
    }

    async fn write(&mut self, bytes: Bytes, sink: &mut dyn Sink) -> Result<(), ClientError> {
        let Some(entry) = self.entry.as_mut().filter(|entry| !entry.failed) else {
            return Ok(());
        };
        entry.hasher.update(&bytes);
        entry.bytes += bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE_BYTES_MAX));
            self.done.bytes += piece.len() as u64;
            sink.write(piece).await?;
        }
        self.tell();
        Ok(())
    }

    /// Ends the open entry badly; what still comes of it is passed over.
    async fn fail(&mut self, error: ClientError, sink: &mut dyn Sink) -> Result<(), ClientError> {
        let Some(entry) = self.entry.as_mut().filter(|entry| !entry.failed) else {
            return Ok(());
        };
        entry.failed = true;
        let reason = error.to_string();
        let path = entry.path.clone();
        sink.end(Some(reason.clone())).await?;
        self.report.failed.push(EntryFailure { path, reason });
        self.report.error.get_or_insert(error);
        Ok(())
    }
}

impl Opening {
    /// Fetches a manifest that is stored in segments of its own.
    async fn long_manifest(&self, meta: &Manifest) -> Result<Manifest, ClientError> {
        let urgent = Urgency::default();
        urgent.raise();
        let mut bytes = zeroize::Zeroizing::new(Vec::new());
        for slice in &meta.slices {
            let all = 0..slice.plain_length as usize;
            let opened = self.slice(slice, all, &Fetch::Alone, &urgent).await?;
            bytes.extend_from_slice(&opened.plain);
        }
        wire::decode(&bytes).map_err(ClientError::Manifest)
    }
}

impl Client {
    /// The manifest of a long manifest; nothing for others.
    pub(crate) fn meta_manifest(
        &self,
        sealed: SealedContent<'_>,
    ) -> Result<Option<Manifest>, ClientError> {
        let Content::Meta(_) = sealed.content else { return Ok(None) };
        wire::decode(&self.open(sealed)?).map(Some).map_err(ClientError::Manifest)
    }

    fn open(&self, sealed: SealedContent<'_>) -> Result<zeroize::Zeroizing<Vec<u8>>, ClientError> {
        let SealedContent { version, key, content } = sealed;
        let key = self.keys.unwrap_key(version, key)?;
        Ok(key.open(version, content.tag(), content.sealed())?)
    }

    /// The manifest of a version; nothing where its content lives in the catalog.
    pub(crate) async fn manifest(
        &self,
        sealed: SealedContent<'_>,
    ) -> Result<Option<Manifest>, ClientError> {
        match sealed.content {
            Content::Inline(_) => Ok(None),
            Content::Manifest(_) => {
                wire::decode(&self.open(sealed)?).map(Some).map_err(ClientError::Manifest)
            }
            Content::Meta(_) => {
                let meta = wire::decode(&self.open(sealed)?).map_err(ClientError::Manifest)?;
                Ok(Some(Opening::of(self).long_manifest(&meta).await?))
            }
        }
    }
}
