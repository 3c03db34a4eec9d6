//! Heads that are corrupted on the disks of some of those who keep them: whoever reads finds the newest
//! all the same, and nothing that never was.

use datamesh_client::derive_epochs;
use datamesh_testkit::numbers::{corruptions, each};
use datamesh_testkit::random::Dice;
use datamesh_testkit::{FaultyDisk, fixtures, sim};

use crate::cluster::Cluster;
use crate::devices::{Device, told};

/// Bytes of a block.
const BLOCK: usize = 4096;

/// Changes the first pack of a disk, where its heads are, in one of the ways in which disks do.
/// `older` is what it was before the newest head came.
fn corrupt(disk: &FaultyDisk, older: &[u8], dice: &mut Dice) -> &'static str {
    let pack = datamesh_store::name_of(1);
    let bytes = disk.contents(&pack).unwrap();
    // The newest head is behind what was there before.
    let newest = (older.len() / BLOCK * BLOCK).min(bytes.len() - 1);
    let range = bytes.len() - newest;
    let at = newest + dice.below(range as u64) as usize;
    match dice.below(5) {
        0 => {
            disk.flip(&pack, 8 * at as u64 + dice.below(8));
            "a bit flipped"
        }
        1 => {
            let mut noise = vec![0; 1 + dice.below(600) as usize];
            dice.fill(&mut noise);
            noise.truncate(bytes.len() - at);
            disk.overwrite(&pack, at, &noise);
            "a range overwritten"
        }
        2 => {
            disk.overwrite(&pack, newest, &vec![0; range]);
            "a stale end"
        }
        3 => {
            // What lies elsewhere in the pack, where the newest head should be.
            let from = BLOCK * dice.below((newest / BLOCK).max(1) as u64) as usize;
            let end = (from + BLOCK).min(from + range).min(bytes.len());
            disk.overwrite(&pack, newest, &bytes[from..end]);
            "a misdirected block"
        }
        _ => {
            let last = bytes.len() - bytes.len().min(BLOCK);
            let first = bytes[newest..bytes.len().min(newest + BLOCK)].to_vec();
            let second = bytes[last..].to_vec();
            disk.overwrite(&pack, last, &first[..first.len().min(second.len())]);
            disk.overwrite(&pack, newest, &second[..second.len().min(first.len())]);
            "two blocks swapped"
        }
    }
}

fn struck(number: u64) {
    sim::run(number, |world| async move {
        let cluster = Cluster::seven(&world);
        let one = Device::blank(&cluster, 21);
        one.client.catch_up().await.unwrap();
        for n in 0..3 {
            one.put(&format!("file {n}"), &fixtures::noise(n, 3000)).await;
        }
        let pack = datamesh_store::name_of(1);
        let older: Vec<Vec<u8>> =
            cluster.nodes.iter().map(|node| node.disk.contents(&pack).unwrap()).collect();
        one.put("file 0", &fixtures::noise(9, 2000)).await;
        let (expected, bytes) = (told(one.client.catalog()), one.bytes().await);

        // As many as a quorum can miss.
        let mut dice = Dice::new(number);
        let mut nodes: Vec<usize> = (0..cluster.nodes.len()).collect();
        for _ in 0..=dice.below(2) {
            let struck = nodes.swap_remove(dice.below(nodes.len() as u64) as usize);
            let what = corrupt(&cluster.nodes[struck].disk, &older[struck], &mut dice);
            world.note(format!("{struck}: {what}"));
        }
        let words = Device::blank(&cluster, 90);
        let engine = words.client.engine();
        assert!(derive_epochs(engine, &words.keys, &cluster.words).await.unwrap());
        let caught = words.client.catch_up().await.unwrap();
        assert!(!caught.may_be_old, "corruption {number}: {caught:?}");
        assert_eq!(told(words.client.catalog()), expected, "corruption {number}");
        assert!(words.bytes().await == bytes, "corruption {number}: other bytes");
    });
}

#[test]
fn heads_that_are_corrupted_where_they_are_kept_hide_nothing() {
    each(&corruptions(9..10), || (), |(), number| struck(number));
}
