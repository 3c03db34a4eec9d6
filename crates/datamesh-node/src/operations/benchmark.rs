//! The operation that measures: the machine at its best first, then what was asked for, each figure beside
//! the one that bounds it.
//!
//! What is written to the disk is gone when its figure is taken, and the files that go into the mesh are given
//! up in the end, also where something fails on the way; their shards lie in the trash of nodes for its time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_api::{
    BenchmarkReply, BenchmarkRequest, ErrorKind, EventFn, Figure, FigureGroup, FigureLimit,
    GetRequest, OperationError, PurgeRequest, PutRequest, RemoveRequest,
};
use datamesh_core::catalog::EntryKind;
use datamesh_core::stream::{EntryHead, PIECE_BYTES_MAX, Piece, Sink, Source, StreamError};
use datamesh_core::{BoxFuture, MeshPath, NodeId, seam};
use datamesh_engine::Standing;
use datamesh_measure::{
    MIB, MeasureError, Rate, ShardStore, cached_write, copy, hash, loopback, noise, seal,
    small_files, synced_writes,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::HomeOperations;
use crate::system::SystemEntropy;

/// Bytes of a small file, and of a small shard.
const SMALL: usize = 64 * 1024;

/// Most bytes that a figure which repeats one thing on the disk writes.
const REPEATED_MAX: u64 = 256 << 20;

/// Most bytes that are stored and fetched over the mesh for one figure.
const FILE_MAX: u64 = 8 << 30;

/// Free bytes that stay for whatever else writes to the disk meanwhile.
const SPARE: u64 = 1 << 30;

/// Nodes to which the way is measured.
const WAYS: usize = 3;

/// Small files of one iteration.
const SMALL_FILES: u64 = 10;

const COPY: &str = "memory, copied";
const SEAL: &str = "AES-256-GCM, 64 KiB frames";
const LOOPBACK: &str = "TCP over loopback";
const SYNC_SMALL: &str = "disk, 4 KiB with a sync each";
const SYNC_LARGE: &str = "disk, 1 MiB with a sync each";
const SYNC_GROUP: &str = "disk, 8 MiB with a sync each";
const CACHED: &str = "file system, through the page cache";

/// What a figure counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Megabytes,
    Times,
    Milliseconds,
}

impl Unit {
    fn text(self) -> &'static str {
        match self {
            Self::Megabytes => "MB/s",
            Self::Times => "1/s",
            Self::Milliseconds => "ms",
        }
    }

    fn of(self, rate: &Rate) -> f64 {
        match self {
            Self::Megabytes => rate.bytes_per_second() / 1e6,
            Self::Times => rate.per_second(),
            Self::Milliseconds => rate.time.as_secs_f64() * 1000.0 / rate.count.max(1) as f64,
        }
    }
}

/// The figures so far.
#[derive(Default)]
struct Figures {
    figures: Vec<Figure>,
    /// Medians of the machine's, by name and unit.
    limits: BTreeMap<(&'static str, &'static str), f64>,
    skipped: Vec<String>,
}

impl Figures {
    /// Adds a figure from its values, of which there is at least one.
    fn add(
        &mut self,
        group: FigureGroup,
        name: impl Into<String>,
        unit: Unit,
        limit: Option<&'static str>,
        values: &[f64],
    ) {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else { return };
        let value = sorted[sorted.len() / 2];
        let limit = limit.and_then(|name| {
            let best = self.limits.get(&(name, unit.text()))?;
            Some(FigureLimit { name: name.to_owned(), ratio: value / best })
        });
        self.figures.push(Figure {
            group,
            name: name.into(),
            node: None,
            value,
            unit: unit.text().to_owned(),
            least: *least,
            most: *most,
            iterations: values.len() as u64,
            limit,
        });
    }

    /// Adds a figure of the way to a node.
    fn way(
        &mut self,
        node: NodeId,
        name: &str,
        unit: Unit,
        limit: Option<&'static str>,
        values: &[f64],
    ) {
        let count = self.figures.len();
        self.add(FigureGroup::Network, name, unit, limit, values);
        self.figures.iter_mut().skip(count).for_each(|figure| figure.node = Some(node));
    }

