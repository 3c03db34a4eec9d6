//! When the leases of an account end, in a mesh whose leases do.

use datamesh_core::Timestamp;
use serde::{Deserialize, Serialize};

/// What is known of the leases of this home's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseState {
    /// Days of a whole lease.
    pub days: u32,
    /// The service of this home renews them by itself.
    pub renewing: bool,
    /// What holders told when they were last asked; nothing where they never were.
    pub look: Option<LeaseEnds>,
    /// The last renewal from this home; nothing before the first.
    pub run: Option<LeaseRun>,
}

/// When the leases of an account end, as the holders told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseEnds {
    /// When they were asked.
    #[serde(with = "crate::moment")]
    pub looked: Timestamp,
    /// Segments that the account needs, those of its catalog with them.
    pub segments: u64,
    /// The earliest end that any holder told; nothing where none holds anything.
    #[serde(with = "crate::moment::option")]
    pub earliest: Option<Timestamp>,
    /// Segments of which less than a third of the term is left at some holder, those that ended and those
    /// that nobody holds with them.
    pub due: u64,
    /// Segments whose lease had ended at some holder.
    pub ended: u64,
    /// Segments that no node that answered holds outside of its trash.
    pub unheld: u64,
    /// Members that did not tell what they hold.
    pub silent: u64,
    /// Manifests and lists that could not be read, so that there may be more segments.
    pub unread: u64,
}

/// A renewal. One that broke off tells no figures: what it had renewed by then stays so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRun {
    /// When it ended.
    #[serde(with = "crate::moment")]
    pub ended: Timestamp,
    /// Segments that were to be renewed.
    pub segments: u64,
    /// Those that as many holders renewed as a commit needs.
    pub renewed: u64,
    /// Those that too few did, or that no node shows.
    pub few: u64,
    /// Those that another device gave up meanwhile.
    pub released: u64,
    /// When the leases of those that were renewed end.
    #[serde(with = "crate::moment")]
    pub until: Timestamp,
    /// Why it broke off, where it did.
    pub failure: Option<String>,
}
