//! A crash before, in the middle of and after every named step of the databases.
//!
//! One script does everything that they do. While it runs the files are copied before and after each
//! step; a torn step is the copy after it in which some sectors are as before. Each copy is opened:
//! what it knows is what was known before the operation that was cut off or what is known after it,
//! and the operations that follow come to what they came to undisturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use datamesh_catalog::points::{self, Watch};
use datamesh_catalog::{
    AccountDb, Append, CatalogError, Contents, Counter, DamagedCopy, NodeDb, NodeLimits, Owed,
    Owner, PeerAudit, SegmentWritten, SliceDone, Unindexed,
};
use datamesh_core::catalog::Operation;
use datamesh_core::seam::Moment;
use datamesh_core::{ContentTag, Context, Hash, LogId, SegmentId, VersionId};
use datamesh_testkit::random::Dice;

use crate::files::{Files, files, lay};
use crate::fixture::{
    Catalog, certificate, change, delete, id, owner, path, public, put, share, sign, tagged,
};
use crate::journal::transfer;
use crate::model::listed;
use crate::node::{advert, grant, node, receipt};

/// What SQLite writes at once.
const SECTOR: usize = 512;

/// Torn forms of each step: what a power cut leaves is chance.
const TORN: u64 = 4;

/// Operations after the one that was cut off that are done on a copy.
const ON: usize = 3;

/// Both databases in a folder.
#[derive(Default)]
struct Dbs {
    folder: PathBuf,
    watch: Option<Watch>,
    account: Option<AccountDb>,
    node: Option<NodeDb>,
}

impl Dbs {
    fn at(folder: &Path, watch: Option<Watch>) -> Self {
        Self { folder: folder.to_owned(), watch, ..Self::default() }
    }

    fn open(&mut self) -> Result<(), CatalogError> {
        (self.account, self.node) = (None, None);
        let (account, node) = (self.folder.join("catalog.db"), self.folder.join("node.db"));
        let limits = NodeLimits::default();
        let (account, node) = match &self.watch {
            Some(watch) => (
                AccountDb::open_watched(&account, owner(1), Arc::clone(watch))?,
                NodeDb::open_watched(&node, limits, Arc::clone(watch))?,
            ),
            None => (AccountDb::open(&account, owner(1))?, NodeDb::open(&node, limits)?),
        };
        (self.account, self.node) = (Some(account), Some(node));
        Ok(())
    }

    /// Puts the catalog aside and begins another, which writes another log.
    fn restore(&mut self) -> Result<(), CatalogError> {
        self.account = None;
        let file = self.folder.join("catalog.db");
        let owner = Owner { log: LogId([9; 16]), ..owner(1) };
        self.account = Some(match &self.watch {
            Some(watch) => AccountDb::restore_watched(&file, owner, Arc::clone(watch))?,
            None => AccountDb::restore(&file, owner)?,
        });
        Ok(())
    }

    fn account(&self) -> &AccountDb {
        self.account.as_ref().unwrap()
    }

    fn node(&self) -> &NodeDb {
        self.node.as_ref().unwrap()
    }

    /// Everything that is known, each part under its name.
    fn view(&self) -> BTreeMap<&'static str, String> {
        let (account, node) = (self.account(), self.node());
        let journal = account.journal();
        let mut view = BTreeMap::new();
        let mut add = |name, text| assert!(view.insert(name, text).is_none());
        let logs = account.logs().unwrap();
        let all: Vec<Vec<Operation>> =
            logs.iter().map(|end| account.operations(&end.log, 0, 4096).unwrap()).collect();
        add("logs", format!("{logs:?} {all:?}"));
        add("owner", format!("{:?} {}", account.owner(), account.whole()));
        add("promised", format!("{:?}", account.promised(u64::MAX).unwrap()));
        add("owed", format!("{:?}", account.owed(None, 100).unwrap()));
        add("epochs", format!("{:?}", account.epochs().unwrap()));
        let answers = || -> Result<String, CatalogError> {
            let versions = ["a", "b/c", "b/d"].map(|at| account.versions(&path(at), 0, 100));
            let uses = account.uses(&[SegmentId([1; 32]), SegmentId([2; 32])])?;
            Ok(format!(
                "{:?} {versions:?} {:?} {uses:?} {:?} {:?}",
                listed(account, None, true, &[])?,
                account.unindexed()?,
                account.having(&ContentTag([1; ContentTag::SIZE]))?,
                account.totals()?,
            ) + &format!("{:?}", account.shares(None, 100)?))
        };
        add("answers", answers().unwrap_or_else(|error| error.to_string()));
        account.check().unwrap();
        let transfers = journal.transfers().unwrap();
        let parts: Vec<_> = transfers
            .iter()
            .map(|transfer| {
                let slices = journal.slices(&transfer.id, 0, 100).unwrap();
                (slices, journal.segments(&transfer.id, None, 100).unwrap())
            })
            .collect();
        add("transfers", format!("{transfers:?} {parts:?}"));
        add("orphans", format!("{:?}", journal.orphans(None, 100).unwrap()));
        add("adverts", format!("{:?}", node.adverts().unwrap()));
        add("grants", format!("{:?}", node.grants().unwrap()));
        let receipts = [1, 2].map(|n| node.receipts(&SegmentId(crate::node::node(n).0)).unwrap());
        add("receipts", format!("{receipts:?}"));
        add("damaged", format!("{:?}", node.damaged_after(None).unwrap()));
        add("audits", format!("{:?}", node.audits().unwrap()));
        add("setting", format!("{:?}", node.setting("name").unwrap()));
        assert!(node.rebuilt().is_none() && journal.lost().is_none());
        view
    }
}