    /// Adds a figure of the machine, which others have as their limit.
    fn machine(&mut self, name: &'static str, unit: Unit, rates: &[Rate]) {
        let values: Vec<f64> = rates.iter().map(|rate| unit.of(rate)).collect();
        self.add(FigureGroup::Machine, name, unit, None, &values);
        if let Some(figure) = self.figures.last() {
            self.limits.insert((name, unit.text()), figure.value);
        }
    }
}

/// What is measured on this machine, away from the tasks.
struct Local {
    folder: PathBuf,
    time: Duration,
    size: u64,
    iterations: u32,
    unwanted: CancellationToken,
}

impl Local {
    fn each(
        &self,
        mut measure: impl FnMut() -> Result<Rate, MeasureError>,
    ) -> Result<Vec<Rate>, MeasureError> {
        let measure = |_| {
            if self.unwanted.is_cancelled() {
                return Err(MeasureError::Broken("the measurement"));
            }
            measure()
        };
        (0..self.iterations).map(measure).collect()
    }

    fn machine(&self, figures: &mut Figures) -> Result<(), MeasureError> {
        let folder = &self.folder;
        figures.machine(COPY, Unit::Megabytes, &self.each(|| copy(self.time))?);
        figures.machine(SEAL, Unit::Megabytes, &self.each(|| seal(self.time))?);
        figures.machine("BLAKE3, 1 MiB", Unit::Megabytes, &self.each(|| hash(self.time))?);
        let over_loopback = self.each(|| loopback(self.size.clamp(256 << 20, 4 << 30)))?;
        figures.machine(LOOPBACK, Unit::Megabytes, &over_loopback);
        // As many as a slow disk syncs in some seconds.
        let syncs = self.each(|| synced_writes(folder, 4096, 4096 * 256))?;
        figures.machine(SYNC_SMALL, Unit::Times, &syncs);
        let latencies: Vec<f64> = syncs.iter().map(|rate| Unit::Milliseconds.of(rate)).collect();
        figures.add(FigureGroup::Machine, SYNC_SMALL, Unit::Milliseconds, None, &latencies);
        let total = self.size.min(REPEATED_MAX);
        let large = self.each(|| synced_writes(folder, MIB, total))?;
        figures.machine(SYNC_LARGE, Unit::Megabytes, &large);
        let group = self.each(|| synced_writes(folder, 8 * MIB, self.size))?;
        figures.machine(SYNC_GROUP, Unit::Megabytes, &group);
        let cached = self.each(|| cached_write(folder, self.size))?;
        figures.machine(CACHED, Unit::Megabytes, &cached);
        Ok(())
    }

    fn storage(&self, figures: &mut Figures) -> Result<(), MeasureError> {
        let folder = &self.folder;
        let megabytes = |rates: &[Rate]| -> Vec<f64> {
            rates.iter().map(|rate| Unit::Megabytes.of(rate)).collect()
        };
        let storage = FigureGroup::Storage;
        let count = (self.size.min(REPEATED_MAX) / MIB as u64).max(1);
        let one = self.each(|| ShardStore::below(folder)?.append(MIB, 1, count))?;
        let name = "shards of 1 MiB stored, one after another";
        figures.add(storage, name, Unit::Megabytes, Some(SYNC_LARGE), &megabytes(&one));
        let eight = self.each(|| ShardStore::below(folder)?.append(MIB, 8, count))?;
        let name = "shards of 1 MiB stored, eight at once";
        figures.add(storage, name, Unit::Megabytes, Some(SYNC_GROUP), &megabytes(&eight));
        let small = self.each(|| ShardStore::below(folder)?.append(SMALL, 8, 256))?;
        let times: Vec<f64> = small.iter().map(|rate| Unit::Times.of(rate)).collect();
        let name = "shards of 64 KiB stored, eight at once";
        // Several share a sync, so that the rate of these is no limit.
        figures.add(storage, name, Unit::Times, None, &times);
        let read = self.each(|| ShardStore::below(folder)?.read(self.time))?;
        let name = "shards of 1 MiB read back";
        figures.add(storage, name, Unit::Megabytes, Some(COPY), &megabytes(&read));
        let files = self.each(|| small_files(folder, 256, SMALL))?;
        let times: Vec<f64> = files.iter().map(|rate| Unit::Times.of(rate)).collect();
        figures.add(storage, "files of 64 KiB made and renamed", Unit::Times, None, &times);
        Ok(())
    }
}

