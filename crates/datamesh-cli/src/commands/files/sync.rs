//! `datamesh sync`.

use std::path::PathBuf;
use std::time::Duration;

use datamesh_api::{OperationError, PutRequest};
use datamesh_core::MeshPath;
use datamesh_mirror::local::folder_name;
use datamesh_mirror::plan::{Action, Direction};
use datamesh_mirror::{Changes, Found, Mirror, Options, Report};
use datamesh_node::PasswordSource;

use crate::context::Context;
use crate::error::{Outcome, Stop, usage};
use crate::output::{Table, Transfer, columns, plural, size, visible};
use crate::signals::Signals;
use crate::values::{mesh_folder, mesh_path, some_duration};
use crate::waiting::waiting;

/// What was done that is told line by line; of more the number says enough.
const NAMED_MAX: usize = 20;

/// Shortest time between two looks at the mesh.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Keep a local folder and a mesh folder alike
///
/// Without further words REMOTE follows DIR. What is the same on both sides is neither read nor sent
/// again, and a file with another name moves no byte. What goes from the mesh is a delete marker, which
/// `versions --undelete` takes back; a local file is only replaced or removed where the mesh has its
/// content, and is kept under another name where it has not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh sync photos                          photos/ on the mesh follows the folder
  datamesh sync photos --dry-run                only say what would be done
  datamesh sync --download photos               the folder follows photos/ on the mesh
  datamesh sync --bidirectional notes work/notes --watch
  datamesh sync src --exclude target/ --exclude '*.o'

Files that are not to be mirrored are named in .datameshignore files, in the folder and below it, line by \
line as in a .gitignore. Where both sides changed a file, --bidirectional keeps both: the one from here as \
`name (conflict DEVICE DATE)`. A one-way mirror leaves alone what its target has and no earlier sync knows, \
unless --delete is given. Symbolic links and devices are not mirrored; they are listed, and the exit code \
is 4. A sync that was ended goes on where it was when it is run again.")]
pub(crate) struct SyncArgs {
    /// Go on for ever: whenever something changes here, and every --interval
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,

    /// Each side takes over what changed in the other
    #[arg(long, conflicts_with = "download")]
    bidirectional: bool,

    /// DIR follows REMOTE
    #[arg(long)]
    download: bool,

    /// Remove in the side that follows also what no earlier sync knows, and take a folder that is empty now
    /// for one that was emptied
    #[arg(long)]
    delete: bool,

    /// Leave these out, as a line of .datameshignore would
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,

    /// Transfers at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,

    /// How often --watch looks at the mesh, and at a folder that the system cannot watch
    #[arg(long, requires = "watch", value_name = "TIME", default_value = "30s", value_parser = some_duration)]
    interval: Duration,

    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,

    /// Store even where there are too few failure domains, with less protection
    #[arg(long)]
    allow_degraded: bool,

    /// The local folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// The mesh folder; / is all files [default: the folder's own name]
    #[arg(value_name = "REMOTE")]
    remote: Option<String>,
}

