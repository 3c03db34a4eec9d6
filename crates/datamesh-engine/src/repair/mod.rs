//! Repair without keys and without the owner.
//!
//! The [checker] judges one segment from facts and does nothing. A survey finds the facts by asking
//! members; `mend` does what was judged; the [`Repairer`] decides when, for which segments, and
//! whose turn it is. Where everything is whole, [`rebalance`] says which shard goes to a node that is
//! less full. Nothing here deletes: a shard that was moved goes to the trash, and the collector looks
//! once more before it goes from there.

mod absence;
pub mod checker;
mod mend;
mod now;
mod pace;
pub mod rebalance;
mod repairer;
mod spare;
mod status;
mod survey;

pub(crate) use checker::Spare;
pub use mend::{MendError, Mended, Permit};
pub use now::Checked;
pub(crate) use repairer::permit_of;
pub use repairer::{RepairConfig, Repairer};
pub use status::{DeadLetter, DrainProgress, RepairStatus};
pub(crate) use survey::Reach;
