//! Errors as a person and a script get them.

use serde::{Deserialize, Serialize};

/// What kind of failure: decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// It was tried and failed. Exit code 1.
    Failed,
    /// It was asked for wrongly, or this home is not set up for it. Exit code 2.
    Usage,
    /// What was named is not there. Exit code 3.
    NotFound,
    /// Part of it was done; what is missing is listed. Exit code 4.
    Partial,
    /// The network is too small or cannot be reached. Exit code 5.
    Network,
}

impl ErrorKind {
    /// The exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Partial => 4,
            Self::Network => 5,
        }
    }
}

/// A failed operation: what failed and why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct OperationError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// What failed and why.
    pub message: String,
    /// The next step, if one is known.
    pub hint: Option<String>,
}

impl OperationError {
    /// An error without a hint.
    pub fn new(kind: ErrorKind, message: impl ToString) -> Self {
        Self { kind, message: without_codes(message.to_string()), hint: None }
    }

    /// A request that is wrong in itself.
    pub fn usage(message: impl ToString) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// An error whose message names the whole chain of causes.
    pub fn of(kind: ErrorKind, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Transparent wrappers repeat their cause word for word.
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Self::new(kind, message)
    }

    /// The same error with the next step.
    pub fn hint(mut self, hint: impl ToString) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

/// A message without the numbers by which the system knows what its text says.
pub fn without_codes(mut message: String) -> String {
    const BEFORE: &str = " (os error ";
    while let Some(start) = message.find(BEFORE) {
        let digits = message[start + BEFORE.len()..].bytes().take_while(u8::is_ascii_digit).count();
        let end = start + BEFORE.len() + digits;
        if digits == 0 || !message[end..].starts_with(')') {
            break;
        }
        message.replace_range(start..=end, "");
    }
    message
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn messages_have_no_numbers_of_the_system() {
        let error = std::io::Error::from_raw_os_error(2);
        let told = OperationError::usage(format!("\"a\" and \"b\": {error}; {error}"));
        let text = error.to_string();
        let text = text.strip_suffix(" (os error 2)").unwrap();
        assert_eq!(told.message, format!("\"a\" and \"b\": {text}; {text}"));
        assert_eq!(OperationError::usage("a (os error x) b").message, "a (os error x) b");
    }
}
