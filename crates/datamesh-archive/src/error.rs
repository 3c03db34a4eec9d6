//! Why an archive cannot be read or written.

use std::io;

use datamesh_api::{ErrorKind, OperationError};
use datamesh_crypto::age::AgeError;

/// Why an archive cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file or stream that it lies in cannot be read.
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    /// The file or stream that it goes to cannot be written.
    #[error("the archive cannot be written")]
    Write(#[source] io::Error),
    /// It is none of the formats.
    #[error("this is no archive that can be read here: {0}")]
    Unknown(&'static str),
    /// It ends before its end.
    #[error("the archive is cut short: it ends in {0}")]
    Truncated(&'static str),
    /// It says what no sound archive says.
    #[error("the archive is damaged: {0}")]
    Damaged(&'static str),
    /// An entry's content is not what the archive itself says of it.
    #[error("the archive is damaged: the content of \"{name}\" {what}")]
    Content {
        /// The entry.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// It would take more than it may.
    #[error("the archive is refused: {0}")]
    Limit(String),
    /// It is sealed and does not open.
    #[error(transparent)]
    Sealed(#[from] AgeError),
    /// The password could not be had.
    #[error("{}", .0.message)]
    Password(OperationError),
    /// An entry to be written has another length than was said.
    #[error("\"{name}\" has another length than it was said to have")]
    Length {
        /// The entry.
        name: String,
    },
    /// Nobody reads on.
    #[error("the other side went away")]
    Gone,
}

impl ArchiveError {
    /// What reading said; errors of layers below come through `io::Error`.
    pub(crate) fn reading(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(inner) => inner,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Truncated("the middle of its data")
            }
            Err(error) => Self::Read(error),
        }
    }

    /// What writing said.
    pub(crate) fn writing(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(inner) => inner,
            Err(error) => Self::Write(error),
        }
    }

    /// The reader of what is written has left, which is no fault of the archive.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Self::Write(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The same as it passes through a reader or writer.
    pub(crate) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}

impl From<ArchiveError> for OperationError {
    fn from(error: ArchiveError) -> Self {
        let hint = match &error {
            ArchiveError::Password(inner) => return inner.clone(),
            ArchiveError::Sealed(AgeError::Password) => {
                Some("the password of an archive is the one that it was exported with")
            }
            ArchiveError::Sealed(AgeError::Recipient) => {
                Some("open it with the owner's key: age -d -i KEY FILE | datamesh import -")
            }
            ArchiveError::Truncated(_)
            | ArchiveError::Damaged(_)
            | ArchiveError::Content { .. } => {
                Some("compare it with the original, or copy it again")
            }
            ArchiveError::Limit(_) => {
                Some("the limits are raised with --max-entries, --max-size and --max-ratio")
            }
            _ => None,
        };
        let kind = match &error {
            ArchiveError::Unknown(_) => ErrorKind::Usage,
            _ => ErrorKind::Failed,
        };
        let told = Self::of(kind, &error);
        match hint {
            Some(hint) => told.hint(hint),
            None => told,
        }
    }
}
