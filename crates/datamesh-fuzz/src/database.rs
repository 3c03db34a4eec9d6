//! The databases' files with parts overwritten: SQLite's own structure is part of what is parsed.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use datamesh_catalog::{
    AccountDb, Counter, DamagedCopy, FetchedQuery, NodeDb, NodeLimits, Owed, Owner, SearchDb,
    SearchQuery, SegmentWritten, Source, Transfer,
};
use datamesh_core::{AccountId, FileId, LogId, PublicKey, Scheme, SegmentId, VersionId};
use tempfile::TempDir;

const OWNER: Owner =
    Owner { account: AccountId([1; 32]), log: LogId([2; 16]), log_key: PublicKey([3; 32]) };

/// The files of a catalog, its journal, a node's database and a search index.
const NAMES: [&str; 4] = ["catalog.db", "catalog.db.transfers", "node.db", "search.db"];

/// Files that are opened together.
const TOGETHER: [&[usize]; 3] = [&[0, 1], &[2], &[3]];

/// Most parts that are overwritten.
const PATCHES_MAX: usize = 16;

fn folder() -> Option<TempDir> {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).ok(),
        false => tempfile::tempdir().ok(),
    }
}

/// What the files are before anything is overwritten; nothing where they cannot be made.
static SAMPLE: LazyLock<Option<[Vec<u8>; 4]>> = LazyLock::new(|| {
    let folder = folder()?;
    let path = |name: &str| folder.path().join(name);
    {
        let account = AccountDb::open(&path(NAMES[0]), OWNER).ok()?;
        let node = NodeDb::open(&path(NAMES[2]), NodeLimits::default()).ok()?;
        let search = SearchDb::open(&path(NAMES[3])).ok()?;
        for n in 0..30u8 {
            let segment = SegmentId([n; 32]);
            account.owe(&[Owed { segment, shard: n, version: VersionId([n; 16]) }]).ok()?;
            let source =
                Source { name: format!("/data/{n}"), size: 1, modified: 2, identity: [1, 2, 3] };
            let path = format!("file {n}").parse().ok()?;
            let scheme = Scheme::FOUR_TWO;
            let transfer = Transfer { id: [n; 16], source, path, started: 1, scheme };
            account.journal().begin(&transfer).ok()?;
            let written = SegmentWritten { segment, acknowledged: 1, sent: 1 };
            account.journal().segment(&transfer.id, written).ok()?;
            node.save_damaged(&[DamagedCopy { segment, shard: n, sequence: 1 }]).ok()?;
            node.save_setting(&format!("name {n}"), &[n; 20]).ok()?;
            node.raise(Counter::Advert, 7).ok()?;
            search.note_fetched(&[FileId([n; 16])], 1_700_000_000_000).ok()?;
        }
    }
    let read = |name| fs::read(path(name)).ok();
    Some([read(NAMES[0])?, read(NAMES[1])?, read(NAMES[2])?, read(NAMES[3])?])
});

/// The first byte chooses the file; each part has a place, a length and bytes.
pub(crate) fn database(bytes: &[u8]) {
    let (Some(sample), Some(folder)) = (&*SAMPLE, folder()) else { return };
    let Some((choice, mut rest)) = bytes.split_first() else { return };
    let choice = usize::from(*choice) % NAMES.len();
    let Some(together) = TOGETHER.iter().find(|together| together.contains(&choice)) else {
        return;
    };
    for number in together.iter().copied() {
        let (name, mut file) = (NAMES[number], sample[number].clone());
        if number == choice {
            for _ in 0..PATCHES_MAX {
                let Some((head, after)) = rest.split_first_chunk::<4>() else { break };
                let at =
                    (usize::from(head[0]) << 16 | usize::from(head[1]) << 8) + usize::from(head[2]);
                let at = at % file.len();
                let end = (at + usize::from(head[3])).min(file.len()).min(at + after.len());
                file[at..end].copy_from_slice(&after[..end - at]);
                rest = &after[end - at..];
            }
        }
        if fs::write(folder.path().join(name), file).is_err() {
            return;
        }
    }
    let path = |number: usize| folder.path().join(NAMES[number]);
    match choice {
        0 | 1 => account(&path(0)),
        2 => node(&path(2)),
        _ => search(&path(3)),
    }
}

fn account(path: &Path) {
    let Ok(account) = AccountDb::open(path, OWNER) else { return };
    for owed in account.owed(None, 1000).unwrap_or_default() {
        assert!(owed.segment.0 == [owed.shard; 32], "a shard that was never owed");
    }
    let _checked = account.check();
    let _logs = account.logs();
    let journal = account.journal();
    for transfer in journal.transfers().unwrap_or_default() {
        assert!(transfer.scheme == Scheme::FOUR_TWO, "a transfer that never was");
        let _segments = journal.segments(&transfer.id, None, 100);
    }
    let _orphans = journal.orphans(None, 100);
}

fn node(path: &Path) {
    let Ok(node) = NodeDb::open(path, NodeLimits::default()) else { return };
    for copy in node.damaged_after(None).unwrap_or_default() {
        assert!(copy.segment.0 == [copy.shard; 32], "a copy that was never damaged");
    }
    let _setting = node.setting("name 1");
    let _raised = node.raise(Counter::Advert, 7);
}

/// What is found is proved by the catalog, so nothing is certain here but that it ends.
fn search(path: &Path) {
    let Ok(search) = SearchDb::open(path) else { return };
    let words = SearchQuery { words: Some("a".to_owned()), limit: 10, ..SearchQuery::default() };
    let _found = search.search(&words);
    let _listed = search.search(&SearchQuery { limit: 10, ..SearchQuery::default() });
    let _fetched = search.fetched(FetchedQuery { since: 0, limit: 10 });
    let _noted = search.note_fetched(&[FileId([1; 16])], 1_700_000_000_000);
}
