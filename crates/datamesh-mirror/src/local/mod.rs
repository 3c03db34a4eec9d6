//! Files of this machine: what puts and mirrors read, and gets and mirrors write.
//!
//! Both ends do their reading and writing on a thread of their own and are joined to the operation
//! by a short queue, so that a slow disk never holds up the tasks of the runtime and at most
//! [`QUEUE_ITEMS`] pieces wait in memory.

mod content;
mod leftover;
mod part;
mod pick;
mod places;
mod pool;
mod reader;
mod readings;
mod sink;
mod source;
mod tag_pattern;
#[cfg(test)]
mod tests;
mod tree;
mod writer;

pub use pick::{LocalFile, PickOptions, Picked, pick};
pub use places::{Places, Wanted};
pub use readings::{Reading, Readings};
pub use sink::{LocalSink, Target, Written};
pub use source::{LocalSource, folder_name};
pub use tag_pattern::TagPattern;
pub use writer::same_name;

pub(crate) use leftover::is_temporary;
pub(crate) use reader::{join, not_stored};
pub(crate) use tree::Tree;

/// Pieces and heads that wait between the disk and the operation: 6 MiB at most, enough to hide
/// the time of one read or write.
const QUEUE_ITEMS: usize = 24;

/// A reason for people: the system's text without the error number.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => datamesh_api::without_codes(error.to_string()).to_lowercase(),
        None => error.to_string(),
    }
}
