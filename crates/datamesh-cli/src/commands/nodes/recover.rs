//! `datamesh recover`.

use std::path::PathBuf;

use datamesh_node::Home;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Outcome, Stop, usage};
use crate::output::{plural, size};
use crate::waiting::waiting;
use crate::words;

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
    /// Somebody is asked; the mesh is found at this address.
    pub(crate) fn asking(peer: Option<String>) -> Self {
        Self { words_file: None, peer }
    }

    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        if datamesh_node::has_account(&context.home) {
            let message = format!("{} has an account already", context.home.path().display());
            return Err(usage(message).hint("take another home with --home FOLDER").into());
        }
        let words = match self.words_file {
            Some(file) => words::from_file(&file)?,
            None => waiting(words::from_terminal).await??,
        };
        datamesh_node::check_words(&words)?;
        let asked = context.password.clone();
        let password = waiting(move || asked.choose()).await??;
        let home = Home::at(context.home.path().to_owned());
        let recovered =
            datamesh_node::recover_account(&home, &words, password, self.peer.as_deref()).await?;
        let output = &context.output;
        if output.is_for_programs() {
            output.answer(&Answer {
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
