//! `datamesh keys`.

use std::fs::File;
use std::io::{BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use datamesh_api::{
    KeysRequest, OperationsExt, RecipientRequest, RekeyRequest, RotateRequest, WordsText,
};
use datamesh_node::{Home, KEY_FILE_BYTES_MAX};
use serde_json::json;
use zeroize::Zeroizing;

use crate::commands::maintenance::released;
use crate::context::Context;
use crate::error::{Outcome, Stop, failed, usage};
use crate::output::{Table, columns, plural, size, time};
use crate::waiting::waiting;
use crate::words;
use crate::writing::{PRIVATE, write_file};

/// Show, copy and print the account's keys
///
/// Each device of an account has keys of its own, certified by the account's words. A key file carries
/// them to another home; it opens with a password only, and the catalog comes from the mesh.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh keys list
  datamesh keys recipient
  datamesh keys add --words-file words.txt laptop.keys
  datamesh --home ~/mesh keys import laptop.keys
  datamesh keys kit > kit.txt
  datamesh keys rotate --revoke 4f1c9a
  datamesh keys rotate --revoke 4f1c9a --deep")]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// List the account's devices and their logs, as the mesh knows them
    List,
    /// Print the key by which others share with this account, and publish what it stands for
    ///
    /// Hand the line to whoever wants to share with this account: `datamesh share FILE --with KEY`. It is no
    /// secret, but whoever gets another line in its place shares with somebody else: hand it on so that it
    /// cannot be exchanged.
    Recipient,
    /// Make keys for another device and write them to a key file under a password of its own
    Add {
        /// The key file, which must not be there yet
        file: PathBuf,
        /// The file with the words; without it they are asked for on the terminal
        #[arg(long, value_name = "FILE")]
        words_file: Option<PathBuf>,
    },
    /// Write this home's keys to a key file, under the home's password
    Export {
        /// The key file, which must not be there yet
        file: PathBuf,
    },
    /// Take the keys of a key file into a home that has no account
    Import {
        /// The key file
        file: PathBuf,
    },
    /// Begin a new epoch of the catalog, without the devices that are revoked
    ///
    /// What is written from then on is sealed under a key that the remaining devices get by
    /// themselves and a revoked device does not; nothing that a revoked device publishes is taken.
    /// Without `--deep` no data moves: with the keys it has, a lost device can still read what was stored
    /// before, release it, and store under the account's grant. With it everything is read, sealed under
    /// fresh keys and stored once more, and the old segments are released: they are gone when their
    /// nodes' trash is. The grant stays the same.
    Rotate {
        /// A device that is lost: its id or the beginning of it, as `keys list` shows
        #[arg(long, value_name = "DEVICE")]
        revoke: Vec<String>,
        /// Then store everything anew that was stored before: reads and writes the whole account
        #[arg(long)]
        deep: bool,
        /// Go on with what an earlier `--deep` left, without a new epoch; needs no words
        #[arg(long, requires = "deep", conflicts_with_all = ["revoke", "words_file"])]
        resume: bool,
        /// The file with the words; without it they are asked for on the terminal
        #[arg(long, value_name = "FILE")]
        words_file: Option<PathBuf>,
        /// Do not ask before it is done
        #[arg(long)]
        yes: bool,
    },
    /// Print the recovery kit: the page to put away with the words on it
    Kit {
        /// Print the words too, from this file; without it there is room to write them
        #[arg(long, value_name = "FILE")]
        words_file: Option<PathBuf>,
    },
}

