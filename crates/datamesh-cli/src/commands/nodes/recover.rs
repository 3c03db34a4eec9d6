//! `datamesh recover`.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use datamesh_api::OperationError;
use datamesh_node::Home;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::error::{Outcome, Stop, failed, usage};
use crate::output::{plural, size};
use crate::waiting::waiting;

/// Longest file that is looked into for the words, in bytes.
const WORDS_BYTES_MAX: u64 = 4096;

/// Restore an account from its 24 words
///
/// In a home that has no account: finds the account's catalog on the mesh and restores every file,
/// version and tag. What other devices have is not touched. The address of any live node is enough;
/// a home that has joined the mesh with a ticket needs none.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh recover --peer /ip4/203.0.113.5/tcp/4600
  datamesh --home ~/mesh recover --words-file words.txt --password-file p --peer ADDRESS")]
pub(crate) struct RecoverArgs {
    /// The file with the words; without it they are asked for on the terminal
    #[arg(long, value_name = "FILE")]
    words_file: Option<PathBuf>,

    /// The multiaddress of any live node of the mesh
    #[arg(long, value_name = "MULTIADDR")]
    peer: Option<String>,
}

/// What the JSON output says.
#[derive(Serialize)]
struct Answer {
    account: datamesh_core::AccountId,
    mesh: datamesh_core::MeshId,
    home: PathBuf,
    files: u64,
    versions: u64,
    bytes: u64,
}

impl RecoverArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        if datamesh_node::has_account(&context.home) {
            let message = format!("{} has an account already", context.home.path().display());
            return Err(usage(message).hint("take another home with --home FOLDER").into());
        }
        let words = match self.words_file {
            Some(file) => from_file(&file)?,
            None => waiting(from_terminal).await??,
        };
        let asked = context.password.clone();
        let password = waiting(move || asked.choose()).await??;
        let home = Home::at(context.home.path().to_owned());
        let recovered =
            datamesh_node::recover_account(&home, &words, password, self.peer.as_deref()).await?;
        let output = &context.output;
        if output.is_json() {
            output.json(&Answer {
                account: recovered.account,
                mesh: recovered.mesh,
                home: home.path().to_owned(),
                files: recovered.files,
                versions: recovered.versions,
                bytes: recovered.bytes,
            })?;
            return Ok(Outcome::Done);
        }
        output.line(format!("account {}", recovered.account))?;
        output.line(format!("mesh {}", recovered.mesh))?;
        output.line(format!(
            "restored {}, {}, {}",
            plural(recovered.files, "file"),
            plural(recovered.versions, "version"),
            size(recovered.bytes)
        ))?;
        output.note("next: `datamesh list` shows them, `datamesh get NAME` fetches one");
        Ok(Outcome::Done)
    }
}

fn from_file(path: &Path) -> Result<Zeroizing<String>, OperationError> {
    let file = path.display();
    let unreadable = |error| failed(format!("the words cannot be read from \"{file}\": {error}"));
    let mut text = Zeroizing::new(String::new());
    File::open(path)
        .and_then(|open| open.take(WORDS_BYTES_MAX).read_to_string(&mut text))
        .map_err(unreadable)?;
    Ok(text)
}

/// Asks for the words, which are not shown as they are typed.
fn from_terminal() -> Result<Zeroizing<String>, OperationError> {
    if !std::io::stdin().is_terminal() {
        return Err(usage("the words are needed and there is no terminal to ask on")
            .hint("name a file that holds them with --words-file"));
    }
    let typed = rpassword::prompt_password("The account's 24 words, in order: ")
        .map_err(|error| failed(format!("the words cannot be read: {error}")))?;
    Ok(Zeroizing::new(typed))
}
