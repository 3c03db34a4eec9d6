//! The owner's side: it holds the keys and knows names. Files become sealed slices, slices become
//! segments, and operations in the catalog say which are whose.
//!
//! Until the catalog is kept on the mesh, the local [`AccountDb`](datamesh_catalog::AccountDb) is
//! the only catalog, and its synced transaction is the commit point of every put.

mod below;
mod client;
mod error;
mod files;
mod pipeline;

pub use client::{Client, ClientParts, Progress, ProgressFn};
pub use error::ClientError;
pub use files::{SegmentPlacement, VersionInfo};
pub use pipeline::{
    EntryFailure, GetItem, GetReport, Packs, PutOptions, PutReport, StoredEntry, Wanted,
};
