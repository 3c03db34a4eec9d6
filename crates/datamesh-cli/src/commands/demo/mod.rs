//! `datamesh demo`.

mod compare;
mod mesh;
mod samples;
mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use datamesh_api::{
    GetReply, GetRequest, InfoRequest, OperationError, Operations, OperationsExt, PeerState,
    PeersRequest, PutReply, PutRequest,
};
use datamesh_core::{NodeId, SegmentId};

use crate::context::Context;
use crate::error::{Outcome, Stop, failed, usage};
use crate::output::{Transfer, plural, size, to_stderr, visible};
use datamesh_mirror::local::{LocalSink, LocalSource, Target};

use compare::{Compared, compare};
use mesh::Mesh;
use summary::Summary;

/// Holders that are lost on purpose: as many as 4+2 can lose.
const LOST: usize = 2;

/// How long the nodes may take to know each other.
const MEETING_PATIENCE: Duration = Duration::from_secs(60);

/// Files whose shards are looked up; more would make the demonstration wait without showing more.
const FILES_LOOKED_UP: usize = 500;

/// Free space that the demonstration leaves on the disk, in bytes: a node's store takes nothing more
/// when less is free.
const SPACE_LEFT: u64 = 2 << 30;

/// Show on this machine what a mesh does: store a folder, lose two nodes, read everything back
///
/// Nothing has to be set up. The nodes are real processes of this program which listen on loopback
/// alone, with homes in a temporary folder. Two nodes that hold shards are killed and their disks
/// erased; then everything is fetched and compared with what was stored. At the end all of it is
/// removed, also after an error or Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh demo
  datamesh demo --path ~/photos
  datamesh demo --keep             and go on trying: it says how
  datamesh demo --json             for programs")]
pub(crate) struct DemoArgs {
    /// The folder to store [default: this program and some made-up files]
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,

    /// Leave the mesh running and say how to talk to it and how to stop it
    #[arg(long)]
    keep: bool,

    /// How many nodes
    #[arg(long, value_name = "COUNT", default_value_t = 7, value_parser = clap::value_parser!(u16).range(6..=40))]
    nodes: u16,
}

impl DemoArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let told = Steps::begin();
        let mut mesh = Mesh::prepare(usize::from(self.nodes))?;
        match self.show(context, &told, &mut mesh).await {
            Ok(summary) => {
                summary.tell(&context.output)?;
                summary.outcome()
            }
            Err(stop) => {
                mesh.show_logs();
                Err(stop)
            }
        }
    }

    async fn show(
        &self,
        context: &Context,
        told: &Steps,
        mesh: &mut Mesh,
    ) -> Result<Summary, Stop> {
        let data = match &self.path {
            Some(path) => path.clone(),
            None => {
                let folder = mesh.folder().join("data");
                samples::lay(&folder)?;
                folder
            }
        };
        let (files, bytes) = measured(&data).await?;
        room(mesh.folder(), bytes)?;
        told.step(format!(
            "{} with {} to store, from {}",
            plural(files, "file"),
            size(bytes),
            data.display()
        ));

        told.step(format!("starting {} nodes in {}", self.nodes, mesh.folder().display()));
        mesh.start(storage(bytes), self.keep).await?;
        let operations = mesh.connect().await?;
        let known = met(&*operations, mesh.len()).await?;
        told.step(format!("all {known} nodes know each other"));

        let (put_seconds, stored) = put(context, &*operations, &data).await?;
        let bytes = stored.stored.iter().map(|file| file.size).sum();
        told.step(format!(
            "stored {}, {}, in {:.2} s",
            plural(stored.stored.len() as u64, "file"),
            size(bytes),
            put_seconds
        ));

        let shards = placement(&*operations, &stored).await?;
        let segments: BTreeSet<SegmentId> =
            shards.values().flatten().map(|(segment, _)| *segment).collect();
        let segments = segments.len();
        let lost = mesh.most_loaded(&shards, LOST);
        for node in &lost {
            let name = mesh.lose(*node).map_err(failed)?;
            told.step(format!("{name} is killed and its disk erased"));
        }

        let back = mesh.folder().join("back");
        let (get_seconds, fetched) = get(context, &*operations, &back).await?;
        told.step(format!(
            "fetched {}, {}, in {:.2} s",
            plural(fetched.files, "file"),
            size(fetched.bytes),
            get_seconds
        ));
        let Compared { identical, different } = compare(&data, &back, &stored).await?;
        told.step(format!("compared {}", plural(identical + different.len() as u64, "file")));

        let placed = mesh.describe(&shards, &lost);
        let kept = self.keep.then(|| mesh.keep());
        Ok(Summary {
            nodes: usize::from(self.nodes),
            files: stored.stored.len() as u64,
            bytes,
            scheme: stored.stored.iter().find_map(|file| file.scheme),
            margin: stored.stored.iter().filter_map(|file| file.margin).min(),
            not_stored: stored.failed,
            put_seconds,
            segments,
            shards: placed,
            killed: lost,
            get_seconds,
            not_fetched: fetched.failed,
            faults: stored.faults.into_iter().chain(fetched.faults).collect(),
            identical,
            different,
            seconds: told.elapsed(),
            kept,
        })
    }
}

