//! `datamesh demo`.

mod files;
mod mesh;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datamesh_api::{
    GetRequest, InfoRequest, Operations, OperationsExt, PeerInfo, PeersRequest, PutRequest,
    StoredFile,
};
use datamesh_core::{NodeId, SegmentId};
use serde::Serialize;

use crate::context::Context;
use crate::error::{Outcome, Stop, failed, usage};
use crate::local::{LocalSink, LocalSource, Target};
use crate::output::{Output, Table, plural, rate, short, size};

use mesh::Mesh;

/// Nodes that the demo kills.
const KILLED: usize = 2;

/// How long the nodes may take to know each other.
const MEETING_PATIENCE: Duration = Duration::from_secs(60);

/// Stored files whose placement is looked up for the table of shards.
const FILES_LOOKED_UP: usize = 200;

/// Show on this machine what a mesh does: store files on several nodes, kill two, read everything back
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everything runs as real processes of this program in a temporary folder, listens on loopback only,
and is cleaned up at the end.

Examples:
  datamesh demo
  datamesh demo --path ~/photos
  datamesh demo --keep           leaves the mesh running and says how to talk to it")]
pub(crate) struct DemoArgs {
    /// A folder to store; without it, this program itself and a few small files
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,

    /// Leave the mesh running
    #[arg(long)]
    keep: bool,

    /// How many nodes
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(7..=40))]
    nodes: u32,
}

/// A node and how many of the looked-up shards it held before the losses.
#[derive(Debug, Serialize)]
struct NodeShards {
    node: NodeId,
    domain: String,
    shards: usize,
    killed: bool,
}

/// What happened, in measured figures.
#[derive(Debug, Serialize)]
struct DemoReport {
    nodes: u32,
    scheme: Option<String>,
    files: usize,
    bytes: u64,
    put_seconds: f64,
    get_seconds: f64,
    segments: usize,
    shards: Vec<NodeShards>,
    killed: Vec<NodeId>,
    peers_failed: usize,
    identical: usize,
    different: Vec<String>,
    kept: Option<PathBuf>,
}

impl DemoArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let output = &context.output;
        if let Some(path) = &self.path
            && !path.is_dir()
        {
            return Err(usage(format!("{} is not a folder", path.display())).into());
        }
        output.note(format!("starting {} nodes on loopback", self.nodes));
        let mut mesh = Mesh::start(self.nodes).await?;
        let operations = mesh.connect().await?;
        meet(&*operations, self.nodes as usize).await?;

        let folder = match &self.path {
            Some(path) => path.clone(),
            None => files::sample(mesh.folder())?,
        };
        output.note(format!("storing {}", folder.display()));
        let started = Instant::now();
        let mut source = LocalSource::tree(&folder, Some(crate::values::mesh_path("demo")?))?;
        let put = operations
            .put(PutRequest::default(), &mut source, Arc::new(|_| {}))
            .await
            .map_err(|error| mesh.explain(error))?;
        let put_seconds = started.elapsed().as_secs_f64();
        output.failures("stored", &put.failed);
        output.failures("stored", &source.problems());
        if put.stored.is_empty() {
            return Err(failed("nothing could be stored").into());
        }

        let (shards, segments) = placement(&*operations, &put.stored).await?;
        let peers = operations.peers(PeersRequest {}).await?.peers;
        let victims = victims(&peers, &shards, mesh.own_node());
        output.note(format!(
            "killing {} for good",
            victims.iter().map(short).collect::<Vec<_>>().join(" and ")
        ));
        for node in &victims {
            mesh.kill(node)?;
        }

        output.note("reading everything back");
        let out = mesh.folder().join("back");
        let mut sink = LocalSink::open(Target::Tree(out.clone()))?;
        let request =
            GetRequest { name: "demo".into(), version: None, range: None, recursive: true };
        let started = Instant::now();
        let got = operations.get(request, &mut sink, Arc::new(|_| {})).await;
        let written = sink.finish().await?;
        let get_seconds = started.elapsed().as_secs_f64();
        let got = got.map_err(|error| mesh.explain(error))?;
        output.failures("fetched", &got.failed);
        output.failures("written", &written.failed);

        let names: Vec<String> =
            put.stored.iter().map(|file| file.path.as_str().to_owned()).collect();
        let (identical, different) = files::compare(&folder, &out, &names).await?;
        let bytes = put.stored.iter().map(|file| file.size).sum();
        let report = DemoReport {
            nodes: self.nodes,
            scheme: put.stored.iter().find_map(|file| file.scheme).map(|s| s.to_string()),
            files: put.stored.len(),
            bytes,
            put_seconds,
            get_seconds,
            segments,
            shards: peers.iter().map(|peer| node_shards(peer, &shards, &victims)).collect(),
            killed: victims,
            peers_failed: got.faults.len(),
            identical,
            different,
            kept: self.keep.then(|| mesh.folder().to_owned()),
        };
        drop(operations);
        tell(output, &report)?;
        if self.keep {
            mesh.keep(output)?;
        } else {
            mesh.stop().await;
        }
        Ok(if report.different.is_empty() { Outcome::Done } else { Outcome::Bad })
    }
}

