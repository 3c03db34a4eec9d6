//! Commands that keep things as they should be.

mod benchmark;
mod cleanup;
mod optimize;
mod repair;

pub(crate) use benchmark::BenchmarkArgs;
pub(crate) use cleanup::CleanupArgs;
pub(crate) use optimize::OptimizeArgs;
pub(crate) use repair::RepairArgs;
pub(crate) use repair::{leases, leaving, looked, worker};

use datamesh_api::ReleaseReply;

use crate::output::{Output, plural, size};

/// Tells of versions that were not given up, because their file is pinned.
pub(crate) fn kept_pinned(output: &Output, versions: u64) {
    if versions > 0 {
        let versions = plural(versions, "version");
        output.note(format!("{versions} of pinned files stay: datamesh pin lists them"));
    }
}

/// Tells what nodes did about segments that were released.
pub(crate) fn released(output: &Output, reply: &ReleaseReply) {
    if reply.segments > 0 {
        output.note(format!(
            "{} released: {} with {} are in the trash of their nodes; their space comes back when the time for the trash, 7 days by default, has passed",
            plural(reply.segments, "segment"),
            plural(reply.shards, "shard"),
            size(reply.bytes),
        ));
    }
    if reply.not_found > 0 {
        let segments = plural(reply.not_found, "segment");
        output.note(format!("no node that answers has a shard of {segments}"));
    }
    if reply.renewed > 0 {
        let segments = plural(reply.renewed, "segment");
        output.note(format!("{segments} stay: another device renewed them meanwhile"));
    }
    if reply.unanswered > 0 {
        let nodes = plural(reply.unanswered as u64, "node");
        output.note(format!("{nodes} did not answer and will hear of it from the others"));
    }
}
