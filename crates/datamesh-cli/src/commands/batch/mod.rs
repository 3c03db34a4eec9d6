//! Commands over many files at once.

mod tag;

pub(crate) use tag::BatchTagArgs;