/// What an operation does.
type Act = dyn Fn(&mut Dbs) -> Result<(), CatalogError>;

struct Op {
    name: &'static str,
    act: Box<Act>,
}

fn op(name: &'static str, act: impl Fn(&mut Dbs) -> Result<(), CatalogError> + 'static) -> Op {
    Op { name, act: Box::new(act) }
}

fn append(dbs: &Dbs, append: Append) -> Result<(), CatalogError> {
    let append = Append { now: 1_700_000_000_000, ..append };
    dbs.account().append(append, |body| sign(1, Context::Operation, body)).map(drop)
}

fn owed(n: u8) -> Owed {
    Owed { segment: SegmentId([n; 32]), shard: n, version: VersionId(id("1")) }
}

/// What another device committed.
fn others() -> Vec<Operation> {
    let catalog = Catalog::of(2);
    catalog.append(vec![change(put("b/d", "of two")), delete("b/d", "gone"), change(put("a", "x"))])
}

/// Everything that the databases do.
fn script() -> Vec<Op> {
    let others = others();
    let beyond = others.clone();
    let first = transfer(1, "/data/disk.img", 10);
    let id1 = first.id;
    let segment = |n: u8| SegmentId([n; 32]);
    let audit = PeerAudit {
        node: node(1),
        ok: 1,
        corrupt: 2,
        missing: 3,
        refused: 4,
        busy: 5,
        timeout: 6,
        offline: 7,
        admitted: 8,
        recent: 9,
        epoch: 10,
        last: 11,
    };
    let copy = DamagedCopy { segment: segment(1), shard: 0, sequence: 5 };
    let written =
        move |n, acknowledged| SegmentWritten { segment: segment(n), acknowledged, sent: 7 };
    let slice = |number: u32| SliceDone { number, hash: Hash([7; 32]), sealed: vec![1; 200] };
    vec![
        op("open", Dbs::open),
        op("put", |dbs| {
            let changes = vec![change(put("a", "1")), change(tagged("b/c", "2", &["blue"]))];
            let contents = Contents {
                tags: vec![(ContentTag([1; ContentTag::SIZE]), VersionId(id("1")))],
                segments: vec![SegmentId([1; 32])],
            };
            let (owed, contents) = (vec![owed(1)], Some(contents));
            append(dbs, Append { changes, owed, contents, ..Append::default() })
        }),
        op("begin", move |dbs| dbs.account().journal().begin(&first)),
        op("name a segment", move |dbs| dbs.account().journal().segment(&id1, written(4, 0))),
        op("acknowledge", move |dbs| dbs.account().journal().segment(&id1, written(4, 0b1011))),
        op("slice", move |dbs| dbs.account().journal().slice(&id1, &slice(0))),
        op("another slice", move |dbs| dbs.account().journal().slice(&id1, &slice(1))),
        op("send", move |dbs| dbs.account().journal().sending(&segment(5), 70)),
        op("send another", move |dbs| dbs.account().journal().sending(&segment(6), 71)),
        op("settle", move |dbs| dbs.account().journal().settled(&[segment(5)])),
        op("end", move |dbs| dbs.account().journal().end(&id1, &[])),
        op("open again", Dbs::open),
        op("forget", |dbs| {
            let journal = dbs.account().journal();
            let orphans = journal.orphans(None, 100)?;
            journal.forget(&orphans)
        }),
        op("owe", |dbs| dbs.account().owe(&[owed(2), owed(3)])),
        op("pay", |dbs| dbs.account().paid(&[(owed(2).segment, 2)])),
        op("delete", |dbs| {
            let renew_published = vec![SegmentId([1; 32]), SegmentId([3; 32])];
            let changes = vec![delete("b/c", "3")];
            append(dbs, Append { changes, renew_published, ..Append::default() })
        }),
        op("keep a promise", |dbs| dbs.account().keep_promises(&[SegmentId([1; 32])], 3)),
        op("index", |dbs| {
            let from = Unindexed { log: LogId([1; 16]), after: 2 };
            let contents = Contents { segments: vec![SegmentId([2; 32])], ..Contents::default() };
            dbs.account().index_contents(from, 3, &contents)
        }),
        op("share", |dbs| {
            append(dbs, Append { changes: vec![share(1, "a")], ..Append::default() })
        }),
        op("note a share", |dbs| dbs.account().note_share(&public(1), [3; 16])),
        op("admit", |dbs| dbs.account().admit(LogId([2; 16]), &certificate(2))),
        op("commit", move |dbs| dbs.account().commit(&others).map(drop)),
        op("adverts", |dbs| {
            dbs.node().save_adverts(&[advert(1, 1, 100), advert(2, 1, 100)]).map(drop)
        }),
        op("newer advert", |dbs| dbs.node().save_adverts(&[advert(1, 2, 100)]).map(drop)),
        op("forget an advert", |dbs| dbs.node().forget_advert(&node(2))),
        op("grants", |dbs| dbs.node().save_grants(&[grant(1), grant(2)])),
        op("receipts", |dbs| dbs.node().save_receipts(&[receipt(1, 0, 1, 5), receipt(1, 1, 2, 5)])),
        op("forget a receipt", |dbs| dbs.node().forget(&SegmentId(node(1).0), &node(2))),
        op("damaged", move |dbs| dbs.node().save_damaged(&[copy])),
        op("mended", move |dbs| dbs.node().forget_damaged(&[copy])),
        op("audits", move |dbs| dbs.node().save_audits(&[audit])),
        op("count", |dbs| dbs.node().raise(Counter::Advert, 7).map(drop)),
        op("set", |dbs| dbs.node().save_setting("name", b"value")),
        op("open once more", Dbs::open),
        op("epochs", |dbs| dbs.account().keep_epochs(b"a record", &[(LogId([2; 16]), 1)])),
        op("take a log", |dbs| dbs.account().take_log(LogId([8; 16]))),
        op("put into it", |dbs| {
            append(dbs, Append { changes: vec![change(put("b/c", "4"))], ..Append::default() })
        }),
        op("restore", Dbs::restore),
        op("admit again", |dbs| dbs.account().admit(LogId([2; 16]), &certificate(2))),
        op("commit again", move |dbs| dbs.account().commit(&beyond).map(drop)),
        op("whole", |dbs| dbs.account().set_whole()),
        op("put on", |dbs| {
            append(dbs, Append { changes: vec![change(put("a", "5"))], ..Append::default() })
        }),
    ]
}

