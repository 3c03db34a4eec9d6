//! Repair without keys and without the owner.
//!
//! The [checker] judges one segment from facts and does nothing. A survey finds the facts by asking
//! members; `mend` does what was judged; the [`Repairer`] decides when, for which segments, and
//! whose turn it is. Nothing here deletes: what turns out to be one shard too many stays until the
//! collector comes.

mod absence;
pub mod checker;
mod mend;
mod now;
mod pace;
mod repairer;
mod status;
mod survey;

pub use mend::{MendError, Mended, Permit};
pub use now::Checked;
pub(crate) use repairer::permit_of;
pub use repairer::{RepairConfig, Repairer};
pub use status::{DeadLetter, DrainProgress, RepairStatus};
