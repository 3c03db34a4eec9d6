//! Commands that keep things as they should be.

mod repair;

pub(crate) use repair::RepairArgs;
pub(crate) use repair::worker;
