//! All SQL of DataMesh: three databases, three types.
//!
//! [`AccountDb`] is what an account owns: its devices' operations, and the paths, versions and tags
//! that follow from them. [`NodeDb`] is what a node remembers of its mesh: adverts, receipts and
//! grants, each of which somebody else still has. The first refuses to serve what it cannot prove;
//! the second is thrown away and rebuilt. [`SearchDb`] is what searches look through; it follows from the
//! first and can be made again.
//!
//! Calls block: run them where blocking is allowed. Types are shared by reference between threads;
//! writers that meet share one synced transaction, readers never wait for writers.

mod account;
mod database;
mod error;
mod group;
mod index;
mod journal;
mod node;
pub mod points;
mod readers;
mod search;
mod sum;

pub use account::{
    AccountDb, Append, Checked, Contents, Cursor, Entry, KnownShare, ListQuery, Listed, LogEnd,
    Named, OPERATIONS_MAX, Owed, Owner, PAGE_ROWS_MAX, Page, PinnedFile, SharedFile, Summary, Tip,
    Totals, Unindexed, Version,
};
pub use error::{CatalogError, Damage};
pub use journal::{
    Journal, Orphan, SEALED_BYTES_MAX, SENT_MAX, SLICES_MAX, SOURCE_BYTES_MAX, SegmentWritten,
    SliceDone, Source, TRANSFERS_MAX, Transfer,
};
pub use node::{Counter, DamagedCopy, NodeDb, NodeLimits, PeerAudit};
pub use search::{Fetched, FetchedQuery, Order, SearchDb, SearchQuery};