impl SyncArgs {
    /// It runs until it is stopped.
    pub(crate) fn watches(&self) -> bool {
        self.watch
    }

    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let options = self.options();
        let remote = self.remote()?;
        if self.download && !self.dry_run {
            std::fs::create_dir_all(&self.folder).map_err(|error| {
                crate::error::failed(format!(
                    "\"{}\" cannot be made: {error}",
                    self.folder.display()
                ))
            })?;
        }
        let (home, folder) = (context.home.path().to_owned(), self.folder.clone());
        let mirror = waiting(move || Mirror::open(&home, &folder, remote)).await??;
        let password = context.password.remembering().source();
        if self.watch {
            return self.watch(context, mirror, &options, password).await;
        }
        let mut mirror = mirror;
        let report = pass(context, &mut mirror, &options, password).await?;
        tell(context, &report)
    }

    fn options(&self) -> Options {
        let direction = match (self.bidirectional, self.download) {
            (true, _) => Direction::Both,
            (_, true) => Direction::Down,
            _ => Direction::Up,
        };
        Options {
            direction,
            delete: self.delete,
            exclude: self.exclude.clone(),
            parallel: usize::from(self.parallel),
            dry_run: self.dry_run,
            put: PutRequest { allow_degraded: self.allow_degraded, ..PutRequest::default() },
        }
    }

    /// The mesh folder; nothing for all files.
    fn remote(&self) -> Result<Option<MeshPath>, OperationError> {
        if let Some(remote) = &self.remote {
            return mesh_folder(remote);
        }
        let own = match self.folder.file_name().and_then(|name| name.to_str()) {
            Some(name) => Some(name.to_owned()),
            None => folder_name(&self.folder)?,
        };
        match own {
            Some(name) => mesh_path(&name).map(Some),
            None => Err(usage("the folder has no name of its own to be mirrored by")
                .hint("name the mesh folder: datamesh sync DIR REMOTE")),
        }
    }

    /// Pass after pass, until a signal ends it.
    async fn watch(
        &self,
        context: &Context,
        mut mirror: Mirror,
        options: &Options,
        password: PasswordSource,
    ) -> Result<Outcome, Stop> {
        let mut signals = Signals::catch()?;
        let output = &context.output;
        let interval = self.interval.max(INTERVAL_MIN);
        let folder = mirror.folder().to_owned();
        let changes = match waiting(move || Changes::watch(&folder)).await? {
            Ok(changes) => Some(changes),
            Err(error) => {
                let every = humantime::format_duration(interval);
                output.warn(format!("{}: it is looked at every {every} instead", error.message));
                None
            }
        };
        output.note(format!("watching {}; Ctrl-C ends it", mirror.folder().display()));
        // What stays as it is is said once, not pass after pass.
        let mut said = String::new();
        loop {
            let passed = tokio::select! {
                biased;
                _ = signals.wait() => None,
                passed = pass(context, &mut mirror, options, password.clone()) => Some(passed),
            };
            match passed {
                // What the pass had done by then is kept.
                None => break mirror.save()?,
                Some(Ok(report)) => {
                    let left = report.left();
                    let told = report.did_something() || report.is_partial() && said != left;
                    said = left;
                    match told.then(|| tell(context, &report)).transpose() {
                        Ok(_) => {}
                        Err(Stop::Closed) => return Err(Stop::Closed),
                        Err(Stop::Failed(error)) => not_now(context, &error),
                    }
                }
                // The next pass may do better.
                Some(Err(error)) => {
                    if said != error.message {
                        not_now(context, &error);
                    }
                    said = error.message;
                }
            }
            let changed = async {
                match &changes {
                    Some(changes) => changes.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = signals.wait() => break,
                () = changed => {}
                () = tokio::time::sleep(interval) => {}
            }
        }
        output.note("ended");
        Ok(Outcome::Done)
    }
}

/// Says why a pass of a watch came to nothing.
fn not_now(context: &Context, error: &OperationError) {
    context.output.warn(visible(&error.message));
    if let Some(hint) = &error.hint {
        context.output.note(visible(hint));
    }
}

/// One pass, by a connection of its own: a command without a daemon holds the home no longer than that.
async fn pass(
    context: &Context,
    mirror: &mut Mirror,
    options: &Options,
    password: PasswordSource,
) -> Result<Report, OperationError> {
    let operations = datamesh_node::connect(&context.home, password, false).await?;
    let transfer = Transfer::begin(&context.output, "sync", None);
    let report = mirror.pass(&*operations, options, transfer.events()).await;
    transfer.end();
    report
}

