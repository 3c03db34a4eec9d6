//! What shrinks takes less room on the nodes and comes back whole or in parts.

use std::collections::BTreeMap;

use datamesh_client::{Compress, GetItem, PutOptions, Wanted};
use datamesh_core::MeshPath;
use datamesh_testkit::{fixtures, sim};

use crate::cluster::Cluster;
use crate::streams::{Collected, Files};

const SEGMENT: usize = 64 * 65_520;

/// Lines of a log.
fn text(length: usize) -> Vec<u8> {
    (0..)
        .flat_map(|line: u32| format!("{line} everything is well\n").into_bytes())
        .take(length)
        .collect()
}

/// Files that shrink, that do not, and one that does in its middle alone.
fn mixed() -> BTreeMap<MeshPath, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut add = |path: &str, bytes| files.insert(path.parse().unwrap(), bytes);
    for size in [4097, 65_521, 300_000, SEGMENT, SEGMENT + 1, 3 * SEGMENT - 5] {
        add(&format!("text of {size}"), text(size));
    }
    add("noise", fixtures::noise(3, 200_000));
    let mut between = fixtures::noise(4, 4 * SEGMENT + 90_000);
    between[SEGMENT..2 * SEGMENT + 100].copy_from_slice(&text(SEGMENT + 100));
    add("between", between);
    files
}

fn used(cluster: &Cluster) -> u64 {
    cluster.nodes.iter().map(|node| node.store.usage().unwrap().used).sum()
}

#[test]
fn files_that_shrink_come_back_and_take_less_room() {
    sim::run(11, |world| async move {
        let cluster = Cluster::seven(&world);
        let texts: BTreeMap<MeshPath, Vec<u8>> =
            BTreeMap::from([("log".parse().unwrap(), text(3 * SEGMENT))]);
        let off = PutOptions { compress: Compress::Off, ..PutOptions::default() };
        let report = cluster.client.put(&mut Files::new(&texts), &off, None).await.unwrap();
        assert!(report.stopped.is_none(), "{:?}", report.stopped);
        let plain = used(&cluster);
        assert!(plain > 18 << 20, "{plain} bytes for 12 MiB in 4+2");
        cluster.assert_intact(&texts).await;

        let again = BTreeMap::from([("log again".parse().unwrap(), text(3 * SEGMENT))]);
        assert_eq!(cluster.put(&again).await.stored.len(), 1);
        let shrunk = used(&cluster) - plain;
        assert!(shrunk < plain / 3, "{shrunk} bytes compressed, {plain} as they are");
        cluster.assert_intact(&again).await;

        let files = mixed();
        assert_eq!(cluster.put(&files).await.stored.len(), files.len());
        cluster.assert_intact(&files).await;
    });
}

#[test]
fn ranges_of_files_that_shrink_are_what_they_should_be() {
    sim::run(12, |world| async move {
        let cluster = Cluster::seven(&world);
        let files = mixed();
        cluster.put(&files).await;
        for (path, bytes) in &files {
            let size = bytes.len();
            let middle = size / 2;
            for (start, end) in [
                (0, 1),
                (size - 1, size),
                (middle, middle + 1000),
                (middle.saturating_sub(70_000), size.min(middle + 70_000)),
                (SEGMENT.min(size) - 1, size.min(SEGMENT + 1)),
                (size, size),
            ] {
                let version = cluster.client.resolve(path.as_str(), None).await.unwrap();
                let put = Box::new(version.put().unwrap().clone());
                let range = Some((start as u64, end as u64));
                let item = GetItem { put, path: path.clone(), range };
                let mut sink = Collected::default();
                let report = cluster.client.get(Wanted::One(item), &mut sink, None).await.unwrap();
                assert!(report.failed.is_empty(), "{path} {start}..{end}: {:?}", report.failed);
                assert!(sink.files[path] == bytes[start..end], "{path} {start}..{end}");
            }
        }
    });
}
