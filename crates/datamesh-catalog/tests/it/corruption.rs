//! Random corruptions of the databases' files, their write-ahead logs among them, one at a time, each
//! judged for itself. The catalog gives the right answer or refuses. The journal and the node's
//! database, whose rows others have too or which only save work, give rows that were written and no
//! others.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use datamesh_catalog::{
    AccountDb, Counter, DamagedCopy, NodeDb, NodeLimits, SegmentWritten, SliceDone,
};
use datamesh_core::{Hash, SegmentId};
use datamesh_testkit::numbers::{corruptions, each};
use datamesh_testkit::random::Dice;

use crate::damage::{Tally, ask};
use crate::files::{Files, files, folder, lay};
use crate::fixture::{append, change, delete, owner, put, tagged};
use crate::journal::transfer;
use crate::model::Model;
use crate::node::{advert, grant, node, receipt};

const PAGE: usize = 4096;

/// The files in three states: what is there now, closed and as the end of a program leaves it, and
/// how they were before.
struct Sample {
    closed: Files,
    killed: Files,
    older: Vec<Files>,
}

/// Changes one of the files whose names begin so. Returns which and how.
fn corrupt(sample: &Sample, of: &str, dice: &mut Dice) -> (Files, String, &'static str) {
    let mut left = if dice.one_in(2) { sample.closed.clone() } else { sample.killed.clone() };
    let names: Vec<String> = left.keys().filter(|name| name.starts_with(of)).cloned().collect();
    let name = names[dice.below(names.len() as u64) as usize].clone();
    let older = &sample.older[dice.below(sample.older.len() as u64) as usize];
    let bytes = left.get_mut(&name).unwrap();
    if bytes.is_empty() {
        return (left, name, "empty");
    }
    let at = dice.below(bytes.len() as u64) as usize;
    let pages = bytes.len() / PAGE;
    let page = |dice: &mut Dice| PAGE * dice.below(pages.max(1) as u64) as usize;
    let what = match dice.below(11) {
        0 | 1 => {
            bytes[at] ^= 1 << dice.below(8);
            "a bit flipped"
        }
        2 | 3 => {
            // The inside of pages is mostly content; their headers and cell pointers mislead more.
            let at = (page(dice) + dice.below(64) as usize).min(bytes.len() - 1);
            bytes[at] ^= 1 << dice.below(8);
            "a bit of a page's header flipped"
        }
        4 => {
            let mut noise = vec![0; 1 + dice.below(64) as usize];
            dice.fill(&mut noise);
            let end = (at + noise.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&noise[..end - at]);
            "a range overwritten"
        }
        5 => {
            let end = (at + 1 + dice.below(8192) as usize).min(bytes.len());
            bytes[at..end].fill(0);
            "a range zeroed"
        }
        6 => {
            bytes.truncate(at);
            "truncated"
        }
        7 if pages > 1 => {
            let (from, to) = (page(dice), page(dice));
            bytes.copy_within(from..from + PAGE, to);
            "a misdirected page"
        }
        8 if pages > 1 => {
            let (one, two) = (page(dice), page(dice));
            let first = bytes[one..one + PAGE].to_vec();
            bytes.copy_within(two..two + PAGE, one);
            bytes[two..two + PAGE].copy_from_slice(&first);
            "two pages swapped"
        }
        9 => {
            let at = page(dice);
            let end = (at + PAGE).min(bytes.len());
            if let Some(stale) = older.get(&name).and_then(|older| older.get(at..end)) {
                bytes[at..end].copy_from_slice(stale);
            }
            "a stale page"
        }
        _ => {
            match older.get(&name) {
                Some(older) => bytes.clone_from(older),
                None => bytes.clear(),
            }
            "a stale file"
        }
    };
    (left, name, what)
}

/// A catalog with its journal.
struct Account {
    sample: Sample,
    model: Model,
    /// Every row that the journal had at some time.
    transfers: BTreeSet<String>,
    slices: BTreeSet<String>,
    segments: BTreeSet<String>,
    orphans: BTreeSet<String>,
}

fn text(value: impl std::fmt::Debug) -> String {
    format!("{value:?}")
}

