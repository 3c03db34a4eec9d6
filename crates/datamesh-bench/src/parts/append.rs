//! Shards into a store, each acknowledged after its sync, and out of it.

use std::path::Path;

use datamesh_measure::ShardStore;

use crate::limits::{WHILE, measured};
use crate::report::Report;

pub(super) fn measure(folder: &Path, report: &mut Report) {
    let store = ShardStore::below(folder).unwrap();
    for (shard, total) in [(1 << 20, 512 << 20), (64 << 10, 64 << 20)] {
        for threads in [1, 8] {
            let name = format!("append {} KiB shards, {threads} at once", shard / 1024);
            let count = (total / shard) as u64;
            measured(&name, &["shards/s"], report, || store.append(shard, threads, count));
        }
    }
    measured("read 1 MiB shards back", &[], report, || store.read(WHILE));
}
