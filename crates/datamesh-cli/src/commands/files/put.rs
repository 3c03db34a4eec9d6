//! `datamesh put`.

use std::path::{Path, PathBuf};

use datamesh_api::{OperationError, PutReply, PutRequest, ShareInfo, ShareStanding};
use datamesh_core::{MeshPath, Scheme};

use crate::context::Context;
use crate::error::{Outcome, Stop, failed, usage};
use crate::output::{Transfer, columns, plural, rate, size, visible};
use crate::values::{mesh_folder, mesh_path};
use crate::waiting::waiting;
use datamesh_mirror::local::{self, LocalSource};

use super::RATED_BYTES_MIN;
use super::share::told_share;

/// Store a file, standard input, or a folder
///
/// The file is encrypted on this machine, coded, and spread over the mesh. The command returns when
/// the shards are synced to the disks of their holders.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh put report.pdf                        under its own name
  datamesh put report.pdf papers/2026/           into a folder of the account
  datamesh put --tags draft,paper -- report.pdf papers/report.pdf
  datamesh put -r photos                         a folder and all below it, under photos/
  datamesh put -r photos /                       the same, without the folder's own name
  datamesh put --to datamesh-contact-3fK… report.pdf    and share it with a person
  tar c src | datamesh put - backup/src.tar      standard input; such a put cannot be resumed

Symbolic links, devices and names that are not Unicode are not stored; they are listed, and the exit \
code is 4. An interrupted put of a large file goes on where it was when it is run again.")]
pub(crate) struct PutArgs {
    /// Where FILE is a folder, store everything below it
    #[arg(short, long)]
    recursive: bool,

    /// Tags of the stored files
    #[arg(long, value_delimiter = ',', value_name = "TAG,...")]
    tags: Vec<String>,

    /// Another scheme than the one that suits the mesh: 4+2, 8+4, 16+8
    #[arg(long, value_name = "K+M")]
    scheme: Option<Scheme>,

    /// Store even where there are too few failure domains, with less protection
    #[arg(long)]
    allow_degraded: bool,

    /// Then share it with this person: what that person's `keys recipient` prints
    #[arg(long, value_name = "KEY", conflicts_with = "recursive")]
    to: Option<String>,

    /// What to store; - is standard input
    file: PathBuf,

    /// Its name in the account [default: its own name]
    name: Option<String>,
}

impl PutArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        if context.console && self.file == Path::new("-") {
            return Err(usage("standard input is the console's own here").into());
        }
        let opened = waiting(move || self.source().map(|source| (self, source))).await?;
        let (args, source) = opened?;
        args.put(context, source).await
    }

    async fn put(self, context: &Context, mut source: LocalSource) -> Result<Outcome, Stop> {
        let request = PutRequest {
            tags: self.tags,
            scheme: self.scheme,
            allow_degraded: self.allow_degraded,
            parallel: 0,
            to: self.to,
        };
        let operations = context.connect().await?;
        let transfer = Transfer::begin(&context.output, "put", source.size());
        let reply = operations.put(request, &mut source, transfer.events()).await;
        let seconds = transfer.end().as_secs_f64();
        let problems = source.problems();
        let mut reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                context.output.failures("stored", &problems);
                return Err(error.into());
            }
        };
        reply.failed.extend(problems);
        tell_stored(context, &reply, seconds, self.recursive)
    }

    fn source(&self) -> Result<LocalSource, OperationError> {
        let stdin = self.file == Path::new("-");
        // As with `cp -r`, a file is taken too.
        let folder = self.recursive && !self.file.is_file();
        match (folder, stdin) {
            (true, true) => Err(usage("standard input is not a folder")),
            (true, false) => {
                let into = match &self.name {
                    Some(name) => mesh_folder(name)?,
                    None => match local::folder_name(&self.file)? {
                        Some(name) => Some(mesh_path(&name)?),
                        None => None,
                    },
                };
                LocalSource::tree(&self.file, into)
            }
            (false, true) => {
                let name = self.name.as_deref().filter(|name| !name.ends_with('/'));
                let name = name.ok_or_else(|| {
                    usage("standard input has no name of its own")
                        .hint("name what is stored: datamesh put - NAME")
                })?;
                LocalSource::stdin(mesh_path(name)?).map_err(failed)
            }
            (false, false) => LocalSource::file(&self.file, self.file_path()?),
        }
    }

    /// The name of a single file in the account.
    fn file_path(&self) -> Result<MeshPath, OperationError> {
        match &self.name {
            Some(name) if !name.ends_with('/') => mesh_path(name),
            folder => {
                let own =
                    self.file.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
                        usage(format!(
                            "\"{}\" has no name of its own to be stored by",
                            self.file.display()
                        ))
                        .hint("name what is stored: datamesh put FILE NAME")
                    })?;
                match folder.as_deref().map(mesh_folder).transpose()?.flatten() {
                    Some(folder) => mesh_path(&format!("{folder}/{own}")),
                    None => mesh_path(own),
                }
            }
        }
    }
}

