//! What a pass did. Its fields are a stable contract: `--json` prints them.

use datamesh_api::{EntryFailure, OperationError, PeerFault};
use serde::Serialize;

use crate::base::Found;
use crate::plan::{Action, Direction, Kept};

/// Files and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Files.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// What a pass did, or would do.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Nothing was done; `actions` are what would be.
    pub dry_run: bool,
    /// Which side follows which.
    pub direction: Direction,
    /// The local folder.
    pub folder: String,
    /// The mesh folder; `/` for all files.
    pub remote: String,
    /// How the memory of the last pass was found.
    pub base: Found,
    /// Too few nodes answered to know all that other devices did, so that nothing was removed.
    pub may_be_old: bool,
    /// What was done, in the order in which it was.
    pub actions: Vec<Action>,
    /// Files and empty folders at which nothing had changed.
    pub unchanged: u64,
    /// What was stored.
    pub uploaded: Amount,
    /// Bytes of that which were not sent, because the account had stored them already.
    pub known_bytes: u64,
    /// Bytes of that which an earlier transfer had stored.
    pub resumed_bytes: u64,
    /// What was fetched.
    pub downloaded: Amount,
    /// What stays in the target of a mirror though its source does not have it.
    pub kept: Vec<Kept>,
    /// What was not done, and why.
    pub failed: Vec<EntryFailure>,
    /// Peers that failed on the way; others served in their place.
    pub faults: Vec<PeerFault>,
    /// Changes of the catalog that too few nodes have yet.
    pub pending: u64,
    /// Why the pass ended early; what is listed as done stays.
    pub stopped: Option<OperationError>,
}

impl Report {
    /// Something was done, or would be.
    pub fn did_something(&self) -> bool {
        !self.actions.is_empty()
    }

    /// Something that should have been done was not.
    pub fn is_partial(&self) -> bool {
        self.may_be_old || !self.failed.is_empty() || self.pending > 0 || self.stopped.is_some()
    }

    /// What was left as it is, and why: equal texts mean that there is nothing more to say of it than after the
    /// pass before.
    pub fn left(&self) -> String {
        let Self { kept, failed, stopped, may_be_old, pending, .. } = self;
        format!("{kept:?} {failed:?} {stopped:?} {may_be_old} {}", *pending > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_makes_a_pass_partial_is_among_what_it_left() {
        let done = || Report {
            dry_run: false,
            direction: Direction::Up,
            folder: String::new(),
            remote: String::new(),
            base: Found::None,
            may_be_old: false,
            actions: Vec::new(),
            unchanged: 0,
            uploaded: Amount::default(),
            known_bytes: 0,
            resumed_bytes: 0,
            downloaded: Amount::default(),
            kept: Vec::new(),
            failed: Vec::new(),
            faults: Vec::new(),
            pending: 0,
            stopped: None,
        };
        let failure = EntryFailure { path: String::new(), reason: String::new() };
        for partial in [
            Report { may_be_old: true, ..done() },
            Report { pending: 1, ..done() },
            Report { failed: vec![failure], ..done() },
            Report { stopped: Some(OperationError::usage("")), ..done() },
        ] {
            assert!(partial.is_partial());
            assert_ne!(partial.left(), done().left());
        }
    }
}