impl KeysArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        match self.command {
            KeysCommand::List => list(context).await,
            KeysCommand::Add { file, words_file } => add(context, file, words_file).await,
            KeysCommand::Export { file } => {
                let bytes = datamesh_node::export_keys(&context.home)?;
                written(context, &file, &bytes, "it opens with this home's password")
            }
            KeysCommand::Rotate { resume: true, .. } => rekey(context).await,
            KeysCommand::Rotate { revoke, deep, words_file, yes, .. } => {
                let outcome = rotate(context, revoke, words_file, (deep, yes)).await?;
                match outcome {
                    Outcome::Done if deep => rekey(context).await,
                    other => Ok(other),
                }
            }
            KeysCommand::Recipient => recipient(context).await,
            KeysCommand::Import { file } => import(context, &file),
            KeysCommand::Kit { words_file } => {
                let words = words_file.as_deref().map(words::from_file).transpose()?;
                let words = words.as_ref().map(|words| words.as_str());
                let page = datamesh_node::recovery_kit(&context.home, words)?;
                if context.output.is_for_programs() {
                    return Err(usage("the recovery kit is a page to print, not data").into());
                }
                context.output.line(page.trim_end())?;
                Ok(Outcome::Done)
            }
        }
    }
}

async fn list(context: &Context) -> Result<Outcome, Stop> {
    let operations = context.connect().await?;
    let reply = operations.keys(KeysRequest::default()).await?;
    let output = &context.output;
    if output.is_for_programs() {
        output.answer_rows(&reply, "/logs", columns::DEVICES)?;
        return Ok(Outcome::Done);
    }
    output.line(format!("account {}", reply.account))?;
    output.line(format!("this device {}", reply.device))?;
    if let Some(epoch) = reply.epoch {
        output.line(format!("epoch {}, since {}", epoch.number, time(epoch.began)))?;
    }
    let mut table = Table::new(&["DEVICE", "LOG", "CERTIFIED", "OPERATIONS", ""]);
    for log in &reply.logs {
        let note = match (log.this, log.current) {
            (true, true) => "this device, now",
            (true, false) => "this device, earlier",
            _ => "",
        };
        let note = match (log.revoked, note) {
            (None, note) => note.to_owned(),
            (Some(epoch), "") => format!("revoked in epoch {epoch}"),
            (Some(epoch), note) => format!("{note}, revoked in epoch {epoch}"),
        };
        table.row([
            log.device.to_string(),
            log.log.to_string(),
            time(log.issued),
            log.operations.to_string(),
            note,
        ]);
    }
    if reply.logs.is_empty() {
        output.note("no device has published anything yet");
    } else {
        output.table(&table)?;
    }
    if reply.may_be_old {
        output.warn("too few nodes answered to know that these are all");
    }
    Ok(Outcome::Done)
}

async fn recipient(context: &Context) -> Result<Outcome, Stop> {
    let operations = context.connect().await?;
    let reply = operations.recipient(RecipientRequest {}).await?;
    let output = &context.output;
    if output.is_for_programs() {
        output.answer(&reply)?;
    } else {
        output.line(&reply.recipient)?;
    }
    if reply.published {
        return Ok(Outcome::Done);
    }
    output.warn(
        "too few nodes answered: nobody can share with this key until the command is run again",
    );
    Ok(Outcome::Partial)
}

async fn words_of(file: Option<PathBuf>) -> Result<Zeroizing<String>, Stop> {
    Ok(match file {
        Some(file) => words::from_file(&file)?,
        None => waiting(words::from_terminal).await??,
    })
}

/// Asks a person; where nobody is asked the answer is yes.
fn confirmed(question: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        return true;
    }
    crate::output::to_stderr(question);
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.is_ok() && line.trim().eq_ignore_ascii_case("yes")
}

