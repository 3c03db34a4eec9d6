//! Duplicates and other names: no byte moves, nothing is overwritten unasked, and what became of one name
//! does not matter to another.

use std::collections::BTreeMap;

use datamesh_catalog::ListQuery;
use datamesh_client::{CleanupOptions, Client, ClientError, DuplicateOptions};
use datamesh_core::MeshPath;
use datamesh_testkit::{fixtures, sim};

use crate::collection::{Mesh, NOW, file};

type Tree = BTreeMap<MeshPath, Vec<u8>>;

fn path(text: &str) -> MeshPath {
    text.parse().unwrap()
}

/// The names that are listed, in order.
fn listed(client: &Client) -> Vec<String> {
    let query = ListQuery { recursive: true, ..ListQuery::default() };
    let page = client.catalog().list(&query).unwrap();
    page.rows.iter().map(|row| row.path().to_string()).collect()
}

/// The same content under other names.
fn under(tree: &Tree, from: &str, to: &str) -> Tree {
    let name = |path: &MeshPath| self::path(&path.as_str().replacen(from, to, 1));
    tree.iter().map(|(path, content)| (name(path), content.clone())).collect()
}

/// Files below a folder: one that lives in the catalog, some that share a segment, one of its own.
fn folder() -> Tree {
    let sizes = [700, 60_000, 61_000, 5_000_000];
    let one =
        |(n, size)| (path(&format!("album/part {}/{n}", n % 2)), fixtures::noise(n as u64, size));
    sizes.into_iter().enumerate().map(one).collect()
}

const SINGLE: DuplicateOptions =
    DuplicateOptions { version: None, recursive: false, replace: false };
const TREE: DuplicateOptions = DuplicateOptions { version: None, recursive: true, replace: false };

#[test]
fn a_duplicate_takes_no_room_and_outlives_the_other() {
    sim::run(1, |world| async move {
        let mesh = Mesh::new(&world);
        let client = &mesh.cluster.client;
        let tree = folder();
        mesh.cluster.put(&tree).await;
        let shards = mesh.shards();
        let placed = client.duplicate("album", &path("copy"), TREE).await.unwrap();
        assert_eq!((placed.files.len(), placed.pending), (tree.len(), 0));
        let copies = under(&tree, "album", "copy");
        mesh.cluster.assert_intact(&tree).await;
        mesh.cluster.assert_intact(&copies).await;
        assert_eq!(mesh.shards(), shards);
        let (one, other) = ("album/part 1/3", "copy/part 1/3");
        let file = |name: &'static str| async move {
            client.resolve(name, None).await.unwrap().put().unwrap().file
        };
        assert_ne!(file(one).await, file(other).await, "they are files of their own");

        // What they were made from is given up, and nodes remove what nothing refers to.
        client.remove_below(Some(path("album"))).await.unwrap();
        let names: Vec<String> = tree.keys().map(ToString::to_string).collect();
        let purged = client.purge(&names, &NOW, false).await.unwrap();
        assert_eq!((purged.versions, purged.unreferenced), (tree.len() as u64, 0));
        let all = CleanupOptions { orphaned: true, force: true, ..CleanupOptions::default() };
        client.cleanup(all).await.unwrap();
        mesh.days(60).await;
        mesh.collect().await;
        assert_eq!(mesh.shards(), shards);
        mesh.cluster.assert_intact(&copies).await;
    });
}