/// Says what came of it; of `many` files their number.
pub(crate) fn tell_stored(
    context: &Context,
    reply: &PutReply,
    seconds: f64,
    many: bool,
) -> Result<Outcome, Stop> {
    let output = &context.output;
    if let (true, [one]) = (reply.stored.is_empty(), reply.failed.as_slice()) {
        let reason = format!("\"{}\" was not stored: {}", one.path, one.reason);
        return Err(failed(reason).into());
    }
    output.failures("stored", &reply.failed);
    if reply.stored.is_empty() && !reply.failed.is_empty() {
        let reason = format!("none of {} entries was stored", reply.failed.len());
        return Err(failed(reason).into());
    }
    let bytes: u64 = reply.stored.iter().map(|stored| stored.size).sum();
    let owed: usize = reply.stored.iter().map(|stored| stored.owed).sum();
    if output.is_for_programs() {
        output.answer_rows(reply, "/stored", columns::STORED)?;
    } else {
        for stored in reply.stored.iter().filter(|_| !many || output.is_verbose()) {
            let protected = match (stored.scheme, stored.margin) {
                (Some(scheme), Some(margin)) => {
                    let badge = if stored.degraded { ", degraded" } else { "" };
                    format!("{scheme}, margin {margin}{badge}")
                }
                (Some(scheme), None) => scheme.to_string(),
                (None, _) => "kept in the catalog".to_owned(),
            };
            let name = visible(stored.path.as_str());
            output.line(format!("stored {name}  {}  {protected}", size(stored.size)))?;
        }
        if many {
            let files = plural(reply.stored.len() as u64, "file");
            let least = reply.stored.iter().filter_map(|stored| stored.margin).min();
            let margin =
                least.map_or_else(String::new, |margin| format!(", margin {margin} or more"));
            output.line(format!("stored {files}, {}{margin}", size(bytes)))?;
        }
    }
    if seconds > 0.0 && bytes >= RATED_BYTES_MIN {
        output.note(format!("took {seconds:.2} s, {}", rate(bytes as f64 / seconds)));
    }
    if reply.resumed_bytes > 0 {
        let resumed = size(reply.resumed_bytes);
        output.note(format!("{resumed} were stored by an earlier put already"));
    }
    if reply.known_bytes > 0 {
        let known = size(reply.known_bytes);
        output.note(format!("{known} were not sent: the account stores the same content already"));
    }
    output.faults(&reply.faults);
    if reply.stored.iter().any(|stored| stored.degraded) {
        output.warn(
            "degraded: one failure domain holds several shards, so the loss of one may lose the file",
        );
    }
    if owed > 0 {
        let shards = plural(owed as u64, "shard");
        output.warn(format!(
            "{shards} found no node and are owed: the margin is smaller until they are stored"
        ));
    }
    output.pending(reply.pending);
    for share in &reply.shares {
        told_share(output, share)?;
    }
    if let Some(unshared) = &reply.unshared {
        output.warn(format!("it is stored and not shared: {}", unshared.message));
        if let Some(hint) = &unshared.hint {
            output.note(hint);
        }
    }
    if let Some(stopped) = &reply.stopped {
        output.warn(format!("the put ended early: {}", stopped.message));
        if let Some(hint) = &stopped.hint {
            output.note(hint.clone());
        }
    }
    let partial =
        owed > 0 || reply.pending > 0 || !reply.failed.is_empty() || reply.stopped.is_some();
    let is_shown = |share: &ShareInfo| share.state == ShareStanding::Current;
    let partial = partial || reply.unshared.is_some() || !reply.shares.iter().all(is_shown);
    Ok(if partial { Outcome::Partial } else { Outcome::Done })
}
