//! Where the password of the keystore, of an archive or of a link comes from: a file or the terminal, never an
//! argument, which every user of the machine could read.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datamesh_api::OperationError;
use datamesh_node::PasswordSource;
use zeroize::Zeroizing;

use crate::error::{failed, usage};

/// Longest password in bytes: far more than anybody types, far less than a wrong file holds.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// What a password opens.
#[derive(Debug, Clone, Copy)]
enum Lock {
    Keystore,
    Archive,
    Link,
}

impl Lock {
    fn prompt(self) -> &'static str {
        match self {
            Self::Keystore => "Password of this home's keystore: ",
            Self::Archive => "Password of the archive: ",
            Self::Link => "Password of the link: ",
        }
    }

    fn prompt_for_another(self) -> &'static str {
        match self {
            Self::Keystore => "New password for this home's keystore: ",
            Self::Archive => "New password for the archive: ",
            Self::Link => "Password for the link: ",
        }
    }

    fn ask(self, prompt: &str) -> Result<Zeroizing<String>, OperationError> {
        ask(prompt).map_err(|error| match (self, &error.hint) {
            (Self::Archive, Some(_)) => {
                error.hint("name a file that holds it with --archive-password-file")
            }
            (Self::Link, Some(_)) => {
                error.hint("name a file that holds it with --link-password-file")
            }
            _ => error,
        })
    }
}

/// Where the password comes from.
#[derive(Debug, Clone)]
pub(crate) struct Password {
    file: Option<PathBuf>,
    lock: Lock,
    /// What was typed, where it is remembered.
    told: Option<Told>,
}

type Told = Arc<Mutex<Option<Zeroizing<String>>>>;

/// Somebody is being asked.
static ASKING: AtomicBool = AtomicBool::new(false);

/// Whether somebody is being asked for a password.
pub(crate) fn is_asking() -> bool {
    ASKING.load(Ordering::SeqCst)
}

impl Password {
    /// The keystore's, from `file`, or from the terminal where there is none.
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self { file, lock: Lock::Keystore, told: None }
    }

    /// The same of an archive.
    pub(crate) fn of_archive(file: Option<PathBuf>) -> Self {
        Self { file, lock: Lock::Archive, told: None }
    }

    /// The same of a link.
    pub(crate) fn of_link(file: Option<PathBuf>) -> Self {
        Self { file, lock: Lock::Link, told: None }
    }

    /// The same, but it asks once and remembers what it was told: for whoever opens the keystore again and
    /// again.
    pub(crate) fn remembering(&self) -> Self {
        Self { told: Some(Arc::default()), ..self.clone() }
    }

    /// Asks for the password when it is needed.
    pub(crate) fn source(&self) -> PasswordSource {
        let password = self.clone();
        Arc::new(move || password.get())
    }

    /// Asks for it now.
    ///
    /// # Errors
    /// [`OperationError`] where the file cannot be read or nobody can be asked.
    pub(crate) fn get(&self) -> Result<Zeroizing<String>, OperationError> {
        let lock = |told: &Told| told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = self.told.as_ref().and_then(lock) {
            return Ok(known);
        }
        let password = match &self.file {
            Some(file) => read(file)?,
            None => self.lock.ask(self.lock.prompt())?,
        };
        if let Some(told) = &self.told {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(password.clone());
        }
        Ok(password)
    }

    /// Whether nobody has to be asked.
    pub(crate) fn is_known(&self) -> bool {
        let is_told = |told: &Told| told.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        self.file.is_some() || self.told.as_ref().is_some_and(is_told)
    }

    /// Forgets what was told.
    pub(crate) fn forget(&self) {
        if let Some(told) = &self.told {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// As [`source`](Self::source), where somebody can be asked; nothing otherwise.
    pub(crate) fn source_if_any(&self) -> Option<PasswordSource> {
        (self.file.is_some() || has_terminal()).then(|| self.source())
    }

    /// The password of what is to be made.
    ///
    /// # Errors
    /// [`OperationError`] where the file cannot be read, nobody can be asked, or what was typed
    /// twice differs.
    pub(crate) fn choose(&self) -> Result<Zeroizing<String>, OperationError> {
        if let Some(file) = &self.file {
            return read(file);
        }
        let first = self.lock.ask(self.lock.prompt_for_another())?;
        let second = self.lock.ask("The same again: ")?;
        if *first != *second {
            return Err(usage("the two passwords differ"));
        }
        Ok(first)
    }
}

/// Somebody can be asked.
pub(crate) fn has_terminal() -> bool {
    (std::io::stdin().is_terminal() || std::io::stderr().is_terminal())
        && File::options().read(true).write(true).open("/dev/tty").is_ok()
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, OperationError> {
    if !has_terminal() {
        return Err(usage("a password is needed and there is no terminal to ask on")
            .hint("name a file that holds it with --password-file or DATAMESH_PASSWORD_FILE"));
    }
    ASKING.store(true, Ordering::SeqCst);
    let typed = rpassword::prompt_password(prompt);
    ASKING.store(false, Ordering::SeqCst);
    let typed = typed
        .map(Zeroizing::new)
        .map_err(|error| failed(format!("the password cannot be read: {error}")))?;
    checked(typed, "the password is empty")
}

/// The first line of a file.
fn read(file: &Path) -> Result<Zeroizing<String>, OperationError> {
    let shown = file.display();
    let unreadable = |error: std::io::Error| {
        usage(format!("the password file \"{shown}\" cannot be read: {error}"))
    };
    // The whole room from the start, so that no half-grown copy is left in memory.
    let mut text = Zeroizing::new(String::with_capacity(PASSWORD_BYTES_MAX as usize + 2));
    let opened = File::open(file).map_err(unreadable)?;
    opened.take(PASSWORD_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    let line = text.lines().next().unwrap_or_default();
    if line.len() as u64 > PASSWORD_BYTES_MAX || text.len() as u64 > PASSWORD_BYTES_MAX {
        return Err(usage(format!(
            "the password file \"{shown}\" is longer than a password can be"
        )));
    }
    checked(
        Zeroizing::new(line.to_owned()),
        &format!("the first line of the password file \"{shown}\" is empty"),
    )
}

fn checked(password: Zeroizing<String>, empty: &str) -> Result<Zeroizing<String>, OperationError> {
    if password.is_empty() { Err(usage(empty)) } else { Ok(password) }
}
