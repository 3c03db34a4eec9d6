//! `datamesh info`.

use std::collections::BTreeMap;

use datamesh_api::{InfoReply, InfoRequest, OperationsExt, SegmentInfo};
use datamesh_core::NodeId;
use datamesh_core::catalog::EntryKind;

use crate::commands::maintenance::leases;
use crate::completion::mesh_names;
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, node_id, plural, short, size, time, visible};

use super::protection;
use super::share::{id, standing, with};

/// Segments whose shards are listed one by one unless more is asked for; the rest is summed up.
const SEGMENTS_LISTED: usize = 8;

/// Show everything about a file: versions, segments, where its shards are, its margin now, its shares
///
/// Holders are asked now, so the placement and the margin are what they are at this moment.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh info report.pdf
  datamesh info --version 2 report.pdf
  datamesh info -v film.mkv        each segment of a large file

The margin is the number of shards above what is needed to read: at 0 the next loss is final, and \
below it the file cannot be read now.")]
pub(crate) struct InfoArgs {
    /// Which version, by its number
    #[arg(long, value_name = "N")]
    version: Option<u64>,

    /// A name in the account, or the beginning of a file's or version's id
    #[arg(add = mesh_names())]
    name: String,
}

impl InfoArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let request = InfoRequest { name: self.name, version: self.version };
        let reply = operations.info(request).await?;
        let output = &context.output;
        if output.is_for_programs() {
            output.answer(&reply)?;
            return Ok(Outcome::Done);
        }
        output.line(about(&reply))?;
        if reply.segments.len() <= SEGMENTS_LISTED || output.is_verbose() {
            output.table(&shards(&reply.segments))?;
        } else {
            output.table(&nodes(&reply.segments))?;
            output.note(format!(
                "each of the {} is listed with -v",
                plural(reply.segments.len() as u64, "segment")
            ));
        }
        warnings(context, &reply);
        Ok(Outcome::Done)
    }
}

fn about(reply: &InfoReply) -> Table {
    let version = &reply.version;
    let mut table = Table::pairs();
    table.pair("name", &version.path);
    if version.kind == Some(EntryKind::Folder) {
        table.pair("kind", "folder without files");
    }
    table.pair("size", format!("{} ({})", size(version.size), plural(version.size, "byte")));
    table.pair("version", format!("{} of {}", version.number, reply.versions));
    table.pair("stored", time(version.created));
    table.pair("changed", time(version.modified));
    if let Some(hash) = &version.hash {
        table.pair("blake3", hash);
    }
    if !version.tags.is_empty() {
        table.pair("tags", version.tags.join(", "));
    }
    if !version.note.is_empty() {
        table.pair("note", &version.note);
    }
    if let Some(pin) = &reply.pin {
        let until = match pin.until {
            0 => "for good".to_owned(),
            until => format!("until {}", time(until)),
        };
        table.pair("pinned", format!("{until}, priority {}", pin.priority));
    }
    table.pair("file id", version.file);
    table.pair("version id", version.version);
    match version.scheme {
        None => table.pair("kept in", "the catalog itself"),
        Some(_) => {
            table.pair("scheme", protection(version));
            table.pair("segments", reply.segments.len());
        }
    }
    if let Some(margin) = reply.margin {
        table.pair("margin now", margin);
    }
    if reply.known_bytes > 0 {
        table.pair("not sent", format!("{}, there already", size(reply.known_bytes)));
    }
    if let Some(state) = &reply.leases {
        leases(&mut table, state);
    }
    for share in &reply.shares {
        table.pair("shared", format!("{}, {}  {}", with(share), standing(share), id(share)));
    }
    if reply.owed > 0 {
        table.pair("owed", plural(reply.owed as u64, "shard"));
    }
    table
}

/// A row for each shard.
fn shards(segments: &[SegmentInfo]) -> Table {
    let mut table = Table::new(&["SEGMENT", ">MARGIN", ">SHARD", "NODE", "DOMAIN"]);
    for segment in segments {
        let margin = segment.margin.map_or_else(|| "?".to_owned(), |margin| margin.to_string());
        let id = short(&segment.segment);
        if segment.shards.is_empty() {
            table.row([id.as_str(), &margin, "-", "no holder answers", ""]);
        }
        for (at, shard) in segment.shards.iter().enumerate() {
            let (id, margin) = if at == 0 { (id.as_str(), margin.as_str()) } else { ("", "") };
            table.row([
                id,
                margin,
                &shard.shard.to_string(),
                &node_id(&shard.node),
                shard.domain.as_deref().unwrap_or("-"),
            ]);
        }
    }
    table
}

/// A row for each node.
fn nodes(segments: &[SegmentInfo]) -> Table {
    let mut counts: BTreeMap<(Option<&str>, NodeId), u64> = BTreeMap::new();
    for shard in segments.iter().flat_map(|segment| &segment.shards) {
        *counts.entry((shard.domain.as_deref(), shard.node)).or_default() += 1;
    }
    let mut table = Table::new(&["NODE", "DOMAIN", ">SHARDS"]);
    for ((domain, node), count) in counts {
        table.row([node_id(&node), domain.unwrap_or("-").to_owned(), count.to_string()]);
    }
    table
}

fn warnings(context: &Context, reply: &InfoReply) {
    let output = &context.output;
    let name = visible(reply.version.path.as_str());
    match reply.margin {
        Some(margin) if margin < 0 => {
            output.warn(format!("{name} cannot be read now: too few of its holders answer"));
        }
        Some(0) => {
            output.warn(format!("{name} has no margin: the loss of one more shard is final"))
        }
        _ => {}
    }
    if reply.version.degraded {
        output.warn("stored degraded: one failure domain may hold several shards");
    }
    let look = reply.leases.as_ref().and_then(|state| state.look.as_ref());
    if let Some(look) = look.filter(|look| look.due > 0) {
        let due = plural(look.due, "segment");
        output
            .warn(format!("the leases of {due} are due: renew them with datamesh repair --renew"));
    }
    if reply.owed > 0 {
        output.warn(format!("{} found no node yet", plural(reply.owed as u64, "shard")));
    }
}
