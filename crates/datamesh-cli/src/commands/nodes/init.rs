//! `datamesh init`.

use std::fs::File;
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use datamesh_api::OperationError;
use datamesh_node::{DrawnAccount, Home};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::error::{Outcome, Stop, failed, usage};
use crate::output::Table;
use crate::waiting::waiting;

/// Words in a row where they are shown.
const WORDS_IN_A_ROW: usize = 4;

/// Columns of a terminal in which so many have room.
const COLUMNS_OF_A_ROW: u16 = 60;

/// Make an account in this home
///
/// The account is 24 words, from which all its keys grow. They are shown once; whoever has them has
/// the account, and without them a lost home is lost for good. The password protects the keys that
/// this home keeps.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh init
  datamesh --home ~/mesh init --non-interactive --password-file p --words-out words.txt")]
pub(crate) struct InitArgs {
    /// Ask nothing: the password comes from a file and the words go to one
    #[arg(long, requires = "words_out")]
    non_interactive: bool,

    /// Write the words to this file, which must not be there yet and only its owner may read
    #[arg(long, value_name = "FILE")]
    words_out: Option<PathBuf>,
}

/// What the JSON output says.
#[derive(Serialize)]
struct Answer {
    account: datamesh_core::AccountId,
    home: PathBuf,
    words_out: Option<PathBuf>,
}

impl InitArgs {
    /// Somebody is asked and shown everything.
    pub(crate) fn asking() -> Self {
        Self { non_interactive: false, words_out: None }
    }

    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let shows = self.words_out.is_none();
        if shows && !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            return Err(usage("the words can be shown on a terminal only, and there is none")
                .hint("use --non-interactive --password-file FILE --words-out FILE")
                .into());
        }
        if self.non_interactive && context.global.password_file().is_none() {
            return Err(usage("nobody is asked with --non-interactive, and no password is given")
                .hint("name a file that holds it with --password-file or DATAMESH_PASSWORD_FILE")
                .into());
        }
        if datamesh_node::has_account(&context.home) {
            let message = format!("{} has an account already", context.home.path().display());
            return Err(usage(message).hint("take another home with --home FOLDER").into());
        }
        let asked = context.password.clone();
        let password = waiting(move || asked.choose()).await??;
        let mut words_file = self.words_out.as_deref().map(WordsFile::create).transpose()?;
        let home = Home::at(context.home.path().to_owned());
        let drawn = waiting(move || DrawnAccount::draw(&home, &password)).await??;
        // Whatever ends this before it is kept, there is no account whose words went nowhere.
        match &mut words_file {
            Some(file) => file.write(drawn.words())?,
            None => {
                let words = drawn.words().clone();
                if !waiting(move || is_written_down(&words)).await? {
                    return Err(failed(
                        "that the words are kept was not confirmed: no account was made",
                    )
                    .hint("these words are worth nothing; others come with the next try")
                    .into());
                }
            }
        }
        // From here on the account may be there, whatever is said of it.
        if let Some(file) = &mut words_file {
            file.needed = true;
        }
        let account = waiting(move || drawn.keep()).await??;
        let home = context.home.path().to_owned();
        if context.output.is_for_programs() {
            let words_out = self.words_out;
            context.output.answer(&Answer { account, home, words_out })?;
        } else {
            context.output.line(format!("account {account}"))?;
            if let Some(file) = &self.words_out {
                context.output.note(format!(
                    "the 24 words are in \"{}\": move them to a safe place off this machine",
                    file.display()
                ));
            }
            context.output.note(
                "next: `datamesh service` founds a mesh with this machine as its first node, or \
                 `datamesh join TICKET` enters another's",
            );
        }
        Ok(Outcome::Done)
    }
}

/// The file for the words; removed again unless the account is kept.
struct WordsFile {
    path: PathBuf,
    file: File,
    needed: bool,
}

impl WordsFile {
    fn create(path: &Path) -> Result<Self, OperationError> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| {
            let text =
                format!("the file for the words \"{}\" cannot be made: {error}", path.display());
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                usage(text).hint("an existing file is never overwritten: name another")
            } else {
                failed(text)
            }
        })?;
        Ok(Self { path: path.to_owned(), file, needed: false })
    }

    fn write(&mut self, words: &Zeroizing<String>) -> Result<(), OperationError> {
        let line = Zeroizing::new(format!("{}\n", **words));
        self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_all()).map_err(|error| {
            let file = self.path.display();
            failed(format!("the words cannot be written to \"{file}\": {error}"))
        })
    }
}

impl Drop for WordsFile {
    fn drop(&mut self) {
        if !self.needed
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, file = %self.path.display(), "a file with words of no account stays behind");
        }
    }
}

/// Shows the words on the terminal and waits until somebody says that they are written down.
fn is_written_down(words: &Zeroizing<String>) -> bool {
    let mut table = Table::pairs();
    let words: Vec<&str> = words.split_whitespace().collect();
    let narrow = crate::output::width().is_some_and(|width| width < COLUMNS_OF_A_ROW);
    let in_a_row = if narrow { WORDS_IN_A_ROW / 2 } else { WORDS_IN_A_ROW };
    let rows = words.len().div_ceil(in_a_row);
    for row in 0..rows {
        let cells = (0..in_a_row).filter_map(|column| {
            let at = column * rows + row;
            Some(format!("{:2} {}", at + 1, words.get(at)?))
        });
        table.row(cells);
    }
    crate::output::to_stderr(&format!(
        "Write these 24 words down, in order, and keep them off this machine.\n\
         Whoever has them has the account; without them nobody can restore it.\n\n{table}\n"
    ));
    let mut line = String::new();
    loop {
        crate::output::to_stderr("Type \"yes\" when they are written down:");
        line.clear();
        let count = std::io::stdin().lock().read_line(&mut line);
        match count {
            Ok(0) | Err(_) => return false,
            Ok(_) if line.trim().eq_ignore_ascii_case("yes") => return true,
            Ok(_) => {}
        }
    }
}
