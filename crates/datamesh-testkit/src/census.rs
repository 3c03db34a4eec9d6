//! A physical census: which shards lie whole on the disks of nodes that are stopped, as their packs
//! say and not as anybody claims.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use datamesh_core::{NodeId, SegmentId};
use datamesh_store::{Directory, Owner, Store, StoreConfig};

use crate::SeededEntropy;

/// The nodes that hold a shard whole, by segment and number of the shard.
pub type Census = BTreeMap<SegmentId, BTreeMap<u8, BTreeSet<NodeId>>>;

/// Segments in one page.
const PAGE: usize = 1000;

/// Reads every shard of a stopped node from its disk, checks it against its root, and counts those
/// that are whole. `home` is the node's.
pub fn count(census: &mut Census, home: &Path, node: NodeId) {
    let disk = Directory::open(&home.join("node/store")).unwrap();
    // Nothing is written, so what it may hold does not matter.
    let config = StoreConfig::new(u64::MAX / 4);
    let owner = Owner { node, store: None };
    let store = Store::open(Arc::new(disk), config, &owner, &SeededEntropy::new(1)).unwrap();
    let mut after = None;
    loop {
        let page = store.segments_after(after, PAGE);
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        for (segment, mask) in page {
            for shard in (0..32_u8).filter(|shard| mask & (1 << shard) != 0) {
                if store.read_shard(segment, shard).is_ok() {
                    census.entry(segment).or_default().entry(shard).or_default().insert(node);
                }
            }
        }
    }
}