impl Account {
    fn new() -> Self {
        let folder = folder();
        let open = || AccountDb::open(&folder.path().join("catalog.db"), owner(1)).unwrap();
        let mut db = open();
        let mut account = Self {
            sample: Sample { closed: Files::new(), killed: Files::new(), older: Vec::new() },
            model: Model::default(),
            transfers: BTreeSet::new(),
            slices: BTreeSet::new(),
            segments: BTreeSet::new(),
            orphans: BTreeSet::new(),
        };
        for n in 0..12u32 {
            let mut changes = Vec::new();
            for part in 0..10 {
                let n = n * 10 + part;
                let at = format!("folder {}/name {:03}", n % 7, n % 60);
                let tags: &[&str] = if n % 3 == 0 { &["blue"] } else { &["green", "red"] };
                changes.push(change(tagged(&at, &format!("version {n}"), tags)));
                if n % 5 == 0 {
                    changes.push(delete(&at, &format!("marker {n}")));
                }
            }
            account.model.apply(&append(&db, 1, changes).unwrap());
            let journal = db.journal();
            let one = transfer(n as u8, &format!("/data/{n}"), 10 + u64::from(n));
            journal.begin(&one).unwrap();
            for acknowledged in [0, 0b101, 0b1010] {
                let segment = SegmentId([n as u8; 32]);
                let written = SegmentWritten { segment, acknowledged, sent: 7 };
                journal.segment(&one.id, written).unwrap();
                account.note(&db);
            }
            let slice =
                SliceDone { number: n, hash: Hash([n as u8; 32]), sealed: vec![n as u8; 90] };
            journal.slice(&one.id, &slice).unwrap();
            account.note(&db);
            if n % 3 == 1 {
                journal.end(&one.id, &[]).unwrap();
            }
            journal.sending(&SegmentId([100 + n as u8; 32]), 70).unwrap();
            if n % 4 == 3 {
                account.sample.older.push(files(folder.path()));
                drop(db);
                account.sample.older.push(files(folder.path()));
                db = open();
            }
            account.note(&db);
        }
        account.model.apply(&append(&db, 1, vec![change(put("last", "last"))]).unwrap());
        account.sample.killed = files(folder.path());
        drop(db);
        account.sample.closed = files(folder.path());
        // What has an orphan's row is one where nothing is under way any more.
        for files in [&account.sample.closed, &account.sample.killed].map(Clone::clone) {
            let folder = lay(&files);
            let db = AccountDb::open(&folder.path().join("catalog.db"), owner(1)).unwrap();
            account.note(&db);
        }
        for files in account.sample.older.clone() {
            let folder = lay(&files);
            let db = AccountDb::open(&folder.path().join("catalog.db"), owner(1)).unwrap();
            account.note(&db);
        }
        account
    }

    /// What the journal says, as texts: transfers, slices, segments and orphans.
    fn rows(db: &AccountDb) -> Option<[Vec<String>; 4]> {
        let journal = db.journal();
        let transfers = journal.transfers().ok()?;
        let (mut slices, mut segments) = (Vec::new(), Vec::new());
        for transfer in &transfers {
            let id = transfer.id;
            slices.extend(journal.slices(&id, 0, 100).ok()?.iter().map(|slice| text((id, slice))));
            let found = journal.segments(&id, None, 100).ok()?;
            segments.extend(found.iter().map(|segment| text((id, segment))));
        }
        let orphans = journal.orphans(None, 100).ok()?;
        let transfers = transfers.iter().map(text).collect();
        Some([transfers, slices, segments, orphans.iter().map(text).collect()])
    }

    fn note(&mut self, db: &AccountDb) {
        let [transfers, slices, segments, orphans] = Self::rows(db).unwrap();
        self.transfers.extend(transfers);
        self.slices.extend(slices);
        self.segments.extend(segments);
        self.orphans.extend(orphans);
        // A segment whose transfer cannot be read is an orphan: it is not resumed either.
        for transfer in db.journal().transfers().unwrap() {
            let found = db.journal().segments(&transfer.id, None, 100).unwrap();
            self.orphans.extend(found.iter().map(|written| {
                let (id, segment, sent) = (transfer.id, written.segment, written.sent);
                format!("Orphan {{ transfer: {id:?}, segment: {segment:?}, sent: {sent:?} }}")
            }));
        }
    }

    fn struck(&self, number: u64, of: &str) -> (usize, usize) {
        let mut dice = Dice::new(815 + number);
        let (left, name, what) = corrupt(&self.sample, of, &mut dice);
        let context = format!("corruption {number}, {what} in {name}");
        let folder = lay(&left);
        let mut tally = Tally::default();
        match AccountDb::open(&folder.path().join("catalog.db"), owner(1)) {
            Ok(db) => {
                tally.context.clone_from(&context);
                // A page of before is right in itself. It is found when all is compared, which is
                // done before anything is released.
                tally.wrong = (what == "a stale page").then_some(0);
                ask(&db, &self.model, &mut tally);
                if tally.wrong.is_some_and(|wrong| wrong > 0) {
                    assert!(db.check().is_err(), "{context}: it was not found");
                    tally.refused += 1;
                }
                tally.refused += usize::from(db.journal().lost().is_some());
                if let Some([transfers, slices, segments, orphans]) = Self::rows(&db) {
                    let is = |all: &BTreeSet<String>, found: &[String]| {
                        found.iter().find(|row| !all.contains(*row)).cloned()
                    };
                    assert_eq!(is(&self.transfers, &transfers), None, "{context}");
                    assert_eq!(is(&self.slices, &slices), None, "{context}");
                    assert_eq!(is(&self.segments, &segments), None, "{context}");
                    assert_eq!(is(&self.orphans, &orphans), None, "{context}");
                }
            }
            Err(_) => tally.refused += 1,
        }
        (tally.right, tally.refused)
    }
}

