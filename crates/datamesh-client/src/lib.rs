//! The owner's side: it holds the keys and knows names. Files become sealed slices, slices become
//! segments, and operations in the catalog say which are whose. The catalog is published on the
//! mesh ([`Publication`]); the [`AccountDb`](datamesh_catalog::AccountDb) of a device is a cache of it.

mod below;
mod catalog;
mod client;
mod collect;
mod error;
mod files;
mod labels;
mod pins;
mod pipeline;
pub mod points;
mod share;

pub use catalog::{
    CaughtUp, DeviceLog, DeviceLogs, Publication, Published, Rotated, derive_epochs, find_grant,
};
pub use client::{Client, ClientParts, Progress, ProgressFn};
pub use collect::{
    Cleaned, CleanupOptions, DuplicateOptions, Duplicates, LeaseLook, LeaseRenewal, LeaseScope,
    LeasesRenewed, LowFile, LowHealth, Placed, Purged, Rekeyed, Released, Repacked,
    ReschemeOptions, Reschemed, Retention, Rewritten, ShrinkOptions, Shrunk, Undeleted,
};
pub use error::ClientError;
pub use files::{Removed, SegmentPlacement, VersionInfo};
pub use labels::{LabelChange, Labelled, LabelledFile};
pub use pins::{PinTerms, Pinned, PinnedPath, PinsTold};
pub use pipeline::{
    Compress, EntryFailure, GetItem, GetReport, Packs, PutOptions, PutReport, StoredEntry, Wanted,
    get_shared,
};
pub use share::{
    FoundShare, ShareOptions, ShareState, ShareTo, ShareView, SharingError, find_contact,
    find_share, share_digits,
};