/// Bytes that anybody may still write where this folder is.
fn free_bytes(folder: &Path) -> Result<u64, OperationError> {
    let stat = rustix::fs::statvfs(folder).map_err(|error| {
        let message = format!("the file system of {} does not say its size", folder.display());
        OperationError::new(ErrorKind::Failed, format!("{message}: {error}"))
    })?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn check(request: &BenchmarkRequest) -> Result<(), OperationError> {
    let wrong = |message: &str| Err(OperationError::usage(message));
    if !BenchmarkRequest::SIZES.contains(&request.size) {
        return wrong("the size is between 1 MiB and 64 GiB");
    }
    if !BenchmarkRequest::DURATIONS_MS.contains(&request.duration_ms) {
        return wrong("the duration is between 10 ms and 60 s");
    }
    if !BenchmarkRequest::ITERATIONS.contains(&request.iterations) {
        return wrong("between 1 and 100 iterations are made");
    }
    if request.network && request.size > FILE_MAX {
        return wrong("at most 8 GiB are stored in the mesh for a figure");
    }
    Ok(())
}

impl HomeOperations {
    pub(super) async fn do_benchmark(
        &self,
        request: BenchmarkRequest,
    ) -> Result<BenchmarkReply, OperationError> {
        check(&request)?;
        let folder = self.measuring_folder()?;
        let needed = request.size.saturating_mul(3).saturating_add(SPARE);
        let free = free_bytes(&folder)?;
        if free < needed {
            let (needed, free) = (bytesize::ByteSize(needed), bytesize::ByteSize(free));
            let place = folder.display();
            let message = format!(
                "it takes {needed} of free space in {place} to measure, and {free} are free"
            );
            return Err(OperationError::usage(message).hint("take a smaller --size"));
        }
        let unwanted = CancellationToken::new();
        let local = Local {
            folder,
            time: Duration::from_millis(request.duration_ms),
            size: request.size,
            iterations: request.iterations,
            unwanted: unwanted.clone(),
        };
        // When nobody waits for this any more it is dropped, and what goes on beside it ends.
        let _wanted = unwanted.drop_guard();
        let measuring = tokio::task::spawn_blocking(move || {
            let mut figures = Figures::default();
            local.machine(&mut figures)?;
            if request.storage {
                local.storage(&mut figures)?;
            }
            Ok::<_, MeasureError>(figures)
        });
        let mut figures = measuring
            .await
            .map_err(|_| OperationError::new(ErrorKind::Failed, "the measurement broke off"))?
            .map_err(|error| OperationError::of(ErrorKind::Failed, &error))?;
        if request.network {
            self.measure_ways(&request, &mut figures).await?;
            if self.shared.catalog.is_some() {
                self.measure_files(&request, &mut figures).await?;
            } else {
                figures.skipped.push("files: there is no account in this home".to_owned());
            }
        }
        Ok(BenchmarkReply { figures: figures.figures, skipped: figures.skipped })
    }

    /// Where is measured: on the disk of the shards, where a node runs here.
    fn measuring_folder(&self) -> Result<PathBuf, OperationError> {
        let store = self.home().file("node");
        let folder = if store.is_dir() { store } else { self.home().path().to_owned() };
        if folder.is_dir() {
            return Ok(folder);
        }
        let message = format!("there is no folder {} to measure in", folder.display());
        Err(OperationError::usage(message)
            .hint("make an account or join a mesh first: datamesh init, datamesh join"))
    }

    async fn measure_ways(
        &self,
        request: &BenchmarkRequest,
        figures: &mut Figures,
    ) -> Result<(), OperationError> {
        let engine = self.engine().await?;
        engine.look_around().await;
        let local = engine.transport().local();
        let mut nodes: Vec<_> = engine
            .peers()
            .into_iter()
            .filter(|peer| peer.standing == Standing::Alive)
            .map(|peer| peer.member.advert.node())
            .filter(|node| *node != local)
            .collect();
        if nodes.is_empty() {
            figures.skipped.push("ways: no other node answers".to_owned());
        }
        nodes.truncate(WAYS);
        // Round trips take a fifth of the time, each direction two fifths.
        let time = Duration::from_millis(request.duration_ms) * 5;
        for node in nodes {
            let (mut trips, mut up, mut down) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..request.iterations {
                match engine.measure_way(node, time, request.size).await {
                    Ok(way) => {
                        let ms = way.round_trips.iter().map(|trip| trip.as_secs_f64() * 1000.0);
                        trips.extend(ms);
                        let rate = |bytes: u64, time: Duration| {
                            bytes as f64 / 1e6 / time.as_secs_f64().max(f64::MIN_POSITIVE)
                        };
                        up.push(rate(way.up.bytes, way.up.time));
                        down.push(rate(way.down.bytes, way.down.time));
                    }
                    Err(error) => {
                        figures.skipped.push(format!("the way to {node}: {error}"));
                        break;
                    }
                }
            }
            let limit = Some(LOOPBACK);
            figures.way(node, "round trip", Unit::Milliseconds, None, &trips);
            figures.way(node, "bytes to a node", Unit::Megabytes, limit, &up);
            figures.way(node, "bytes from a node", Unit::Megabytes, limit, &down);
        }
        Ok(())
    }

    async fn measure_files(
        &self,
        request: &BenchmarkRequest,
        figures: &mut Figures,
    ) -> Result<(), OperationError> {
        let drawn: [u8; 8] = seam::random(&SystemEntropy);
        let folder = format!(".benchmark-{:016x}", u64::from_le_bytes(drawn));
        let measured = self.store_and_fetch(request, &folder, figures).await;
        // Whatever came of it: nothing of it stays.
        let given_up = self.give_up(&folder).await;
        measured?;
        given_up.map_err(|error| {
            let message = format!("\"{folder}\" is left in the account: {}", error.message);
            OperationError::new(ErrorKind::Failed, message)
                .hint("datamesh remove -r, then datamesh versions --purge --force")
        })
    }

    async fn store_and_fetch(
        &self,
        request: &BenchmarkRequest,
        folder: &str,
        figures: &mut Figures,
    ) -> Result<(), OperationError> {
        let (mut put, mut get) = (Vec::new(), Vec::new());
        let (mut small_put, mut small_get) = (Vec::new(), Vec::new());
        for iteration in 0..request.iterations {
            let name = format!("{folder}/large-{iteration}");
            let (stored, fetched) = self.round(&name, request.size).await?;
            put.push(request.size as f64 / 1e6 / stored.as_secs_f64());
            get.push(request.size as f64 / 1e6 / fetched.as_secs_f64());
            for number in 0..SMALL_FILES {
                let name = format!("{folder}/small-{iteration}-{number}");
                let (stored, fetched) = self.round(&name, SMALL as u64).await?;
                small_put.push(stored.as_secs_f64() * 1000.0);
                small_get.push(fetched.as_secs_f64() * 1000.0);
            }
        }
        let network = FigureGroup::Network;
        let name = |what: &str, bytes: u64| format!("file of {} {what}", bytesize::ByteSize(bytes));
        let (large, small) = (request.size, SMALL as u64);
        figures.add(network, name("stored", large), Unit::Megabytes, Some(SYNC_GROUP), &put);
        figures.add(network, name("fetched", large), Unit::Megabytes, Some(CACHED), &get);
        figures.add(network, name("stored", small), Unit::Milliseconds, None, &small_put);
        figures.add(network, name("fetched", small), Unit::Milliseconds, None, &small_get);
        Ok(())
    }

    /// Stores a file of noise and fetches it; returns how long each took.
    async fn round(&self, name: &str, size: u64) -> Result<(Duration, Duration), OperationError> {
        let path: MeshPath = name
            .parse()
            .map_err(|_| OperationError::new(ErrorKind::Failed, "the name is no path"))?;
        let events = || -> EventFn { Arc::new(|_| {}) };
        let mut noise = Noise::new(path, size);
        let began = Instant::now();
        let stored = self.do_put(PutRequest::default(), &mut noise, events()).await?;
        let put = began.elapsed();
        if let Some(failure) = stored.failed.first() {
            return Err(OperationError::new(ErrorKind::Failed, &failure.reason));
        }
        let request = GetRequest::File { name: name.to_owned(), version: None, range: None };
        let mut nowhere = Nowhere::default();
        let began = Instant::now();
        self.do_get(request, &mut nowhere, events()).await?;
        let get = began.elapsed();
        if nowhere.bytes != size {
            let message = format!("{} of {size} bytes came back", nowhere.bytes);
            return Err(OperationError::new(ErrorKind::Failed, message));
        }
        Ok((put, get))
    }

    /// Removes everything below a folder for good.
    async fn give_up(&self, folder: &str) -> Result<(), OperationError> {
        let request = RemoveRequest { names: vec![folder.to_owned()], recursive: true };
        let removed = match self.do_remove(request).await {
            Ok(removed) => removed.removed,
            // The first put failed.
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let names = removed.iter().map(ToString::to_string).collect();
        let request = PurgeRequest { names, force: true, ..PurgeRequest::default() };
        self.do_purge(request).await.map(drop)
    }
}

/// One file of noise, which no compression makes smaller and no other file is like.
struct Noise {
    path: Option<MeshPath>,
    size: u64,
    left: u64,
    seed: u64,
}

impl Noise {
    fn new(path: MeshPath, size: u64) -> Self {
        let seed = u64::from_le_bytes(seam::random(&SystemEntropy));
        Self { path: Some(path), size, left: size, seed }
    }
}

impl Source for Noise {
    fn next_entry(&mut self) -> BoxFuture<'_, Result<Option<EntryHead>, StreamError>> {
        let head = self.path.take().map(|path| EntryHead {
            path,
            kind: EntryKind::File,
            mode: 0,
            modified: 0,
            tags: Vec::new(),
            size: Some(self.size),
            source: None,
            hash: None,
        });
        Box::pin(async move { Ok(head) })
    }

    fn next_piece(&mut self) -> BoxFuture<'_, Result<Piece, StreamError>> {
        Box::pin(async move {
            if self.left == 0 {
                return Ok(Piece::End);
            }
            let length = self.left.min(PIECE_BYTES_MAX as u64);
            let mut piece = vec![0; length as usize];
            noise(self.seed.wrapping_add(self.left), &mut piece);
            self.left -= length;
            Ok(Piece::Bytes(Bytes::from(piece)))
        })
    }
}

