//! The shards on this machine's disk.
//!
//! Shards live in append-only packs of self-describing records; everything else the store knows is
//! the fold of those records and can be rebuilt from them. The format is in `docs/specs/pack.md`.
//!
//! What is absent: keys, paths, the network, and any way to delete but the [`Collection`].

mod buffer;
mod commit;
mod config;
mod disk;
mod error;
mod identity;
mod index;
mod pack;
pub mod points;
pub mod record;
mod scan;
mod store;
mod table;
mod writer;

pub use commit::GROUP_BYTES_MAX;
pub use config::StoreConfig;
pub use disk::{ALIGNMENT, Directory, Disk, DiskError, DiskFile, DiskLock, Space};
pub use error::{Damage, StoreError};
pub use identity::{IDENTITY_FILE, Owner, StoreId};
pub use index::{LeaseState, ShardState, Slot};
pub use pack::{name_of, number_of};
pub use store::{
    AgreedClock, ClockError, Collected, Collection, CollectionTerms, DamagedShard, Elsewhere,
    FoundDamaged, GrantUsage, HEADS_MAX, HeadWrite, Kept, LEASE_CHANGES_MAX, LOCK_FILE,
    LeaseChange, LeaseOutcome, PAGE_MAX, PackReturned, Removal, ScrubCursor, ScrubReport,
    ShardWrite, Store, StoredShard, StoredUnder, Usage,
};
