//! Files get the scheme that suits the mesh, whatever breaks off in the middle.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use datamesh_client::{ClientError, GetItem, PutOptions, ReschemeOptions, Wanted};
use datamesh_core::catalog::EntryKind;
use datamesh_core::stream::{EntryHead, Piece, Source, StreamError};
use datamesh_core::{BoxFuture, MeshPath, Scheme};
use datamesh_testkit::{fixtures, sim};

use crate::cluster::{Cluster, Shape};
use crate::streams::{Collected, Files};

const SEGMENT: usize = 64 * 65_520;

fn files() -> BTreeMap<MeshPath, Vec<u8>> {
    let mut files: BTreeMap<MeshPath, Vec<u8>> = (0..20)
        .map(|n| (format!("small/{n}").parse().unwrap(), fixtures::noise(n, 40_000)))
        .collect();
    files.insert("inline".parse().unwrap(), b"few bytes".to_vec());
    files.insert("large".parse().unwrap(), fixtures::noise(99, 2 * SEGMENT + 300_000));
    files
}

fn old() -> PutOptions {
    PutOptions { scheme: Some(Scheme::FOUR_TWO), ..PutOptions::default() }
}

async fn schemes(cluster: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    for path in files().keys() {
        let version = cluster.client.resolve(path.as_str(), None).await.unwrap();
        let protection = version.put().unwrap().protection;
        found.extend(protection.map(|protection| protection.scheme.to_string()));
    }
    found.dedup();
    found
}

fn grown() -> Shape {
    Shape { nodes: 16, ..Shape::default() }
}

#[test]
fn files_of_a_smaller_mesh_get_the_scheme_of_the_larger_one() {
    sim::run(41, |world| async move {
        let cluster = Cluster::new(&world, &grown());
        let files = files();
        let report = cluster.client.put(&mut Files::new(&files), &old(), None).await.unwrap();
        assert!(report.failed.is_empty() && report.stopped.is_none(), "{report:?}");
        assert_eq!(schemes(&cluster).await, ["4+2"]);
        let look = ReschemeOptions { dry_run: true, ..ReschemeOptions::default() };
        let looked = cluster.client.rescheme(&look).await.unwrap();
        assert_eq!((looked.versions, looked.scheme.to_string()), (21, "8+4".to_owned()));
        assert!(looked.stored_before >= looked.bytes * 3 / 2);
        assert!(looked.stored_after >= looked.bytes * 3 / 2);
        assert_eq!(looked.rewritten, Default::default());
        // One by name, then all that is left.
        let one = ReschemeOptions { names: vec!["large".to_owned()], ..Default::default() };
        let done = cluster.client.rescheme(&one).await.unwrap();
        assert_eq!((done.versions, done.rewritten.versions), (1, 1));
        assert_eq!(done.rewritten.unreferenced, done.segments);
        let done = cluster.client.rescheme(&ReschemeOptions::default()).await.unwrap();
        assert_eq!((done.versions, done.rewritten.versions), (20, 20));
        assert_eq!(done.rewritten.made, done.segments);
        assert_eq!(done.rewritten.unreferenced, done.segments);
        assert_eq!(schemes(&cluster).await, ["8+4"]);
        let version = cluster.client.resolve("large", None).await.unwrap();
        for placed in cluster.client.placement(version.put().unwrap()).await.unwrap() {
            assert_eq!((placed.holders.len(), placed.margin()), (12, Some(4)));
        }
        cluster.assert_intact(&files).await;
        let again = cluster.client.rescheme(&ReschemeOptions::default()).await.unwrap();
        assert_eq!((again.versions, again.segments), (0, 0));
        // A new put finds what is there in the new scheme.
        let copy =
            BTreeMap::from([("copy".parse().unwrap(), files[&"large".parse().unwrap()].clone())]);
        assert_eq!(cluster.put(&copy).await.known_bytes, 2 * SEGMENT as u64 + 300_000);
    });
}