async fn rotate(
    context: &Context,
    revoke: Vec<String>,
    words_file: Option<PathBuf>,
    (deep, yes): (bool, bool),
) -> Result<Outcome, Stop> {
    let what = match revoke.len() {
        0 => "A new epoch begins; no device is revoked.".to_owned(),
        _ => format!("A new epoch begins without {}, for good.", revoke.join(", ")),
    };
    let more = if deep { " Then everything is stored anew." } else { "" };
    let question = format!("{what}{more} Type \"yes\" to go on:");
    if !yes && !waiting(move || confirmed(&question)).await? {
        return Err(usage("not confirmed; nothing was changed").into());
    }
    let words = words_of(words_file).await?;
    let words = WordsText::new(words.to_string());
    let operations = context.connect().await?;
    let reply = operations.rotate(RotateRequest { words, revoke }).await?;
    let output = &context.output;
    if output.is_for_programs() {
        output.answer(&reply)?;
    } else {
        output.line(format!("epoch {}", reply.epoch))?;
        for device in &reply.revoked {
            output.line(format!("revoked {device}"))?;
        }
        for device in &reply.devices {
            output.line(format!("goes on {device}"))?;
        }
    }
    if !reply.revoked.is_empty() && !deep {
        output.warn(
            "a revoked device can still read what was stored before, release it, and store under the \
             account's grant: nothing that it knew was changed. To store everything anew: \
             datamesh keys rotate --deep --resume",
        );
    }
    output.note(
        "a device of the account that is not named here must be made anew: datamesh keys add",
    );
    output.pending(reply.pending);
    Ok(if reply.pending > 0 { Outcome::Partial } else { Outcome::Done })
}

/// Stores everything anew that is under keys of earlier epochs.
async fn rekey(context: &Context) -> Result<Outcome, Stop> {
    let operations = context.connect().await?;
    let output = &context.output;
    output.note("everything that was stored before is stored anew; where this is ended, go on with: datamesh keys rotate --deep --resume");
    let reply = operations.rekey(RekeyRequest {}).await?;
    let rewritten = &reply.rewritten;
    let left = reply.versions.saturating_sub(rewritten.versions);
    if output.is_for_programs() {
        output.answer(&reply)?;
    } else {
        output.line(format!(
            "sealed anew in epoch {}: {} of {} with {}, {}; pages of {}",
            reply.epoch,
            rewritten.versions,
            plural(reply.versions, "version"),
            size(reply.bytes),
            plural(rewritten.made, "segment"),
            plural(reply.logs, "log"),
        ))?;
        released(output, &rewritten.released);
        output.note(
            "pages of the catalog from before are given back by: datamesh cleanup --orphaned, a week from now",
        );
    }
    output.pending(rewritten.pending);
    Ok(if rewritten.pending > 0 || left > 0 { Outcome::Partial } else { Outcome::Done })
}

async fn add(
    context: &Context,
    file: PathBuf,
    words_file: Option<PathBuf>,
) -> Result<Outcome, Stop> {
    let words = words_of(words_file).await?;
    let asked = context.password.clone();
    let password = waiting(move || asked.choose()).await??;
    let home = Home::at(context.home.path().to_owned());
    let made =
        tokio::task::spawn_blocking(move || datamesh_node::add_device(&home, &words, &password));
    let bytes = made.await.map_err(failed)??;
    written(context, &file, &bytes, "it opens with the password that was given just now")
}

fn import(context: &Context, file: &Path) -> Result<Outcome, Stop> {
    let unreadable =
        |error| failed(format!("the key file \"{}\" cannot be read: {error}", file.display()));
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(file)
        .and_then(|open| open.take(KEY_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    let account = datamesh_node::import_keys(&context.home, &bytes)?;
    if context.output.is_for_programs() {
        context.output.answer(&json!({ "account": account, "home": context.home.path() }))?;
    } else {
        context.output.line(format!("account {account}"))?;
        context.output.note("the next command restores its catalog from the mesh");
    }
    Ok(Outcome::Done)
}

/// Writes a key file that only its owner may read, and says so.
fn written(context: &Context, path: &Path, bytes: &[u8], opens: &str) -> Result<Outcome, Stop> {
    write_file(path, PRIVATE, bytes)?;
    if context.output.is_for_programs() {
        context.output.answer(&json!({ "file": path }))?;
    } else {
        context.output.line(format!("wrote \"{}\"", path.display()))?;
        context.output.note(format!("{opens}; take it in with: datamesh keys import FILE"));
    }
    Ok(Outcome::Done)
}