/// What a power cut may leave of a step: of bytes that changed some sectors, of names that changed
/// the first ones.
fn torn(before: &Files, after: &Files, dice: &mut Dice) -> Files {
    let moved = |name: &String| {
        let bytes = &after[name];
        !before.contains_key(name) && before.values().any(|old| old == bytes)
    };
    if after.keys().any(moved) {
        // A rename is there or not; what is removed behind it may still be there.
        if dice.one_in(2) {
            return before.clone();
        }
        let mut left = after.clone();
        let gone = before.iter().filter(|(name, _)| !after.contains_key(*name));
        let beside = gone.filter(|(name, _)| name.ends_with("-wal"));
        for (name, bytes) in beside.filter(|_| dice.one_in(2)) {
            left.insert(name.clone(), bytes.clone());
        }
        return left;
    }
    let mut left = after.clone();
    for (name, new) in &mut left {
        let old = before.get(name).cloned().unwrap_or_default();
        if *new == old {
            continue;
        }
        let length =
            old.len() + dice.below((new.len().saturating_sub(old.len()) + 1) as u64) as usize;
        new.truncate(length.max(old.len()));
        for at in (0..new.len()).step_by(SECTOR) {
            let end = (at + SECTOR).min(new.len());
            if dice.one_in(3) {
                let mut sector = old.get(at..end.min(old.len())).unwrap_or_default().to_vec();
                sector.resize(end - at, 0);
                new[at..end].copy_from_slice(&sector);
            }
        }
    }
    left
}

/// A step as it was taken.
struct Taken {
    /// Which operation it was part of.
    op: usize,
    point: &'static str,
    before: Files,
    after: Files,
}