#[test]
fn a_file_and_a_folder_get_other_names() {
    sim::run(2, |world| async move {
        let mesh = Mesh::new(&world);
        let client = &mesh.cluster.client;
        let (tree, lone) = (folder(), file("lone", 9, 90_000));
        mesh.cluster.put(&tree).await;
        mesh.cluster.put(&lone).await;
        let shards = mesh.shards();
        let before = client.resolve("lone", None).await.unwrap();
        client.rename("lone", &path("deep/er/other"), false).await.unwrap();
        let placed = client.rename("album", &path("pictures"), false).await.unwrap();
        assert_eq!((placed.files.len(), placed.pending), (tree.len(), 0));
        assert_eq!(mesh.shards(), shards);
        let renamed = under(&tree, "album", "pictures");
        mesh.cluster.assert_intact(&renamed).await;
        mesh.cluster.assert_intact(&under(&lone, "lone", "deep/er/other")).await;
        let mut expected: Vec<String> = renamed.keys().map(ToString::to_string).collect();
        expected.insert(0, "deep/er/other".to_owned());
        assert_eq!(listed(client), expected);

        // It is the same file, and its version of before is where it was.
        let after = client.resolve("deep/er/other", None).await.unwrap();
        let (before, after) = (before.put().unwrap(), after.put().unwrap());
        assert_eq!((before.file, before.modified), (after.file, after.modified));
        assert_eq!(client.versions("lone").await.unwrap().len(), 2);
        assert!(matches!(client.resolve("lone", None).await, Err(ClientError::Deleted { .. })));
        client.undelete("lone", None).await.unwrap();
        mesh.cluster.assert_intact(&lone).await;
        // And back again, to a name that was there before.
        client.rename("pictures", &path("album"), false).await.unwrap();
        mesh.cluster.assert_intact(&tree).await;
    });
}

#[test]
fn what_is_in_the_way_stays_as_it_is() {
    sim::run(3, |world| async move {
        let mesh = Mesh::new(&world);
        let client = &mesh.cluster.client;
        let (one, two, tree) = (file("one", 1, 5000), file("two", 2, 5000), folder());
        for files in [&one, &two, &tree] {
            mesh.cluster.put(files).await;
        }
        let before = listed(client);
        let rename = |name: &'static str, to: &'static str| async move {
            client.rename(name, &path(to), false).await.unwrap_err()
        };
        assert!(matches!(rename("one", "two").await, ClientError::Taken { .. }));
        assert!(matches!(rename("one", "one").await, ClientError::SameName { .. }));
        assert!(matches!(rename("one", "album").await, ClientError::TakenByFolder { .. }));
        assert!(matches!(rename("album", "album/a").await, ClientError::IntoItself { .. }));
        assert!(matches!(rename("album", "album").await, ClientError::IntoItself { .. }));
        assert!(matches!(rename("none", "some").await, ClientError::NotFound { .. }));
        // As long as a name may be, but for five bytes.
        let long =
            path(&format!("{}/{}", ["x".repeat(250).as_str(); 16].join("/"), "y".repeat(75)));
        let error = client.rename("album", &long, false).await.unwrap_err();
        assert!(matches!(error, ClientError::NameTooLong { .. }), "{error}");
        let error = client.duplicate("album", &path("x"), SINGLE).await.unwrap_err();
        assert!(matches!(error, ClientError::Folder { .. }), "{error}");
        let error = client.duplicate("one", &path("x"), TREE).await.unwrap_err();
        assert!(matches!(error, ClientError::NothingBelow { .. }), "{error}");

        // One file of a folder is in the way: nothing at all is done.
        mesh.cluster.put(&file("other/part 1/3", 7, 700)).await;
        assert!(matches!(rename("album", "other").await, ClientError::Taken { .. }));
        let error = client.duplicate("album", &path("other"), TREE).await.unwrap_err();
        assert!(matches!(error, ClientError::Taken { .. }), "{error}");
        client.remove(&["other/part 1/3".to_owned()]).await.unwrap();
        assert_eq!(listed(client), before);
        // A folder that is there already is joined.
        let extra = file("other/extra", 8, 800);
        mesh.cluster.put(&extra).await;
        client.duplicate("album", &path("other"), TREE).await.unwrap();
        mesh.cluster.assert_intact(&extra).await;
        mesh.cluster.assert_intact(&under(&tree, "album", "other")).await;

        // Where it was asked for, what was there is a version of before.
        client.rename("one", &path("two"), true).await.unwrap();
        mesh.cluster.assert_intact(&under(&one, "one", "two")).await;
        let first = client.resolve("two", Some(1)).await.unwrap();
        let first = first.put().unwrap();
        assert_eq!(first.hash.0, *blake3::hash(&two[&path("two")]).as_bytes());
        let error = client.rename(&first.version.to_string(), &path("three"), false).await;
        assert!(matches!(error, Err(ClientError::NotCurrent { .. })), "{error:?}");
        let older = DuplicateOptions { version: Some(1), ..SINGLE };
        client.duplicate("two", &path("first"), older).await.unwrap();
        mesh.cluster.assert_intact(&under(&two, "two", "first")).await;
    });
}
