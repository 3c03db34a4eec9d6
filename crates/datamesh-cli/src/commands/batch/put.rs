//! `datamesh batch-put`.

use std::path::PathBuf;

use datamesh_api::{ErrorKind, OperationError, PutRequest};
use datamesh_core::Scheme;
use datamesh_mirror::local::{LocalSource, PickOptions, Picked, TagPattern, pick};
use serde::Serialize;

use crate::commands::files::tell_stored;
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, Transfer, columns, plural, size};
use crate::values::mesh_folder;
use crate::waiting::waiting;

/// Store many files, which names and patterns mean
///
/// In a pattern `*` stands for anything within a name, `**` for any folders, `?` for one character, `[ab]` for
/// one of these and `{jpg,png}` for one of these words; put it in quotes, so that the shell leaves it alone. A
/// folder stands for the files in it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh batch-put 'photos/*.jpg' --into albums        under albums/, by their own names
  datamesh batch-put 'src/**/*.{rs,toml}' --base-dir .   under src/, as they lie here
  datamesh batch-put --recursive photos --tag-pattern '{ext},{year}'
  datamesh batch-put '**/*.pdf' --dry-run                what would be stored, by which names

A file is called what leads to it from the pattern's last folder without a wildcard, or from --base-dir; a \
folder that is named keeps its own name. Where two files would get one name, nothing is stored. \
In --tag-pattern stand {name} without ending, {ext}, {dir}, the folder's name, and {year} {month} {day} of the last \
change; a tag that has nothing to put there is left out. What is not stored is listed, and the exit code is 4.")]
pub(crate) struct BatchPutArgs {
    /// Folders with everything below them, patterns in all folders below theirs
    #[arg(short, long)]
    recursive: bool,

    /// Name the files by their way from here
    #[arg(long, value_name = "DIR")]
    base_dir: Option<PathBuf>,

    /// The folder of the account that they go to
    #[arg(long, value_name = "FOLDER")]
    into: Option<String>,

    /// Tags of all files
    #[arg(long, value_delimiter = ',', value_name = "TAG,...")]
    tags: Vec<String>,

    /// Tags made for each file, like {ext}-{year}
    #[arg(long, value_delimiter = ',', value_name = "PATTERN,...")]
    tag_pattern: Vec<TagPattern>,

    /// Files under way at once [default: as many as memory allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    parallel: Option<u16>,

    /// Another scheme than the one that suits the mesh: 4+2, 8+4, 16+8
    #[arg(long, value_name = "K+M")]
    scheme: Option<Scheme>,

    /// Store even where there are too few failure domains, with less protection
    #[arg(long)]
    allow_degraded: bool,

    /// Tell what would be stored, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Files, folders, or patterns
    #[arg(required = true, value_name = "GLOB|DIR", value_hint = clap::ValueHint::AnyPath)]
    patterns: Vec<String>,
}

/// A file that would be stored, as JSON.
#[derive(Serialize)]
struct Planned {
    path: String,
    file: String,
    size: u64,
    tags: Vec<String>,
}

impl BatchPutArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let options = PickOptions {
            recursive: self.recursive,
            base: self.base_dir.clone(),
            into: self.into.as_deref().map(mesh_folder).transpose()?.flatten(),
            tags: self.tag_pattern.clone(),
        };
        let patterns = self.patterns.clone();
        let picked = waiting(move || pick(&patterns, &options)).await??;
        let output = &context.output;
        if picked.files.is_empty() {
            output.failures("stored", &picked.failed);
            let nothing = "there is nothing to store";
            return Err(OperationError::new(ErrorKind::NotFound, nothing).into());
        }
        if self.dry_run {
            return self.tell_planned(context, picked);
        }
        let Picked { files, failed } = picked;
        let mut source = LocalSource::picked(files)?;
        let request = PutRequest {
            tags: self.tags,
            scheme: self.scheme,
            allow_degraded: self.allow_degraded,
            parallel: self.parallel.unwrap_or(0),
            to: None,
        };
        let operations = context.connect().await?;
        let transfer = Transfer::begin(output, "put", source.size());
        let reply = operations.put(request, &mut source, transfer.events()).await;
        let seconds = transfer.end().as_secs_f64();
        let mut problems = failed;
        problems.extend(source.problems());
        let mut reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                output.failures("stored", &problems);
                return Err(error.into());
            }
        };
        reply.failed.extend(problems);
        tell_stored(context, &reply, seconds, true)
    }

    fn tell_planned(self, context: &Context, picked: Picked) -> Result<Outcome, Stop> {
        let output = &context.output;
        let Picked { files, failed } = picked;
        let outcome = if failed.is_empty() { Outcome::Done } else { Outcome::Partial };
        let bytes: u64 = files.iter().map(|file| file.size).sum();
        let count = files.len() as u64;
        let tags = &self.tags;
        let planned = files.into_iter().map(|file| Planned {
            path: file.path.to_string(),
            file: file.file.to_string_lossy().into_owned(),
            size: file.size,
            tags: [&tags[..], &file.tags].concat(),
        });
        let planned: Vec<Planned> = planned.collect();
        output.failures("stored", &failed);
        if output.is_for_programs() {
            let plan = serde_json::json!({ "files": planned, "failed": failed });
            output.answer_rows(&plan, "/files", columns::PLANNED)?;
            return Ok(outcome);
        }
        let mut table = Table::new(&["NAME", "SIZE", "TAGS", "FILE"]);
        for file in planned {
            table.row([&file.path, &size(file.size), &file.tags.join(","), &file.file]);
        }
        output.table(&table)?;
        output.note(format!("{}, {} would be stored", plural(count, "file"), size(bytes)));
        Ok(outcome)
    }
}
