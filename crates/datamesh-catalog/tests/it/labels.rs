//! Labels change a version's tags and its note: the same whatever comes first, and what two devices add is
//! both there.

use datamesh_catalog::{AccountDb, ListQuery};
use datamesh_core::VersionId;
use datamesh_core::catalog::{Change, Label, Operation};
use proptest::prelude::*;

use crate::fixture::{Catalog, certificate, change, delete, id, owner, path, tagged};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn label(version: &str, add: &[&str], remove: &[&str], note: Option<&str>) -> Change {
    Change::Label(Label {
        version: VersionId(id(version)),
        created: 5,
        add: words(add),
        remove: words(remove),
        note: note.map(str::to_owned),
    })
}

/// Tags and note as a list, and as the version says.
fn labels(db: &AccountDb, at: &str) -> (Vec<String>, String) {
    let summary = db.summary(&path(at)).unwrap().unwrap();
    let version = db.lookup(&path(at)).unwrap().unwrap();
    assert_eq!((&summary.tags, &summary.note), (&version.put().unwrap().tags, &version.note));
    (summary.tags, summary.note)
}

/// Paths that a tag leads to.
fn having(db: &AccountDb, tag: &str) -> Vec<String> {
    let query = ListQuery { recursive: true, tags: words(&[tag]), ..ListQuery::default() };
    db.list(&query).unwrap().rows.iter().map(|row| row.path().to_string()).collect()
}

#[test]
fn tags_come_and_go_and_the_last_note_stays() {
    let catalog = Catalog::new();
    catalog.append(vec![
        change(tagged("a", "one", &["blue", "red"])),
        label("one", &["green"], &["red"], Some("first")),
    ]);
    let catalog = catalog.reopened();
    assert_eq!(labels(&catalog.db, "a"), (words(&["blue", "green"]), "first".to_owned()));
    assert_eq!(having(&catalog.db, "green"), ["a"]);
    assert_eq!(having(&catalog.db, "red"), [] as [&str; 0]);
    catalog.append(vec![label("one", &["red"], &[], None), label("one", &[], &[], Some(""))]);
    assert_eq!(labels(&catalog.db, "a"), (words(&["blue", "green", "red"]), String::new()));
    catalog.db.check().unwrap();

    // Another version has its own; those of the one before stay with it.
    catalog.append(vec![change(tagged("a", "two", &["black"]))]);
    assert_eq!(labels(&catalog.db, "a"), (words(&["black"]), String::new()));
    assert_eq!(having(&catalog.db, "green"), [] as [&str; 0]);
    catalog.append(vec![label("one", &["white"], &[], Some("old"))]);
    assert_eq!(having(&catalog.db, "white"), [] as [&str; 0]);
    let first = catalog.db.version(&path("a"), 1).unwrap().unwrap();
    assert_eq!(first.put().unwrap().tags, words(&["blue", "green", "red", "white"]));
    assert_eq!(first.note, "old");
    catalog.append(vec![label("two", &["grey"], &[], None), delete("a", "gone")]);
    assert_eq!(having(&catalog.db, "grey"), [] as [&str; 0]);
    catalog.db.check().unwrap();
}

#[test]
fn a_version_has_no_more_tags_than_it_may() {
    let catalog = Catalog::new();
    let many: Vec<String> = (0..60).map(|n| format!("tag {n:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    catalog.append(vec![change(tagged("a", "one", &many))]);
    catalog.append(vec![label("one", &["x1", "x2", "x3", "x4", "x5", "x6"], &[], None)]);
    let (tags, _) = labels(&catalog.db, "a");
    assert_eq!(tags.len(), 64);
    assert_eq!(having(&catalog.db, "x4"), ["a"]);
    assert_eq!(having(&catalog.db, "x5"), [] as [&str; 0]);
    catalog.db.check().unwrap();
}

#[test]
fn a_tag_that_had_no_room_does_not_come_back_when_there_is() {
    let catalog = Catalog::new();
    let many: Vec<String> = (0..63).map(|n| format!("tag {n:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    catalog.append(vec![change(tagged("a", "one", &many))]);
    catalog.append(vec![label("one", &["x1", "x2"], &[], None)]);
    catalog.append(vec![label("one", &[], &["tag 00"], None), label("one", &[], &[], Some("n"))]);
    assert_eq!(labels(&catalog.db, "a").0.len(), 63);
    assert_eq!(having(&catalog.db, "x1"), ["a"]);
    assert_eq!(having(&catalog.db, "x2"), [] as [&str; 0]);
    catalog.db.check().unwrap();
}

/// Changes of one device.
fn changes() -> impl Strategy<Value = Vec<Change>> {
    const TAGS: [&str; 3] = ["blue", "green", "red"];
    let tags = || proptest::sample::subsequence(&TAGS[..], 0..=3);
    let one = (0..4_u8, 0..3_usize, tags(), tags(), any::<bool>()).prop_map(
        |(kind, which, add, remove, noted)| {
            let version = ["one", "two", "three"][which];
            match kind {
                0 => label(version, &add, &remove, None),
                _ => label(version, &add, &remove, noted.then_some(version)),
            }
        },
    );
    prop::collection::vec(one, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Puts of one device and labels of two arrive in every order: what is seen is the same.
    #[test]
    fn logs_may_come_in_any_order(by_one in changes(), by_two in changes()) {
        let one = Catalog::of(1);
        let puts = one.append(vec![
            change(tagged("a", "one", &["blue"])),
            change(tagged("b", "two", &[])),
            change(tagged("a", "three", &["red"])),
        ]);
        let two = Catalog::of(2);
        let by_one = one.append(by_one);
        let by_two = two.append(by_two);
        let parts: [&[Operation]; 3] = [&puts, &by_one, &by_two];
        let mut seen = Vec::new();
        for order in [[0, 1, 2], [2, 0, 1], [0, 2, 1]] {
            let catalog = Catalog::of(3);
            for seed in [1, 2] {
                catalog.db.admit(owner(seed).log, &certificate(seed)).unwrap();
            }
            for part in order {
                catalog.db.commit(parts[part]).unwrap();
            }
            catalog.db.check().unwrap();
            let tagged = ["blue", "green", "red"].map(|tag| having(&catalog.db, tag));
            let first = catalog.db.version(&path("a"), 1).unwrap().unwrap();
            let labels = ["a", "b"].map(|at| labels(&catalog.db, at));
            seen.push((tagged, labels, first.put().unwrap().tags.clone(), first.note));
        }
        prop_assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    }
}

#[test]
fn what_two_devices_add_is_both_there() {
    let one = Catalog::of(1);
    let puts = one.append(vec![change(tagged("a", "one", &[]))]);
    let two = Catalog::of(2);
    two.db.admit(owner(1).log, &certificate(1)).unwrap();
    two.db.commit(&puts).unwrap();
    let by_two = two.append(vec![label("one", &["of two"], &[], Some("by two"))]);
    one.append(vec![label("one", &["of one"], &[], None)]);
    one.db.admit(owner(2).log, &certificate(2)).unwrap();
    one.db.commit(&by_two).unwrap();
    assert_eq!(labels(&one.db, "a"), (words(&["of one", "of two"]), "by two".to_owned()));
}