/// Says what is done, with the time since the beginning.
struct Steps {
    started: Instant,
}

impl Steps {
    fn begin() -> Self {
        Self { started: Instant::now() }
    }

    fn elapsed(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn step(&self, text: String) {
        to_stderr(&format!("[{:5.1} s] {}", self.elapsed(), visible(&text)));
    }
}

/// Counts files and their bytes below a folder, links not followed.
async fn measured(folder: &Path) -> Result<(u64, u64), OperationError> {
    let folder = folder.to_owned();
    let walked = tokio::task::spawn_blocking(move || compare::walk(&folder)).await;
    let walked = walked.map_err(failed)?;
    let files = walked.map_err(|error| usage(format!("the folder cannot be read: {error}")))?;
    Ok((files.len() as u64, files.iter().map(|(_, bytes)| bytes).sum()))
}

/// Bytes that each node offers: no node holds more than one shard, a quarter, of each segment, and
/// many small files pad to more than they are.
fn storage(bytes: u64) -> u64 {
    (bytes / 2).saturating_add(1 << 30)
}

/// Refuses what the disk has no room for.
fn room(folder: &Path, bytes: u64) -> Result<(), OperationError> {
    // Shards, what is read back, and some slack.
    let needed = bytes.saturating_mul(3).saturating_add(SPACE_LEFT);
    let stat = rustix::fs::statvfs(folder)
        .map_err(|error| failed(format!("the file system does not say its size: {error}")))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed {
        let message = format!(
            "the demonstration needs {} in {} and {} are free",
            size(needed),
            folder.display(),
            size(free)
        );
        return Err(failed(message).hint("name a smaller folder with --path, or another TMPDIR"));
    }
    Ok(())
}

/// Waits until all nodes know of each other as alive.
async fn met(operations: &dyn Operations, nodes: usize) -> Result<usize, OperationError> {
    let end = Instant::now() + MEETING_PATIENCE;
    loop {
        let reply = operations.peers(PeersRequest {}).await?;
        let alive = reply.peers.iter().filter(|peer| peer.state == PeerState::Alive).count();
        if alive >= nodes {
            return Ok(alive);
        }
        if Instant::now() >= end {
            let seconds = MEETING_PATIENCE.as_secs();
            return Err(failed(format!(
                "after {seconds} s only {alive} of {nodes} nodes are known"
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn put(
    context: &Context,
    operations: &dyn Operations,
    data: &Path,
) -> Result<(f64, PutReply), Stop> {
    let mut source = LocalSource::tree(data, None)?;
    let transfer = Transfer::begin(&context.output, "put", None);
    let started = Instant::now();
    let mut reply = operations.put(PutRequest::default(), &mut source, transfer.events()).await?;
    let seconds = started.elapsed().as_secs_f64();
    drop(transfer);
    reply.failed.extend(source.problems());
    if reply.stored.is_empty() {
        let first = reply.failed.first();
        let why =
            first.map_or_else(String::new, |first| format!(": {}: {}", first.path, first.reason));
        return Err(usage(format!("nothing could be stored from {}{why}", data.display())).into());
    }
    Ok((seconds, reply))
}

async fn get(
    context: &Context,
    operations: &dyn Operations,
    back: &Path,
) -> Result<(f64, GetReply), Stop> {
    let mut sink = LocalSink::open(Target::Tree(back.to_owned()))?;
    let request = GetRequest::Folder { name: String::new() };
    let transfer = Transfer::begin(&context.output, "get", None);
    let started = Instant::now();
    let reply = operations.get(request, &mut sink, transfer.events()).await;
    let written = sink.finish().await;
    let seconds = started.elapsed().as_secs_f64();
    drop(transfer);
    let written = written?;
    let mut reply = reply?;
    reply.files = reply.files.saturating_sub(written.failed.len() as u64);
    reply.failed.extend(written.failed);
    Ok((seconds, reply))
}

/// Distinct shards and who holds them.
type Shards = BTreeMap<NodeId, BTreeSet<(SegmentId, u8)>>;

/// Asks where the shards of the stored files are.
async fn placement(
    operations: &dyn Operations,
    stored: &PutReply,
) -> Result<Shards, OperationError> {
    let mut shards = Shards::new();
    let mut files: Vec<_> = stored.stored.iter().filter(|file| file.scheme.is_some()).collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.size));
    for file in files.into_iter().take(FILES_LOOKED_UP) {
        let request = InfoRequest { name: file.path.to_string(), version: None };
        for segment in operations.info(request).await?.segments {
            for shard in segment.shards {
                shards.entry(shard.node).or_default().insert((segment.segment, shard.shard));
            }
        }
    }
    Ok(shards)
}
