//! What shrinks takes less room on the nodes and comes back whole or in parts.

use std::collections::BTreeMap;
use std::time::Duration;

use datamesh_client::{Compress, GetItem, PutOptions, ShrinkOptions, Wanted};
use datamesh_core::MeshPath;
use datamesh_testkit::{fixtures, sim};

use crate::cluster::Cluster;
use crate::devices::Device;
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

/// Writing that a fast compressor finds less in: lines of a few hundred words in no order.
fn prose(seed: u64, length: usize) -> Vec<u8> {
    let words: Vec<String> = (0..700_u64)
        .map(|word| {
            let noise = fixtures::noise(word, 9);
            let letters = noise.iter().take(2 + usize::from(noise[0]) % 7);
            letters.map(|byte| char::from(b'a' + byte % 26)).collect()
        })
        .collect();
    let mut out = Vec::with_capacity(length + 16);
    for pair in fixtures::noise(seed, length).chunks(2) {
        let which = usize::from(pair[0]) * 256 + usize::from(pair[pair.len() - 1]);
        // A few words are met often.
        let word = if which % 3 == 0 { which / 3 % 40 } else { which / 3 % words.len() };
        out.extend_from_slice(words[word].as_bytes());
        out.push(if which % 11 == 0 { b'\n' } else { b' ' });
        if out.len() >= length {
            break;
        }
    }
    out.truncate(length);
    out
}

#[test]
fn what_is_read_seldom_becomes_smaller_and_stays_what_it_is() {
    sim::run(14, |world| async move {
        let cluster = Cluster::seven(&world);
        let mut files: BTreeMap<MeshPath, Vec<u8>> = BTreeMap::new();
        let mut add = |path: &str, bytes| files.insert(path.parse().unwrap(), bytes);
        add("long", prose(1, 2 * SEGMENT + 70_000));
        add("short", prose(2, 50_000));
        add("read lately", prose(3, 400_000));
        add("noise", fixtures::noise(5, 300_000));
        let off = PutOptions { compress: Compress::Off, ..PutOptions::default() };
        let report = cluster.client.put(&mut Files::new(&files), &off, None).await.unwrap();
        assert_eq!(report.stored.len(), 4);
        let young = cluster.client.engine().now();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let lately = cluster.client.resolve("read lately", None).await.unwrap();
        let options = ShrinkOptions {
            read_lately: [lately.put().unwrap().file].into(),
            made_before: young + 1000,
            dry_run: true,
        };
        let tried = cluster.client.shrink(&options).await.unwrap();
        assert_eq!((tried.versions, tried.sampled), (3, 3));
        assert!(tried.sampled_saved > tried.sampled_bytes / 4, "{tried:?}");
        assert_eq!(tried.rewritten.versions, 0);
        let none = ShrinkOptions { made_before: young - 10_000, ..options.clone() };
        assert_eq!(cluster.client.shrink(&none).await.unwrap().versions, 0);

        let before = cluster.client.all_segments().await.unwrap();
        let options = ShrinkOptions { dry_run: false, ..options };
        let done = cluster.client.shrink(&options).await.unwrap();
        assert_eq!((done.versions, done.rewritten.versions, done.rewritten.pending), (3, 2, 0));
        assert!(done.rewritten.made_bytes < done.bytes / 2, "{done:?}");
        assert!(done.rewritten.released.segments > 0);
        cluster.assert_intact(&files).await;
        assert_ne!(cluster.client.all_segments().await.unwrap(), before);
        // What is as small as can be stays where it is.
        let again = cluster.client.shrink(&options).await.unwrap();
        assert_eq!((again.versions, again.rewritten.versions), (3, 0));
        // A device that has the words alone reads the same.
        let other = Device::blank(&cluster, 91);
        other.client.catch_up().await.unwrap();
        assert!(other.bytes().await == files);
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
