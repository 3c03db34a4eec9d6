//! Commands over many files at once.

mod get;
mod put;
mod tag;

pub(crate) use get::BatchGetArgs;
pub(crate) use put::BatchPutArgs;
pub(crate) use tag::BatchTagArgs;
