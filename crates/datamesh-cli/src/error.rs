//! Why a command stops, and what the program then says and returns.

use std::io;

use datamesh_api::{ErrorKind, OperationError};

use crate::signals::INTERRUPTED;

/// Why a command stops before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It failed.
    Failed(OperationError),
    /// Nobody reads the listing any more: there is nothing left to do and nobody to tell.
    Closed,
}

/// How a command that reached its end stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All of it was done. Exit code 0.
    Done,
    /// Part of it was done, and what is missing was listed. Exit code 4.
    Partial,
    /// It answered, and the answer is bad. Exit code 1.
    Bad,
    /// It answered that nobody can be reached. Exit code 5.
    Unreachable,
    /// Somebody interrupted it. Exit code 130.
    Interrupted,
    /// Commands of a console were read to their end. The exit code of the first that failed.
    Console(u8),
}

impl Outcome {
    /// The exit code.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Partial => ErrorKind::Partial.exit_code(),
            Self::Unreachable => ErrorKind::Network.exit_code(),
            Self::Bad => ErrorKind::Failed.exit_code(),
            Self::Interrupted => INTERRUPTED,
            Self::Console(code) => code,
        }
    }
}

impl From<OperationError> for Stop {
    fn from(error: OperationError) -> Self {
        Self::Failed(error)
    }
}

/// From writing to standard output.
impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        let message = format!("the output cannot be written: {error}");
        Self::Failed(OperationError::new(ErrorKind::Failed, message))
    }
}

/// An error of use.
pub(crate) fn usage(message: impl ToString) -> OperationError {
    OperationError::usage(message)
}

/// An error of this machine.
pub(crate) fn failed(message: impl ToString) -> OperationError {
    OperationError::new(ErrorKind::Failed, message)
}
