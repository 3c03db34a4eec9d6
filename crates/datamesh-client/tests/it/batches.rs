//! Many files in one stream: tags of their own, few at once, and fetched by name.

use std::collections::BTreeMap;

use datamesh_client::{PutOptions, Wanted};
use datamesh_core::MeshPath;
use datamesh_testkit::{fixtures, sim};

use crate::cluster::Cluster;
use crate::streams::{Collected, Files};

fn path(text: &str) -> MeshPath {
    text.parse().unwrap()
}

#[test]
fn files_of_one_put_have_tags_of_their_own_and_bad_ones_hold_up_nobody() {
    sim::run(31, |world| async move {
        let cluster = Cluster::seven(&world);
        let files: BTreeMap<MeshPath, Vec<u8>> =
            ["a", "b", "c", "d"].map(|name| (path(name), fixtures::noise(1, 70_000))).into();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mut source = Files::new(&files)
            .tagged(&path("a"), words(&["one", "all"]))
            .tagged(&path("b"), words(&[""]))
            .tagged(&path("c"), (0..64).map(|number| number.to_string()).collect());
        let options = PutOptions { tags: words(&["all"]), parallel: 1, ..PutOptions::default() };
        let report = cluster.client.put(&mut source, &options, None).await.unwrap();
        let failed: Vec<&str> = report.failed.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(failed, ["b", "c"]);
        assert!(report.stopped.is_none());
        assert_eq!(report.stored.len(), 2);
        let tags =
            |name: &str| cluster.client.catalog().summary(&path(name)).unwrap().unwrap().tags;
        assert_eq!(tags("a"), ["all", "one"]);
        assert_eq!(tags("d"), ["all"]);
    });
}

#[test]
fn files_are_fetched_by_name_however_few_at_once() {
    sim::run(32, |world| async move {
        let cluster = Cluster::seven(&world);
        let mut files: BTreeMap<MeshPath, Vec<u8>> = (0..40)
            .map(|number| (path(&format!("{number}")), fixtures::noise(number, 9_000)))
            .collect();
        files.insert(path("large"), fixtures::noise(99, 5 << 20));
        cluster.put(&files).await;
        for parallel in [0, 1, 3] {
            let mut names: Vec<MeshPath> = files.keys().cloned().collect();
            names.insert(7, path("nobody"));
            let mut sink = Collected::default();
            let wanted = Wanted::Files(names, parallel);
            let report = cluster.client.get(wanted, &mut sink, None).await.unwrap();
            assert_eq!(report.files, files.len() as u64);
            assert_eq!(report.failed.len(), 1);
            assert_eq!(report.failed[0].path, path("nobody"));
            assert_eq!(sink.files, files);
        }
    });
}
