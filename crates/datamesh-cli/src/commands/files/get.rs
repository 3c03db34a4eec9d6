//! `datamesh get`.

use std::path::{Path, PathBuf};

use datamesh_api::{
    GetReply, GetRequest, InfoRequest, OperationError, Operations, OperationsExt, SecretText,
};

use crate::completion::mesh_names;
use crate::context::{Context, named};
use crate::error::{Outcome, Stop, failed, usage};
use crate::output::{Transfer, plural, rate, size, visible};
use crate::password::Password;
use crate::values::{ByteRange, mesh_folder};
use crate::waiting::waiting;
use datamesh_mirror::local::{LocalSink, Target, Written};

use super::RATED_BYTES_MIN;

/// Fetch a file, a folder and all below it, or what somebody shares
///
/// Every byte is verified before it is written. A file appears under its name only when it is whole,
/// and replaces what was there in one step.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh get report.pdf                        into this folder
  datamesh get report.pdf ~/desk/                into that folder
  datamesh get -- report.pdf old.pdf             under another name
  datamesh get --version 3 report.pdf third.pdf  an earlier version
  datamesh get --range 0-1024 report.pdf -       the first 1024 bytes, to standard output
  datamesh get -r photos here                    all below photos/, laid below here/
  datamesh get -r / everything                   all files
  datamesh get 'datamesh://share/8sT…#4Hq…'      what somebody shares, without an account too

An interrupted get of a large file keeps what it fetched, in a hidden file where it is going to be, and \
goes on from there when it is run again. What was kept is checked before it becomes part of the file.")]
pub(crate) struct GetArgs {
    /// Fetch everything below the folder NAME
    #[arg(short, long, conflicts_with_all = ["version", "range"])]
    recursive: bool,

    /// Which version, by its number
    #[arg(long, value_name = "N")]
    version: Option<u64>,

    /// Only the bytes from A up to, not including, B; A- for all from A on
    #[arg(long, value_name = "A-B")]
    range: Option<ByteRange>,

    /// A file whose first line is the password of a link [default: it is asked for] [env:
    /// DATAMESH_LINK_PASSWORD_FILE]
    #[arg(long, value_name = "FILE")]
    link_password_file: Option<PathBuf>,

    /// A name in the account, the beginning of a file's or version's id, or a link
    #[arg(add = mesh_names())]
    name: String,

    /// Where to: a folder, a file name, or - for standard output [default: this folder]
    dest: Option<PathBuf>,
}

