//! How far away an end may be.

use datamesh_api::OperationError;

/// The longest term in milliseconds: a hundred years.
const TERM_MAX_MS: u64 = 100 * 365 * 86_400_000;

/// Refuses a term whose end no calendar has.
pub(super) fn check_term(term_ms: u64) -> Result<(), OperationError> {
    match term_ms {
        0..=TERM_MAX_MS => Ok(()),
        _ => Err(OperationError::usage("it cannot end more than a hundred years from now")),
    }
}
