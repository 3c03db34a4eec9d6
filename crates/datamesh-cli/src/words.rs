//! Where the account's words come from: a file or the terminal, never an argument, which every user
//! of the machine could read.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::Path;

use datamesh_api::OperationError;
use zeroize::Zeroizing;

use crate::error::{failed, usage};

/// Longest file that is looked into for the words, in bytes.
const WORDS_BYTES_MAX: u64 = 4096;

/// Reads the words from a file.
pub(crate) fn from_file(path: &Path) -> Result<Zeroizing<String>, OperationError> {
    let file = path.display();
    let unreadable = |error| failed(format!("the words cannot be read from \"{file}\": {error}"));
    let mut text = Zeroizing::new(String::new());
    File::open(path)
        .and_then(|open| open.take(WORDS_BYTES_MAX).read_to_string(&mut text))
        .map_err(unreadable)?;
    Ok(text)
}

/// Asks for the words, which are not shown as they are typed.
pub(crate) fn from_terminal() -> Result<Zeroizing<String>, OperationError> {
    if !std::io::stdin().is_terminal() {
        return Err(usage("the words are needed and there is no terminal to ask on")
            .hint("name a file that holds them with --words-file"));
    }
    let typed = rpassword::prompt_password("The account's 24 words, in order: ")
        .map_err(|error| failed(format!("the words cannot be read: {error}")))?;
    Ok(Zeroizing::new(typed))
}
