//! How much a store may take.

/// One GiB.
const GIB: u64 = 1 << 30;

/// Bounds of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreConfig {
    /// Most bytes of packs.
    pub capacity: u64,
    /// The least that is left free on the file system; more where one percent of it is more.
    pub reserve_min: u64,
    /// A pack is sealed before it grows above this many bytes. A single group may be larger.
    pub pack_bytes: u64,
}

impl StoreConfig {
    /// Bounds for that many bytes of packs: a reserve of at least 1 GiB, and packs of 1 GiB, or
    /// smaller where fewer than sixteen of them would fit.
    pub fn new(capacity: u64) -> Self {
        let pack_bytes = (capacity / 16).clamp(64 << 20, GIB);
        Self { capacity, reserve_min: GIB, pack_bytes }
    }

    /// Bytes left free on a file system of `total` bytes.
    pub fn reserve(&self, total: u64) -> u64 {
        self.reserve_min.max(total / 100)
    }
}