/// Runs the script and copies the files around each step. Also gives what was known before each
/// operation and after the last, as another program would find it.
fn undisturbed(ops: &[Op]) -> (Vec<Taken>, Vec<BTreeMap<&'static str, String>>) {
    #[derive(Default)]
    struct Watched {
        op: usize,
        begun: Vec<(&'static str, Files)>,
        taken: Vec<Taken>,
    }
    let folder = tempfile::tempdir().unwrap();
    let watched: Arc<Mutex<Watched>> = Arc::default();
    let watch: Watch = {
        let (watched, folder) = (Arc::clone(&watched), folder.path().to_owned());
        Arc::new(move |point, moment| {
            let mut watched = watched.lock().unwrap();
            let now = files(&folder);
            match moment {
                Moment::Before => watched.begun.push((point, now)),
                Moment::After => {
                    let (begun, before) = watched.begun.pop().unwrap();
                    assert_eq!(begun, point);
                    let op = watched.op;
                    watched.taken.push(Taken { op, point, before, after: now });
                }
            }
        })
    };
    let mut dbs = Dbs::at(folder.path(), Some(watch));
    let mut views = Vec::new();
    for (number, op) in ops.iter().enumerate() {
        watched.lock().unwrap().op = number;
        (op.act)(&mut dbs).unwrap();
        views.push(seen(&files(folder.path())));
    }
    // Nothing is known before anything is there, which is what a fresh one knows.
    views.insert(0, views[0].clone());
    drop(dbs);
    let taken = std::mem::take(&mut watched.lock().unwrap().taken);
    (taken, views)
}

fn seen(files: &Files) -> BTreeMap<&'static str, String> {
    let folder = lay(files);
    let mut dbs = Dbs::at(folder.path(), None);
    dbs.open().unwrap();
    dbs.view()
}

/// Opens what a crash left and goes on. Says whether the operation that was cut off is done.
fn recover(
    left: &Files,
    number: usize,
    ops: &[Op],
    views: &[BTreeMap<&'static str, String>],
    context: &str,
) -> bool {
    let folder = lay(left);
    let mut dbs = Dbs::at(folder.path(), None);
    let mut next = number;
    match dbs.open() {
        Ok(()) => {
            let found = dbs.view();
            if found == views[number + 1] {
                next += 1;
            } else if found != views[number] {
                let differ = |other: &BTreeMap<&'static str, String>| {
                    let names = found.keys().filter(|name| found[*name] != other[*name]);
                    names
                        .map(|name| (*name, found[name].clone(), other[name].clone()))
                        .collect::<Vec<_>>()
                };
                let (old, new) = (differ(&views[number]), differ(&views[number + 1]));
                panic!("{context}: neither old {old:#?}\nnor new {new:#?}");
            }
        }
        // One that is half put aside says so and is restored again.
        Err(CatalogError::Damaged(_)) if ops[number].name == "restore" => {}
        Err(error) => panic!("{context}: {error}"),
    }
    if dbs.node.is_none() {
        dbs.node =
            Some(NodeDb::open(&folder.path().join("node.db"), NodeLimits::default()).unwrap());
    }
    let end = (next + ON).min(ops.len());
    for op in &ops[next..end] {
        (op.act)(&mut dbs).unwrap_or_else(|error| panic!("{context}, then {}: {error}", op.name));
    }
    let known = seen(&files(folder.path()));
    assert_eq!(known, views[end], "{context}: it goes on otherwise");
    next > number
}

#[test]
#[expect(clippy::print_stdout, reason = "how many there are is what is asked of it")]
fn a_crash_around_any_step_leaves_the_old_or_the_new() {
    let ops = script();
    let (taken, views) = undisturbed(&ops);
    let reached: BTreeSet<&str> = taken.iter().map(|taken| taken.point).collect();
    let missed: Vec<&str> =
        points::ALL.into_iter().filter(|point| !reached.contains(point)).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
    let (mut crashes, mut ends) = (0, [0; 2]);
    let mut dice = Dice::new(7);
    for (number, Taken { op, point, before, after }) in taken.iter().enumerate() {
        let context = |how: &str| format!("{point} of {:?} ({number}), {how}", ops[*op].name);
        recover(before, *op, &ops, &views, &context("before"));
        recover(after, *op, &ops, &views, &context("after"));
        for form in 0..TORN {
            let left = torn(before, after, &mut dice);
            let done = recover(&left, *op, &ops, &views, &context(&format!("torn {form}")));
            ends[usize::from(done)] += 1;
        }
        crashes += 2 + TORN;
    }
    assert!(ends[0] > 20 && ends[1] > 20, "torn steps were not done and done: {ends:?}");
    println!("{} points of the databases, {crashes} crashes", points::ALL.len());
}
