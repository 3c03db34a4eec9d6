//! `datamesh export`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use datamesh_api::OperationError;
use datamesh_archive::{ExportOptions, ExportReport, Format, PASSWORD_WORK, Target, export};
use datamesh_node::SystemEntropy;

use crate::context::Context;
use crate::error::{Outcome, Stop, usage};
use crate::output::{self, Transfer, plural, size, visible};
use crate::password::Password;
use crate::waiting::waiting;

/// Take files out into one archive that other programs open
///
/// The archive holds the newest version of each file, and of the others nothing. It appears under its name
/// only when it is whole. Without --encrypt its contents are readable by everybody who gets the file.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh export all.tar.zst                          all files; the format is named by the ending
  datamesh export photos.zip --pattern photos          a folder with all that is in it
  datamesh export texts.tar --pattern '**/*.txt' --pattern notes
  datamesh export --encrypt --include-metadata all.tar.zst.age
  datamesh export - --format tar | tar t               to standard output

tar, unzip and 7z open the archive; of an encrypted one the first step is `age -d`, which asks for the same \
password. --include-metadata keeps tags, notes, content hashes, version numbers and times of each file, where \
`import` finds them and other programs do not look.

--format is here the archive's format. Said as --format json, or by --json, it makes the answer JSON as everywhere; \
then the ending of DEST names the archive's format.

A file that cannot be fetched is left out and listed, and the exit code is 4.")]
pub(crate) struct ExportArgs {
    /// The archive's format: tar, tar.zst or zip [default: what the ending of DEST says]
    #[arg(
        id = "format",
        long,
        value_name = "FORMAT",
        value_parser = format,
        default_value = "table",
        hide_default_value = true
    )]
    format: output::Format,

    /// Seal the archive under a password, in the format of age
    #[arg(long)]
    encrypt: bool,

    /// A file whose first line is the archive's password [default: it is asked for]
    #[arg(long, value_name = "FILE", requires = "encrypt")]
    archive_password_file: Option<PathBuf>,

    /// Keep tags, notes, hashes and times of the files
    #[arg(long)]
    include_metadata: bool,

    /// Only these: a file, a folder, or a pattern in which * stands for anything in a name and ** for any folders
    #[arg(long, value_name = "GLOB")]
    pattern: Vec<String>,

    /// The archive to write; - is standard output
    dest: PathBuf,
}

/// The archive's format, or that of the answer.
fn format(text: &str) -> Result<output::Format, String> {
    match text.parse() {
        Ok(format) => Ok(output::Format::Archive(format)),
        Err(_) => output::Format::from_str(text, false).map_err(|_| {
            "the archive's format is tar, tar.zst or zip; table, json and csv are formats of the answer".to_owned()
        }),
    }
}

impl ExportArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let stdout = self.dest == Path::new("-");
        let format = self.archive_format()?;
        if stdout && std::io::stdout().is_terminal() {
            return Err(usage("an archive is nothing for a terminal")
                .hint("name a file, or send it on: datamesh export - --format tar | tar t")
                .into());
        }
        if stdout && context.output.is_for_programs() {
            return Err(usage(
                "standard output is the archive's, so that it cannot have the answer",
            )
            .hint("leave --json or --format away, or name a file")
            .into());
        }
        let password = match self.encrypt {
            true => {
                let password = Password::of_archive(self.archive_password_file.clone());
                Some(waiting(move || password.choose()).await??)
            }
            false => None,
        };
        let options = ExportOptions {
            format,
            password,
            work: PASSWORD_WORK,
            metadata: self.include_metadata,
            patterns: self.pattern,
            entropy: Arc::new(SystemEntropy),
        };
        let target = if stdout { Target::Stdout } else { Target::File(self.dest.clone()) };
        let operations = context.connect().await?;
        let transfer = Transfer::begin(&context.output, "export", None);
        let report = export(&*operations, &target, &options, transfer.events()).await;
        transfer.end();
        tell(context, &report?, &self.dest, stdout)
    }

    fn archive_format(&self) -> Result<Format, OperationError> {
        let name = self.dest.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let (named, sealed) = Format::of_name(&name);
        if sealed && !self.encrypt {
            return Err(usage(format!(
                "\"{}\" is a name of an encrypted archive",
                self.dest.display()
            ))
            .hint("add --encrypt, or leave .age away"));
        }
        match self.format {
            output::Format::Archive(format) => Ok(format),
            _ => named.ok_or_else(|| {
                usage(format!(
                    "\"{}\" does not say which format it is to have",
                    self.dest.display()
                ))
                .hint("add --format tar, tar.zst or zip")
            }),
        }
    }
}

/// Says what came of it.
fn tell(
    context: &Context,
    report: &ExportReport,
    dest: &Path,
    stdout: bool,
) -> Result<Outcome, Stop> {
    let output = &context.output;
    output.failures("exported", &report.failed);
    output.faults(&report.faults);
    let files = plural(report.files, "file");
    let said = format!("exported {files}, {}", size(report.bytes));
    if stdout {
        output.note(said);
    } else if output.is_for_programs() {
        output.answer(report)?;
    } else {
        let dest = visible(&dest.display().to_string());
        output.line(format!("{said} to {dest}  {}", size(report.archive_bytes)))?;
    }
    if report.odd_names > 0 {
        let names = plural(report.odd_names, "name");
        output.note(format!(
            "{names} with backslashes, control characters or drive letters: `import` takes such with \
             --odd-names, other systems may not"
        ));
    }
    Ok(if report.failed.is_empty() { Outcome::Done } else { Outcome::Partial })
}