/// Where fetched bytes are counted and dropped.
#[derive(Default)]
struct Nowhere {
    bytes: u64,
}

impl Sink for Nowhere {
    fn begin(&mut self, _: EntryHead) -> BoxFuture<'_, Result<u64, StreamError>> {
        Box::pin(async { Ok(0) })
    }

    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), StreamError>> {
        self.bytes += bytes.len() as u64;
        Box::pin(async { Ok(()) })
    }

    fn end(&mut self, failure: Option<String>) -> BoxFuture<'_, Result<(), StreamError>> {
        Box::pin(async move { failure.map_or(Ok(()), |reason| Err(StreamError::new(reason))) })
    }
}

#[cfg(test)]
mod tests {
    use datamesh_crypto::compress::{Effort, Zstd};

    use super::*;

    #[tokio::test]
    async fn no_compression_makes_noise_smaller() {
        let Ok(path) = "noise".parse::<MeshPath>() else { panic!("it is a path") };
        let mut noise = Noise::new(path.clone(), 4_000_001);
        let mut content = Vec::new();
        while let Ok(Piece::Bytes(piece)) = noise.next_piece().await {
            content.extend_from_slice(&piece);
        }
        assert_eq!(content.len(), 4_000_001);
        for effort in [Effort::Put, Effort::Rest] {
            assert_eq!(Zstd::default().shrunk(&content, effort), None);
        }
        assert_ne!(noise.seed, Noise::new(path, 1).seed);
    }
}
