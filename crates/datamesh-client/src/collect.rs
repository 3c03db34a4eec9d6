//! The owner's side of collection: giving versions up, taking deleted ones back, and releasing
//! segments that nothing refers to any more.
//!
//! The order is what keeps files safe. A version is purged by an operation; only once a quorum of
//! the mesh has it, and this device has seen everything that a quorum knows, the segments that no
//! version of the account refers to are released. A new reference to segments that are there already
//! renews them before its operation is committed.
//!
//! **Epochs.** A release carries the number of versions that ever referred to the segment, as far as
//! this device knows; a new reference renews with the same number before it counts itself. So a
//! release loses against every renewal that its signer did not know of, however the two meet.
//!
//! How often each segment is referred to is counted from the operations when it is asked for: manifests
//! are sealed, so no table could count along, and nothing that is kept can be wrong.

mod cleanup;
pub(crate) mod contents;
mod duplicates;
mod leases;
mod low_health;
mod places;
mod purge;
pub(crate) mod references;
pub(crate) mod referring;
mod rekey;
mod release;
mod renew;
mod repack;
mod rescheme;
mod reseal;
mod rewrite;
mod shrink;
mod undelete;

pub use cleanup::{Cleaned, CleanupOptions};
pub use duplicates::Duplicates;
pub use leases::{LeaseLook, LeaseRenewal, LeaseScope, LeasesRenewed};
pub use low_health::{LowFile, LowHealth};
pub use places::{DuplicateOptions, Placed};
pub use purge::{Purged, Retention};
pub use rekey::Rekeyed;
pub use release::Released;
pub(crate) use renew::ToldTime;
pub use repack::Repacked;
pub use rescheme::{ReschemeOptions, Reschemed};
pub use rewrite::Rewritten;
pub use shrink::{ShrinkOptions, Shrunk};
pub use undelete::Undeleted;