/// A node's database, and every row that it had at some time.
struct Node {
    sample: Sample,
    /// How many rows there are.
    whole: usize,
    rows: BTreeSet<String>,
}

impl Node {
    fn new() -> Self {
        let folder = folder();
        let open = || NodeDb::open(&folder.path().join("node.db"), NodeLimits::default()).unwrap();
        let mut db = open();
        let mut sample = Sample { closed: Files::new(), killed: Files::new(), older: Vec::new() };
        let mut rows = BTreeSet::new();
        for n in 0..60u32 {
            db.save_adverts(&[advert(n % 20, u64::from(n), 100)]).unwrap();
            db.save_grants(&[grant(u64::from(n))]).unwrap();
            db.save_receipts(&[receipt(n % 9, 1, n % 5, u64::from(n))]).unwrap();
            let segment = SegmentId([n as u8; 32]);
            db.save_damaged(&[DamagedCopy { segment, shard: 1, sequence: u64::from(n) }]).unwrap();
            db.save_setting("name", format!("value {n}").as_bytes()).unwrap();
            db.raise(Counter::Advert, 7).unwrap();
            if n % 20 == 19 {
                sample.older.push(files(folder.path()));
                drop(db);
                sample.older.push(files(folder.path()));
                db = open();
            }
            rows.extend(Self::rows(&db).unwrap());
        }
        let whole = Self::rows(&db).unwrap().len();
        sample.killed = files(folder.path());
        drop(db);
        sample.closed = files(folder.path());
        Self { sample, whole, rows }
    }

    fn rows(db: &NodeDb) -> Option<Vec<String>> {
        let mut rows: Vec<String> = db.adverts().ok()?.iter().map(text).collect();
        rows.extend(db.grants().ok()?.iter().map(text));
        for n in 0..9 {
            rows.extend(db.receipts(&SegmentId(node(n).0)).ok()?.iter().map(text));
        }
        rows.extend(db.damaged_after(None).ok()?.iter().map(text));
        rows.extend(db.setting("name").ok()?.map(text));
        Some(rows)
    }

    fn struck(&self, number: u64) -> (usize, usize) {
        let mut dice = Dice::new(515 + number);
        let (left, name, what) = corrupt(&self.sample, "node.db", &mut dice);
        let folder = lay(&left);
        let db = NodeDb::open(&folder.path().join("node.db"), NodeLimits::default());
        let Some(rows) = db.ok().and_then(|db| Self::rows(&db)) else { return (0, 1) };
        let wrong = rows.iter().find(|row| !self.rows.contains(*row));
        assert_eq!(wrong, None, "corruption {number}, {what} in {name}");
        (rows.len(), usize::from(rows.len() < self.whole))
    }
}

/// Runs corruptions of one kind; in a long enough run some of them are answered and some refused.
fn strike<S>(
    digits: std::ops::Range<u64>,
    make: impl Fn() -> S + Sync,
    struck: impl Fn(&S, u64) -> (usize, usize) + Sync,
) {
    let (right, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let numbers = corruptions(digits);
    each(&numbers, make, |sample, number| {
        let (told, not) = struck(sample, number);
        right.fetch_add(told, Ordering::Relaxed);
        refused.fetch_add(not, Ordering::Relaxed);
    });
    let (right, refused) = (right.into_inner(), refused.into_inner());
    let enough = right > numbers.len() && refused > numbers.len() / 50;
    assert!(enough || numbers.len() < 50, "{right} answers, {refused} refusals");
}

#[test]
fn a_corrupted_catalog_tells_the_truth_or_nothing() {
    strike(5..7, Account::new, |account, number| account.struck(number, "catalog.db"));
}

#[test]
fn a_corrupted_journal_tells_nothing_that_never_was() {
    let struck = |account: &Account, number| account.struck(number, "catalog.db.transfers");
    strike(7..8, Account::new, struck);
}

#[test]
fn a_corrupted_database_of_a_node_tells_nothing_that_never_was() {
    strike(8..9, Node::new, Node::struck);
}