#[test]
fn a_mesh_that_is_too_small_for_a_scheme_is_told_so() {
    sim::run(42, |world| async move {
        let cluster = Cluster::seven(&world);
        cluster.put(&files()).await;
        let options =
            ReschemeOptions { scheme: Some(Scheme::new(8, 4).unwrap()), ..Default::default() };
        let refused = cluster.client.rescheme(&options).await;
        assert!(matches!(refused, Err(ClientError::TooFewDomains { .. })), "{refused:?}");
        assert_eq!(schemes(&cluster).await, ["4+2"]);
    });
}

#[test]
fn one_that_breaks_off_anywhere_loses_nothing_and_the_next_goes_on() {
    for (number, after) in [5, 20, 40, 80, 120, 200, 400].into_iter().enumerate() {
        sim::run(400 + number as u64, move |world| async move {
            let cluster = Cluster::new(&world, &grown());
            let files = files();
            cluster.client.put(&mut Files::new(&files), &old(), None).await.unwrap();
            let options = ReschemeOptions::default();
            let coding = cluster.client.rescheme(&options);
            let _ = tokio::time::timeout(Duration::from_millis(after), coding).await;
            cluster.assert_intact(&files).await;
            cluster.client.rescheme(&options).await.unwrap();
            assert_eq!(schemes(&cluster).await, ["8+4"]);
            cluster.assert_intact(&files).await;
        });
    }
}

/// Zeros, more of them than fit into memory well.
struct Zeros {
    left: u64,
    begun: bool,
}

impl Source for Zeros {
    fn next_entry(&mut self) -> BoxFuture<'_, Result<Option<EntryHead>, StreamError>> {
        Box::pin(async {
            if std::mem::replace(&mut self.begun, true) {
                return Ok(None);
            }
            let (path, size) = ("zeros".parse().unwrap(), Some(self.left));
            let kind = EntryKind::File;
            Ok(Some(EntryHead {
                path,
                kind,
                mode: 0,
                modified: 0,
                tags: Vec::new(),
                size,
                source: None,
                hash: None,
            }))
        })
    }

    fn next_piece(&mut self) -> BoxFuture<'_, Result<Piece, StreamError>> {
        static PIECE: [u8; 256 * 1024] = [0; 256 * 1024];
        Box::pin(async {
            if self.left == 0 {
                return Ok(Piece::End);
            }
            let length = self.left.min(PIECE.len() as u64);
            self.left -= length;
            Ok(Piece::Bytes(Bytes::from_static(&PIECE[..length as usize])))
        })
    }
}

#[test]
fn a_file_with_a_long_manifest_is_known_and_coded_anew() {
    sim::run(44, |world| async move {
        let cluster = Cluster::new(&world, &grown());
        // 175 slices: the manifest has a segment of its own.
        let size = 175 * SEGMENT as u64;
        let mut zeros = Zeros { left: size, begun: false };
        let report = cluster.client.put(&mut zeros, &old(), None).await.unwrap();
        assert!(report.failed.is_empty() && report.stopped.is_none(), "{report:?}");
        assert_eq!(report.known_bytes, size - SEGMENT as u64);
        let done = cluster.client.rescheme(&ReschemeOptions::default()).await.unwrap();
        assert_eq!(done.rewritten.versions, 1);
        // Its own manifest's segment went, too.
        assert_eq!(done.rewritten.unreferenced, done.segments + 1);
        let version = cluster.client.resolve("zeros", None).await.unwrap();
        let put = Box::new(version.put().unwrap().clone());
        assert_eq!(put.protection.unwrap().scheme.to_string(), "8+4");
        let range = Some((size - 1000, size));
        let item = GetItem { path: put.path.clone(), put, range };
        let mut sink = Collected::default();
        let got = cluster.client.get(Wanted::One(item), &mut sink, None).await.unwrap();
        assert!(got.failed.is_empty(), "{:?}", got.failed);
        assert_eq!(sink.files[&"zeros".parse().unwrap()], vec![0; 1000]);
    });
}
