//! Three folders that are mirrored both ways with one account, while people work in each of them:
//! in the end all three are the same, and nothing that nobody threw away is missing.

use std::collections::BTreeSet;
use std::fs;

use datamesh_mirror::Options;
use datamesh_mirror::plan::Direction;
use datamesh_testkit::random::Dice;

use super::replica::{Replica, options};
use datamesh_testkit::account::Account;

/// Contents that people wrote and threw away.
#[derive(Default)]
struct Contents {
    written: BTreeSet<Vec<u8>>,
    discarded: BTreeSet<Vec<u8>>,
    count: u64,
}

impl Contents {
    /// Something that was never there; all of one length, so that only looking inside tells.
    fn fresh(&mut self) -> Vec<u8> {
        self.count += 1;
        let bytes = format!("content {:08}", self.count).into_bytes();
        self.written.insert(bytes.clone());
        bytes
    }

    fn discard(&mut self, path: &std::path::Path) {
        if let Ok(bytes) = fs::read(path) {
            self.discarded.insert(bytes);
        }
    }
}

/// Names that meet each other often, as files and as folders.
fn name(dice: &mut Dice) -> String {
    const PARTS: [&str; 5] = ["a", "b", "c.txt", "d", "\u{e9} x"];
    let depth = 1 + dice.below(3);
    let parts: Vec<&str> = (0..depth).map(|_| PARTS[dice.below(5) as usize]).collect();
    parts.join("/")
}

/// One of the files that are there.
fn some_file(replica: &Replica, dice: &mut Dice) -> Option<String> {
    let mut names = replica.names();
    names.retain(|name| !name.ends_with('/'));
    let count = names.len() as u64;
    (count > 0).then(|| names.swap_remove(dice.below(count) as usize))
}

/// Something that a person does. What the file system refuses was not done.
fn work(replica: &Replica, contents: &mut Contents, dice: &mut Dice) {
    match dice.below(10) {
        0..4 => {
            let path = replica.path(&name(dice));
            if fs::create_dir_all(path.parent().unwrap()).is_ok() && !path.is_dir() {
                contents.discard(&path);
                fs::write(path, contents.fresh()).unwrap();
            }
        }
        4 | 5 => {
            if let Some(file) = some_file(replica, dice) {
                contents.discard(&replica.path(&file));
                fs::write(replica.path(&file), contents.fresh()).unwrap();
            }
        }
        6 => {
            if let Some(file) = some_file(replica, dice) {
                contents.discard(&replica.path(&file));
                replica.remove(&file);
            }
        }
        7 => {
            if let Some(file) = some_file(replica, dice) {
                let to = replica.path(&name(dice));
                let free = fs::create_dir_all(to.parent().unwrap()).is_ok() && !to.exists();
                if free {
                    fs::rename(replica.path(&file), to).unwrap();
                }
            }
        }
        8 => {
            // A whole folder gets another name.
            let (from, to) = (replica.path(&name(dice)), replica.path(&name(dice)));
            let inside = to.starts_with(&from);
            if from.is_dir()
                && !inside
                && fs::create_dir_all(to.parent().unwrap()).is_ok()
                && !to.exists()
            {
                fs::rename(from, to).unwrap();
            }
        }
        _ => {
            let folder = replica.path(&name(dice));
            // An empty folder comes or goes.
            if fs::create_dir(&folder).is_err() {
                let _ = fs::remove_dir(&folder);
            }
        }
    }
}

/// All of it, from one seed. `together`: passes run at the same time, and some are cut off.
async fn run(seed: u64, together: bool) {
    let mut dice = Dice::new(seed);
    let account = Account::new();
    let replicas = [Replica::new(), Replica::new(), Replica::new()];
    // People here do empty their folders.
    let both = Options { delete: true, ..options(Direction::Both) };
    let mut contents = Contents::default();
    for _ in 0..12 {
        for replica in &replicas {
            for _ in 0..dice.below(4) {
                work(replica, &mut contents, &mut dice);
            }
        }
        if together && dice.one_in(3) {
            // The process ends in the middle.
            account.light(dice.below(30));
            let at = dice.below(3) as usize;
            tokio::select! {
                biased;
                () = account.burnt.notified() => {}
                report = replicas[at].try_pass(&account, &both) => drop(report.unwrap()),
            }
            account.light(u64::MAX);
        } else if together {
            let [a, b, c] = &replicas;
            let (a, b, c) = tokio::join!(
                a.pass(&account, &both),
                b.pass(&account, &both),
                c.pass(&account, &both)
            );
            drop((a, b, c));
        } else {
            let at = dice.below(3) as usize;
            replicas[at].pass(&account, &both).await;
            if dice.one_in(10) && replicas[at].home.join("sync").exists() {
                // The memory of it is lost, or cannot be believed.
                let base = replicas[at].base_file();
                match dice.one_in(2) {
                    true => fs::remove_file(base).unwrap(),
                    false => fs::write(base, b"something else").unwrap(),
                }
            }
        }
    }
    let mut quiet = false;
    for _ in 0..20 {
        quiet = true;
        for replica in &replicas {
            let report = replica.pass(&account, &both).await;
            quiet &= !report.did_something();
        }
        if quiet {
            break;
        }
    }
    assert!(quiet, "seed {seed}: it does not come to rest");
    let trees: Vec<_> = replicas.iter().map(Replica::files).collect();
    assert_eq!(trees[0], trees[1], "seed {seed}");
    assert_eq!(trees[1], trees[2], "seed {seed}");
    let left: BTreeSet<&Vec<u8>> = trees[0].values().collect();
    for bytes in contents.written.difference(&contents.discarded) {
        let shown = String::from_utf8_lossy(bytes);
        assert!(left.contains(bytes), "seed {seed}: {shown:?} is missing");
    }
}

/// Seeds of each test.
fn seeds() -> std::ops::Range<u64> {
    match std::env::var("DATAMESH_MIRROR_SEED").ok().and_then(|text| text.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..60,
    }
}

#[tokio::test]
async fn one_after_the_other_they_become_alike_and_lose_nothing() {
    for seed in seeds() {
        run(seed, false).await;
    }
}

#[tokio::test]
async fn at_the_same_time_and_cut_off_they_become_alike_and_lose_nothing() {
    for seed in seeds() {
        run(seed, true).await;
    }
}