/// Says what was done, or would be.
fn tell(context: &Context, report: &Report) -> Result<Outcome, Stop> {
    let output = &context.output;
    if output.is_for_programs() {
        output.answer_rows(report, "/actions", columns::ACTIONS)?;
    } else if report.dry_run {
        let mut table = Table::new(&["ACTION", "NAME", "TO", ">SIZE"]);
        for action in &report.actions {
            table.row(row(action));
        }
        output.table(&table)?;
    } else {
        let named = if output.is_verbose() { usize::MAX } else { NAMED_MAX };
        for action in report.actions.iter().take(named) {
            output.line(line(action))?;
        }
        if report.actions.len() > named {
            output.line(format!("… {} in all", plural(report.actions.len() as u64, "change")))?;
        }
    }
    notes(context, report);
    if let Some(stopped) = &report.stopped
        && report.actions.is_empty()
    {
        return Err(stopped.clone().into());
    }
    Ok(if report.is_partial() { Outcome::Partial } else { Outcome::Done })
}

/// Says what else is to be known.
fn notes(context: &Context, report: &Report) {
    let output = &context.output;
    let wrong = match report.base {
        Found::Damaged => Some("the memory of the last sync was damaged"),
        Found::Moved => Some("this is another folder than at the last sync"),
        Found::None | Found::Whole => None,
    };
    if let Some(wrong) = wrong {
        output.warn(format!("{wrong}: contents were compared, and nothing was removed"));
    }
    if report.may_be_old {
        output
            .warn("too few nodes answered to know all that other devices did: nothing was removed");
    }
    for kept in report.kept.iter().take(NAMED_MAX) {
        output.note(format!("kept {}: {}", visible(kept.path.as_str()), kept.reason));
    }
    if report.kept.len() > NAMED_MAX {
        output.note(format!("{} kept in all", plural(report.kept.len() as u64, "name")));
    }
    let (up, down) = (report.uploaded, report.downloaded);
    if up.files > 0 || down.files > 0 {
        output.note(format!(
            "{} stored, {}; {} fetched, {}; {} unchanged",
            plural(up.files, "file"),
            size(up.bytes),
            plural(down.files, "file"),
            size(down.bytes),
            report.unchanged,
        ));
    } else if report.actions.is_empty() && report.failed.is_empty() && report.stopped.is_none() {
        output.note(format!("nothing to do: {} unchanged", report.unchanged));
    }
    if report.known_bytes > 0 {
        let known = size(report.known_bytes);
        output.note(format!("{known} were not sent: the account stores the same content already"));
    }
    output.failures("mirrored", &report.failed);
    output.faults(&report.faults);
    output.pending(report.pending);
    if let Some(stopped) = report.stopped.as_ref().filter(|_| !report.actions.is_empty()) {
        output.warn(format!("the sync ended early: {}", stopped.message));
        if let Some(hint) = &stopped.hint {
            output.note(hint);
        }
    }
}

/// An action in a word, the name that it is about, another name, and bytes.
fn parts(action: &Action) -> (&'static str, &MeshPath, Option<&MeshPath>, Option<u64>) {
    match action {
        Action::SetAside { path, to, .. } => ("set aside", path, Some(to), None),
        Action::RenameLocal { path, to } => ("rename here", path, Some(to), None),
        Action::RenameRemote { path, to, .. } => ("rename on the mesh", path, Some(to), None),
        Action::RemoveLocal { path, .. } => ("remove here", path, None, None),
        Action::RemoveFolder { path } => ("remove folder here", path, None, None),
        Action::RemoveRemote { path } => ("remove on the mesh", path, None, None),
        Action::MakeFolder { path } => ("make folder here", path, None, None),
        Action::Upload { path, size } => ("store", path, None, Some(*size)),
        Action::Download { path, size } => ("fetch", path, None, Some(*size)),
    }
}

fn row(action: &Action) -> [String; 4] {
    let (what, path, to, bytes) = parts(action);
    [
        what.to_owned(),
        path.to_string(),
        to.map_or_else(String::new, ToString::to_string),
        bytes.map_or_else(String::new, size),
    ]
}

fn line(action: &Action) -> String {
    let (what, path, to, bytes) = parts(action);
    let mut text = format!("{what}: {}", visible(path.as_str()));
    if let Some(to) = to {
        text.push_str(&format!(" -> {}", visible(to.as_str())));
    }
    if let Some(bytes) = bytes {
        text.push_str(&format!("  {}", size(bytes)));
    }
    text
}
