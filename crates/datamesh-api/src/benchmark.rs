//! Requests about speed: what this machine, its store and the mesh do, each beside the limit that it has.

use datamesh_core::NodeId;
use serde::{Deserialize, Serialize};

/// Measure. What the machine can do at best is measured in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BenchmarkRequest {
    /// The shard store, in a folder of its own in this home.
    pub storage: bool,
    /// The ways to other nodes, and files into the mesh and out of it.
    pub network: bool,
    /// Bytes of what is written and of the file that is stored.
    pub size: u64,
    /// For how long a figure that repeats one thing is taken, in milliseconds.
    pub duration_ms: u64,
    /// How often each figure is taken.
    pub iterations: u32,
}

impl BenchmarkRequest {
    /// Least and most bytes.
    pub const SIZES: std::ops::RangeInclusive<u64> = 1 << 20..=64 << 30;

    /// Shortest and longest time of a figure in milliseconds.
    pub const DURATIONS_MS: std::ops::RangeInclusive<u64> = 10..=60_000;

    /// How often a figure may be taken.
    pub const ITERATIONS: std::ops::RangeInclusive<u32> = 1..=100;
}

/// What a figure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FigureGroup {
    /// The machine at its best.
    Machine,
    /// The shard store.
    Storage,
    /// The mesh.
    Network,
}

/// What bounds a figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FigureLimit {
    /// The name of the figure of the machine.
    pub name: String,
    /// The figure's value as a part of that one's.
    pub ratio: f64,
}

/// A figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is about.
    pub group: FigureGroup,
    /// What was done.
    pub name: String,
    /// The node at the other end, where there is one.
    pub node: Option<NodeId>,
    /// The median.
    pub value: f64,
    /// Its unit: `MB/s` with 10⁶ bytes, `1/s`, `ms`.
    pub unit: String,
    /// The lowest value.
    pub least: f64,
    /// The highest value.
    pub most: f64,
    /// How often it was taken.
    pub iterations: u64,
    /// What bounds it, where a figure of the machine in the same unit does.
    pub limit: Option<FigureLimit>,
}

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BenchmarkReply {
    /// The figures.
    pub figures: Vec<Figure>,
    /// What could not be measured, and why.
    pub skipped: Vec<String>,
}