impl GetArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let link = self.link().await?;
        let (target, name) = self.target()?;
        let streams = matches!(target, Target::Stdout);
        let mut sink = waiting(move || LocalSink::open(target)).await??;
        let (operations, request) = match link {
            Some((link, password)) => {
                // Whoever shares it chose its name.
                let folder = self.dest.as_deref().unwrap_or(Path::new("."));
                if folder.is_dir() {
                    sink.keep_those_in(folder.to_owned());
                }
                let connecting = datamesh_node::connect_for_link(
                    &context.home,
                    &link,
                    context.password.source(),
                );
                (connecting.await?, GetRequest::Shared { link, password })
            }
            None => {
                let operations = context.connect().await?;
                let range = self.range(&*operations).await?;
                let request = match self.recursive {
                    true => GetRequest::Folder { name },
                    false => GetRequest::File { name, version: self.version, range },
                };
                (operations, request)
            }
        };
        let transfer = Transfer::begin(&context.output, "get", None);
        if !self.recursive {
            sink.length_to(transfer.length());
        }
        let output = context.output.clone();
        sink.left_to(move |bytes| {
            let bytes = size(bytes);
            output.note(format!("{bytes} are kept: the same command will go on from there"));
        });
        let reply = operations.get(request, &mut sink, transfer.events()).await;
        let written = sink.finish().await;
        let seconds = transfer.end().as_secs_f64();
        let (reply, closed) = merged(reply, written)?;
        if closed {
            // Unlike a list that `head` cut off, a file that is not whole must not look like one: in
            // a pipe the exit code is all that tells. A code and not an end by SIGPIPE, because the
            // reason is said and there is one way to end.
            let reason = "the output was closed before the end: what was written is cut short";
            return Err(failed(reason).into());
        }
        let name = match datamesh_node::is_link(&self.name) {
            true => "what was shared",
            false => self.name.as_str(),
        };
        let single = (!self.recursive).then_some(name);
        tell_fetched(context, &reply, seconds, single, streams)
    }

    /// The link that was given, if one was, and its password.
    async fn link(&self) -> Result<Option<(SecretText, Option<SecretText>)>, Stop> {
        if !datamesh_node::is_link(&self.name) {
            return Ok(None);
        }
        if self.recursive || self.version.is_some() || self.range.is_some() {
            let what = "a link leads to the newest version of one file, whole";
            return Err(usage(format!("{what}: leave the other flags away")).into());
        }
        let link = SecretText::new(self.name.clone());
        let look = datamesh_node::look_at_link(&link)?;
        if !look.password {
            return Ok(Some((link, None)));
        }
        let file = self.link_password_file.clone();
        let file = file.or_else(|| named("DATAMESH_LINK_PASSWORD_FILE"));
        let password = Password::of_link(file);
        let password = waiting(move || password.get()).await??;
        Ok(Some((link, Some(SecretText::new(password.to_string())))))
    }

    /// Where files go, and the name to ask for.
    fn target(&self) -> Result<(Target, String), OperationError> {
        let dest = self.dest.as_deref();
        let stdout = dest == Some(Path::new("-"));
        if !self.recursive {
            let target = match dest {
                _ if stdout => Target::Stdout,
                Some(dest) => Target::Path(dest.to_owned()),
                None => Target::Path(PathBuf::from(".")),
            };
            return Ok((target, self.name.clone()));
        }
        if stdout {
            return Err(usage("a folder cannot be written to standard output"));
        }
        let wanted = mesh_folder(&self.name)?;
        let folder = match (dest, &wanted) {
            (Some(dest), _) => dest.to_owned(),
            (None, Some(folder)) => PathBuf::from(folder.name()),
            (None, None) => {
                return Err(usage("all files need a folder to go to")
                    .hint("name one: datamesh get -r / FOLDER"));
            }
        };
        let name = wanted.as_ref().map_or_else(String::new, ToString::to_string);
        Ok((Target::Tree(folder), name))
    }

    /// The range in full: an open one ends where the file does.
    async fn range(
        &self,
        operations: &dyn Operations,
    ) -> Result<Option<(u64, u64)>, OperationError> {
        let Some(range) = self.range else { return Ok(None) };
        let end = match range.end {
            Some(end) => end,
            None => {
                let request = InfoRequest { name: self.name.clone(), version: self.version };
                operations.info(request).await?.version.size.max(range.start)
            }
        };
        Ok(Some((range.start, end)))
    }
}

/// Says what came of it. A `single` file has that name; where it went to standard output, nothing else
/// goes there.
pub(crate) fn tell_fetched(
    context: &Context,
    reply: &GetReply,
    seconds: f64,
    single: Option<&str>,
    streams: bool,
) -> Result<Outcome, Stop> {
    let output = &context.output;
    output.faults(&reply.faults);
    if let (0, [one]) = (reply.files, reply.failed.as_slice()) {
        let reason = format!("\"{}\" was not fetched: {}", one.path, one.reason);
        return Err(failed(reason).into());
    }
    output.failures("fetched", &reply.failed);
    if reply.files == 0 && !reply.failed.is_empty() {
        let reason = format!("none of {} entries was fetched", reply.failed.len());
        return Err(failed(reason).into());
    }
    if streams {
        // Standard output is the file's.
    } else if output.is_for_programs() {
        output.answer(reply)?;
    } else if let Some(name) = single {
        output.line(format!("fetched {}  {}", visible(name), size(reply.bytes)))?;
    } else {
        let files = plural(reply.files, "file");
        output.line(format!("fetched {files}, {}", size(reply.bytes)))?;
    }
    let fetched = reply.bytes.saturating_sub(reply.resumed_bytes);
    if seconds > 0.0 && fetched >= RATED_BYTES_MIN {
        output.note(format!("took {seconds:.2} s, {}", rate(fetched as f64 / seconds)));
    }
    if reply.resumed_bytes > 0 {
        let resumed = size(reply.resumed_bytes);
        output.note(format!("{resumed} were fetched by an earlier get already"));
    }
    Ok(if reply.failed.is_empty() { Outcome::Done } else { Outcome::Partial })
}

/// Puts what the mesh and what the disk said together. The second says that the reader of the
/// output has left.
pub(crate) fn merged(
    reply: Result<GetReply, OperationError>,
    written: Result<Written, OperationError>,
) -> Result<(GetReply, bool), OperationError> {
    let written = written?;
    if written.closed {
        return Ok((GetReply::default(), true));
    }
    let mut reply = reply?;
    // They arrived and then could not be written.
    reply.files = reply.files.saturating_sub(written.failed.len() as u64);
    reply.bytes = reply.bytes.saturating_sub(written.lost);
    reply.failed.extend(written.failed);
    Ok((reply, false))
}