/// Waits until every node is seen.
async fn meet(operations: &dyn Operations, nodes: usize) -> Result<(), Stop> {
    let end = Instant::now() + MEETING_PATIENCE;
    loop {
        let known = operations.peers(PeersRequest {}).await?.peers.len();
        if known >= nodes {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(failed(format!("only {known} of {nodes} nodes found each other")).into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How many shards of the stored files each node holds, as the nodes say, and of how many segments.
async fn placement(
    operations: &dyn Operations,
    stored: &[StoredFile],
) -> Result<(BTreeMap<NodeId, usize>, usize), Stop> {
    let mut segments: BTreeMap<SegmentId, Vec<NodeId>> = BTreeMap::new();
    for file in stored.iter().filter(|file| file.scheme.is_some()).take(FILES_LOOKED_UP) {
        let request = InfoRequest { name: file.version.to_string(), version: None };
        for segment in operations.info(request).await?.segments {
            let holders = segment.shards.iter().map(|shard| shard.node).collect();
            segments.insert(segment.segment, holders);
        }
    }
    let mut shards = BTreeMap::new();
    for holder in segments.values().flatten() {
        *shards.entry(*holder).or_insert(0) += 1;
    }
    Ok((shards, segments.len()))
}

/// The nodes that hold the most, but not the one that the demo itself asks.
fn victims(peers: &[PeerInfo], shards: &BTreeMap<NodeId, usize>, own: NodeId) -> Vec<NodeId> {
    let held = |node: &NodeId| shards.get(node).copied().unwrap_or(0);
    let mut nodes: Vec<NodeId> =
        peers.iter().map(|peer| peer.node).filter(|node| *node != own).collect();
    nodes.sort_by_key(|node| std::cmp::Reverse(held(node)));
    nodes.truncate(KILLED);
    nodes
}

fn node_shards(
    peer: &PeerInfo,
    shards: &BTreeMap<NodeId, usize>,
    victims: &[NodeId],
) -> NodeShards {
    NodeShards {
        node: peer.node,
        domain: peer.domain.clone(),
        shards: shards.get(&peer.node).copied().unwrap_or(0),
        killed: victims.contains(&peer.node),
    }
}

fn tell(output: &Output, report: &DemoReport) -> Result<(), Stop> {
    if output.is_json() {
        return output.json(report);
    }
    let speed = |seconds: f64| rate(report.bytes as f64 / seconds.max(1e-9));
    let mut table = Table::new(&["NODE", "DOMAIN", "SHARDS", "THEN"]);
    for node in &report.shards {
        let then = if node.killed { "killed" } else { "served" };
        table.row([
            node.node.to_string(),
            node.domain.clone(),
            node.shards.to_string(),
            then.to_owned(),
        ]);
    }
    output.table(&table)?;
    let scheme = report.scheme.as_deref().unwrap_or("the catalog alone");
    output.line(format!(
        "stored    {} with {} as {scheme} in {} and {:.2} s, {}",
        plural(report.files as u64, "file"),
        size(report.bytes),
        plural(report.segments as u64, "segment"),
        report.put_seconds,
        speed(report.put_seconds),
    ))?;
    output.line(format!(
        "lost      {} of {} for good",
        plural(report.killed.len() as u64, "node"),
        report.nodes
    ))?;
    output.line(format!(
        "read back in {:.2} s, {}; compared by BLAKE3: {} identical, {} different",
        report.get_seconds,
        speed(report.get_seconds),
        report.identical,
        report.different.len(),
    ))?;
    for name in &report.different {
        output.warn(format!("different: {}", crate::output::visible(name)));
    }
    Ok(())
}
