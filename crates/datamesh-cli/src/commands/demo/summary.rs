//! What the demonstration found, in figures.

use std::path::PathBuf;

use datamesh_api::{EntryFailure, PeerFault};
use datamesh_core::{NodeId, Scheme};
use serde::Serialize;

use crate::error::{Outcome, Stop, failed};
use crate::output::{Output, Table, plural, rate, short, size, visible};

/// A node and what it held.
#[derive(Serialize)]
pub(super) struct Placed {
    pub(super) node: NodeId,
    pub(super) name: String,
    pub(super) domain: String,
    pub(super) shards: u64,
    /// It was killed and its disk erased.
    pub(super) killed: bool,
}

/// A mesh that was left running.
#[derive(Serialize)]
pub(super) struct Kept {
    pub(super) folder: PathBuf,
    pub(super) home: PathBuf,
    pub(super) password_file: PathBuf,
    pub(super) pids: Vec<u32>,
}

/// All that is told at the end. The JSON output is this structure.
#[derive(Serialize)]
pub(super) struct Summary {
    pub(super) nodes: usize,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) scheme: Option<Scheme>,
    /// Shards above k that the worst file had when it was stored.
    pub(super) margin: Option<u8>,
    pub(super) not_stored: Vec<EntryFailure>,
    pub(super) put_seconds: f64,
    pub(super) segments: usize,
    pub(super) shards: Vec<Placed>,
    pub(super) killed: Vec<NodeId>,
    pub(super) get_seconds: f64,
    pub(super) not_fetched: Vec<EntryFailure>,
    pub(super) faults: Vec<PeerFault>,
    pub(super) identical: u64,
    pub(super) different: Vec<String>,
    /// The whole demonstration.
    pub(super) seconds: f64,
    pub(super) kept: Option<Kept>,
}

impl Summary {
    /// Writes it.
    pub(super) fn tell(&self, output: &Output) -> Result<(), Stop> {
        output.failures("stored", &self.not_stored);
        output.failures("fetched", &self.not_fetched);
        if output.is_for_programs() {
            return output.answer(self);
        }
        let mut nodes = Table::new(&["NODE", "ID", "DOMAIN", ">SHARDS", ""]);
        for placed in &self.shards {
            let fate = if placed.killed { "killed, disk erased" } else { "" };
            nodes.row([
                placed.name.as_str(),
                &short(&placed.node),
                &placed.domain,
                &placed.shards.to_string(),
                fate,
            ]);
        }
        output.table(&nodes)?;
        output.line("")?;
        let mut table = Table::pairs();
        let files = plural(self.files, "file");
        table.pair(
            "stored",
            format!("{files}, {}: {}", size(self.bytes), took(self.bytes, self.put_seconds)),
        );
        if let (Some(scheme), Some(margin)) = (self.scheme, self.margin) {
            let segments = plural(self.segments as u64, "segment");
            table.pair("protected by", format!("{scheme} in {segments}, margin {margin}"));
        }
        table.pair("lost", plural(self.killed.len() as u64, "node"));
        table.pair("fetched", took(self.bytes, self.get_seconds));
        let verdict = match self.different.len() as u64 {
            0 => format!("{} identical", plural(self.identical, "file")),
            bad => format!("{} identical, {} NOT", plural(self.identical, "file"), bad),
        };
        table.pair("compared", verdict);
        table.pair("peers' faults", self.faults.len());
        table.pair("took in all", format!("{:.1} s", self.seconds));
        output.table(&table)?;
        for path in &self.different {
            output.warn(format!("not identical: {}", visible(path)));
        }
        if let Some(kept) = &self.kept {
            output.line(kept.shown())?;
        }
        output
            .note("all nodes were on this machine: this shows how it works, and protects nothing");
        Ok(())
    }

    /// How it went.
    pub(super) fn outcome(&self) -> Result<Outcome, Stop> {
        if !self.different.is_empty() || !self.not_fetched.is_empty() {
            let bad = self.different.len() as u64;
            return Err(
                failed(format!("{} did not come back identical", plural(bad, "file"))).into()
            );
        }
        Ok(if self.not_stored.is_empty() { Outcome::Done } else { Outcome::Partial })
    }
}

fn took(bytes: u64, seconds: f64) -> String {
    if seconds > 0.0 {
        format!("{seconds:.2} s, {}", rate(bytes as f64 / seconds))
    } else {
        "no time".to_owned()
    }
}

impl Kept {
    fn shown(&self) -> String {
        let pids: Vec<String> = self.pids.iter().map(u32::to_string).collect();
        format!(
            "\nThe mesh goes on. Talk to it:\n  \
             export DATAMESH_HOME={} DATAMESH_PASSWORD_FILE={}\n  \
             datamesh peers\n  datamesh list -r\n\
             Stop and remove it:\n  kill -9 {}\n  rm -rf {}",
            self.home.display(),
            self.password_file.display(),
            pids.join(" "),
            self.folder.display()
        )
    }
}
