//! A get whose sink has the beginning of a large file already.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use datamesh_client::{ClientError, GetItem, GetReport, Wanted};
use datamesh_core::stream::LARGE_BYTES_MIN;
use datamesh_core::{Hash, MeshPath};
use datamesh_testkit::{fixtures, sim};

use crate::cluster::{Cluster, single};
use crate::streams::Collected;

/// Plaintext of a slice that fills its segment.
const SLICE: u64 = 64 * 65_520;

/// Fetches the one file to a sink that has `held` bytes of it.
async fn fetched(
    cluster: &Cluster,
    path: &MeshPath,
    held: u64,
    range: Option<(u64, u64)>,
) -> (Result<GetReport, ClientError>, Collected) {
    let version = cluster.client.resolve(path.as_str(), None).await.unwrap();
    let put = Box::new(version.put().unwrap().clone());
    let mut sink = Collected::holding(held);
    let item = GetItem { put, path: path.clone(), range };
    let report = cluster.client.get(Wanted::One(item), &mut sink, None).await;
    (report, sink)
}

#[test]
fn only_what_the_sink_does_not_have_is_fetched() {
    sim::run(41, |world| async move {
        let cluster = Cluster::seven(&world);
        let files = single(LARGE_BYTES_MIN as usize + 77_777);
        let (path, bytes) = files.iter().next().unwrap();
        let size = bytes.len() as u64;
        assert!(cluster.put(&files).await.failed.is_empty());
        for held in [0, 1, SLICE - 1, SLICE, SLICE + 1, 3 * SLICE + 1_000_000, size - 1] {
            let (report, sink) = fetched(&cluster, path, held, None).await;
            let report = report.unwrap();
            assert_eq!((report.files, report.bytes, report.resumed_bytes), (1, size, held));
            assert_eq!(sink.hash, Some(Hash(*blake3::hash(bytes).as_bytes())));
            assert!(sink.files[path] == bytes[held as usize..], "{held}");
        }
        // More than there is cannot be.
        let (report, _) = fetched(&cluster, path, size + 1, None).await;
        assert!(matches!(report, Err(ClientError::Stream(_))), "{report:?}");
        // A range is not continued, whatever the sink has.
        let (report, sink) = fetched(&cluster, path, 1000, Some((0, size))).await;
        assert_eq!(report.unwrap().resumed_bytes, 0);
        assert!(sink.hash.is_none() && sink.files[path] == *bytes);
        // Where all is there, nobody is asked.
        for node in &cluster.nodes {
            world.kill(node.id);
        }
        let (report, sink) = fetched(&cluster, path, size, None).await;
        assert_eq!(report.unwrap().resumed_bytes, size);
        assert!(sink.files[path].is_empty());
        let (report, sink) = fetched(&cluster, path, SLICE, None).await;
        assert_eq!(report.unwrap().failed.len(), 1);
        assert!(sink.files.is_empty());
    });
}

#[test]
fn entries_around_a_continued_one_come_whole_and_in_order() {
    sim::run(42, |world| async move {
        let cluster = Cluster::seven(&world);
        let large = LARGE_BYTES_MIN as usize;
        let files: BTreeMap<MeshPath, Vec<u8>> =
            [("a", 300_000), ("b", large), ("c", large - 1), ("d", 10)]
                .into_iter()
                .map(|(name, size)| (name.parse().unwrap(), fixtures::noise(size as u64, size)))
                .collect();
        assert!(cluster.put(&files).await.failed.is_empty());
        let held = 2 * SLICE + 5;
        let mut sink = Collected::holding(held);
        let done = Arc::new(Mutex::new(0));
        let told = Arc::clone(&done);
        let progress = Arc::new(move |progress: datamesh_client::Progress| {
            *told.lock().unwrap() = progress.bytes;
        });
        let report = cluster.client.get(Wanted::Below(None), &mut sink, Some(progress)).await;
        let report = report.unwrap();
        let all: u64 = files.values().map(|bytes| bytes.len() as u64).sum();
        assert_eq!((report.files, report.bytes, report.resumed_bytes), (4, all, held));
        assert_eq!(*done.lock().unwrap(), all, "progress counts what was there");
        for (path, bytes) in &files {
            // The one below the bound is small.
            let from = if path.as_str() == "b" { held as usize } else { 0 };
            assert!(sink.files[path] == bytes[from..], "{path}");
        }
    });
}
