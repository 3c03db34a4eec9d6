//! Shards into a store of their own, each acknowledged after its sync, and out of it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use datamesh_core::certificate::Issuer;
use datamesh_core::descriptor::SUITE_AES256GCM_BLAKE3_RS;
use datamesh_core::{
    Descriptor, Entropy, Grant, Hash, NodeId, PublicKey, Receipt, Scheme, SegmentId, Signature,
    StoreTicket,
};
use datamesh_store::{Directory, Disk, Owner, ShardWrite, Store, StoreConfig, StoreError};
use tempfile::TempDir;

use crate::disk::own_folder;
use crate::{MeasureError, Rate, on_disk, repeat};

const NODE: NodeId = NodeId([7; 32]);

/// Bytes of the cells of one cell's length.
const CELL: u32 = 64 * 1024;

/// A store's id in a measurement is no secret.
struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(1);
    }
}

/// A store in a folder that goes when this is dropped.
pub struct ShardStore {
    store: Arc<Store>,
    next: AtomicU64,
    // After the store, so that nothing is open in it when it goes.
    _folder: TempDir,
}

impl ShardStore {
    /// A store in a folder of its own below `folder`.
    ///
    /// # Errors
    /// [`MeasureError`] where it cannot be made there.
    pub fn below(folder: &Path) -> Result<Self, MeasureError> {
        let folder = own_folder(folder)?;
        let disk = Directory::open(folder.path()).map_err(on_disk("opening a store"))?;
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let owner = Owner { node: NODE, store: None };
        let store = Store::open(disk, StoreConfig::new(1 << 40), &owner, &Fixed)?;
        Ok(Self { store, next: AtomicU64::new(0), _folder: folder })
    }

    fn put(&self, cells: &Bytes) -> Result<SegmentId, StoreError> {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let descriptor = Descriptor {
            suite: SUITE_AES256GCM_BLAKE3_RS,
            scheme: Scheme::FOUR_TWO,
            cell: CELL,
            length: 4 * cells.len() as u32,
            roots: vec![Hash([1; 32]); 6],
            // Makes each segment another one.
            lease_key: PublicKey(key),
        };
        let segment = descriptor.id();
        let ticket = StoreTicket {
            segment,
            shard_length: cells.len() as u32,
            lease_end: 0,
            signature: Signature([5; 64]),
        };
        let grant = Grant {
            key: PublicKey([1; 32]),
            bytes_per_node: u64::MAX,
            serial: 1,
            expiry: 0,
            issuer: Issuer::Authority,
            signature: Signature([1; 64]),
        };
        let sign = |sequence| Receipt {
            segment,
            shard: 0,
            node: NODE,
            sequence,
            expiry: 0,
            signature: Signature([3; 64]),
        };
        self.store.put_shard(ShardWrite {
            descriptor,
            shard: 0,
            ticket,
            grant,
            grant_bound: u64::MAX,
            cells: cells.clone(),
            stored_at: 0,
            lease_epoch: 0,
            lease_expiry: 0,
            sign_receipt: &sign,
        })?;
        Ok(segment)
    }

    /// Stores `count` shards of so many bytes, a multiple of 64 KiB up to 1 MiB, by so many threads.
    ///
    /// # Errors
    /// [`MeasureError::Store`] where the store does not take one.
    pub fn append(&self, bytes: usize, threads: u64, count: u64) -> Result<Rate, MeasureError> {
        let cells = Bytes::from(vec![0xA5; bytes]);
        // The first writes make the buffers and the pack.
        for _ in 0..4 {
            self.put(&cells)?;
        }
        let (left, failed) = (AtomicU64::new(count), Mutex::new(None));
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let take = |left: u64| left.checked_sub(1);
                    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                        if let Err(error) = self.put(&cells) {
                            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                            left.store(0, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let time = began.elapsed();
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error.into()),
            None => Ok(Rate { count, bytes: count * bytes as u64, time }),
        }
    }

    /// Reads shards of 1 MiB back from the disk, 64 of them in turn.
    ///
    /// # Errors
    /// [`MeasureError::Store`] where one cannot be stored or read.
    pub fn read(&self, time: Duration) -> Result<Rate, MeasureError> {
        let cells = Bytes::from(vec![0xA5; crate::MIB]);
        let segments = (0..64).map(|_| self.put(&cells)).collect::<Result<Vec<_>, _>>()?;
        let mut next = segments.iter().cycle();
        repeat(cells.len(), time, || {
            if let Some(segment) = next.next() {
                std::hint::black_box(self.store.read_shard_unverified(*segment, 0)?);
            }
            Ok(())
        })
    }
}
