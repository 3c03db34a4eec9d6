//! The chain as people break it: edits, removals, moves, torn ends, rotation.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;

fn home() -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path().to_owned());
    (folder, home)
}

fn fill(home: &Home, count: u64) -> AuditLog {
    let log = AuditLog::of(home);
    for number in 1..=count {
        log.record("file.put", &[("name", format!("file {number}"))]);
    }
    log
}

fn problem(home: &Home) -> Option<AuditLogProblem> {
    verify_audit_log(home, None).unwrap().problem
}

#[test]
fn what_is_recorded_is_chained_listed_and_whole() {
    let (_folder, home) = home();
    assert_eq!(verify_audit_log(&home, None).unwrap().entries, 0);
    let log = fill(&home, 20);
    // Another process writes in between.
    AuditLog::of(&home).record("key.export", &[("device", "d".repeat(9000))]);
    log.record("file.get", &[]);
    let checked = verify_audit_log(&home, None).unwrap();
    assert_eq!((checked.entries, checked.first, checked.last), (22, Some(1), Some(22)));
    assert_eq!(checked.problem, None);
    let all = list_audit_log(&home, &AuditFilter::default()).unwrap();
    assert_eq!(all.len(), 22);
    assert!(all.windows(2).all(|pair| pair[1].entry.previous == pair[0].hash));
    assert!(all[20].entry.detail["device"].len() <= VALUE_BYTES_MAX + 3);
    let filter = |filter: AuditFilter| list_audit_log(&home, &filter).unwrap().len();
    assert_eq!(filter(AuditFilter { event: Some("key".into()), ..AuditFilter::default() }), 1);
    assert_eq!(filter(AuditFilter { event: Some("file".into()), ..AuditFilter::default() }), 21);
    assert_eq!(filter(AuditFilter { event: Some("fil".into()), ..AuditFilter::default() }), 0);
    assert_eq!(filter(AuditFilter { text: Some("file 1".into()), ..AuditFilter::default() }), 11);
    assert_eq!(filter(AuditFilter { limit: Some(5), ..AuditFilter::default() }), 5);
    let from = all[0].entry.time;
    assert_eq!(filter(AuditFilter { until: Some(from), ..AuditFilter::default() }), 0);
}

/// Every single byte of the log is watched, and so is every line's being there and its place.
#[test]
fn every_edit_removal_and_move_is_found_and_named() {
    let (_folder, home) = home();
    fill(&home, 12);
    let path = files(&home.file(FOLDER)).unwrap().remove(0);
    let whole = fs::read(&path).unwrap();
    let lines: Vec<Vec<u8>> = whole.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    assert_eq!(lines.len(), 12);
    let line_of = |at: usize| 1 + whole[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
    for at in 0..whole.len() {
        let mut edited = whole.clone();
        edited[at] ^= 1;
        fs::write(&path, &edited).unwrap();
        let found = problem(&home).unwrap();
        assert_eq!(found.line, Some(line_of(at)), "byte {at}: {found:?}");
    }
    for gone in 0..11 {
        let mut rest = lines.clone();
        rest.remove(gone);
        fs::write(&path, rest.concat()).unwrap();
        let found = problem(&home).unwrap();
        assert_eq!(found.number, if gone == 0 { 1 } else { gone as u64 + 1 }, "{found:?}");
    }
    for first in 0..12 {
        for second in first + 1..12 {
            let mut swapped = lines.clone();
            swapped.swap(first, second);
            fs::write(&path, swapped.concat()).unwrap();
            assert!(problem(&home).is_some(), "{first} and {second} swapped");
        }
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(problem(&home), None);
}

#[test]
fn a_noted_entry_shows_that_the_log_was_cut_short_or_written_anew() {
    let (_folder, home) = home();
    fill(&home, 5);
    let noted = verify_audit_log(&home, None).unwrap();
    let noted = Some((noted.last.unwrap(), noted.hash.unwrap()));
    fill(&home, 3);
    assert_eq!(verify_audit_log(&home, noted).unwrap().problem, None);
    let path = files(&home.file(FOLDER)).unwrap().remove(0);
    let whole = fs::read(&path).unwrap();
    let third = whole.split_inclusive(|byte| *byte == b'\n').take(3).map(<[u8]>::len).sum();
    fs::write(&path, &whole[..third]).unwrap();
    assert_eq!(problem(&home), None);
    let found = verify_audit_log(&home, noted).unwrap().problem.unwrap();
    assert!(found.what.contains("ends before"), "{found:?}");
    fs::remove_file(&path).unwrap();
    let log = AuditLog::of(&home);
    (0..9).for_each(|_| log.record("file.put", &[("name", "another".to_owned())]));
    assert_eq!(problem(&home), None);
    let found = verify_audit_log(&home, noted).unwrap().problem.unwrap();
    assert_eq!((found.number, found.line), (5, Some(5)), "{found:?}");
}

#[test]
fn a_torn_end_is_cut_off_and_said() {
    let (_folder, home) = home();
    fill(&home, 3);
    let path = files(&home.file(FOLDER)).unwrap().remove(0);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 10]).unwrap();
    assert!(problem(&home).unwrap().what.contains("torn"));
    fill(&home, 1);
    assert_eq!(problem(&home), None);
    let events: Vec<String> = list_audit_log(&home, &AuditFilter::default())
        .unwrap()
        .into_iter()
        .map(|recorded| recorded.entry.event)
        .collect();
    assert_eq!(events, ["file.put", "file.put", "log.torn", "file.put"]);
}

#[test]
fn rotation_keeps_the_chain_and_a_lost_file_is_missed() {
    let (_folder, home) = home();
    let small = || AuditLog { bounds: (2000, 4), ..AuditLog::of(&home) };
    let all = || files(&home.file(FOLDER)).unwrap();
    let log = small();
    while all().len() < 4 {
        log.record("file.put", &[("name", "n".repeat(100))]);
    }
    // Another process goes on where this one left.
    small().record("file.put", &[]);
    assert_eq!(problem(&home), None);
    let middle = all().remove(1);
    let kept = fs::read(&middle).unwrap();
    fs::remove_file(&middle).unwrap();
    assert!(problem(&home).unwrap().what.contains("does not follow"));
    fs::write(&middle, kept).unwrap();
    let oldest = all().remove(0);
    let kept = fs::read(&oldest).unwrap();
    fs::remove_file(&oldest).unwrap();
    assert!(problem(&home).unwrap().what.contains("no entry says"));
    fs::write(&oldest, kept).unwrap();
    assert_eq!(problem(&home), None);

    // The log takes no more room than it may, and says what it let go.
    let count = verify_audit_log(&home, None).unwrap().entries;
    while verify_audit_log(&home, None).unwrap().first < Some(count) {
        log.record("file.put", &[("name", "n".repeat(100))]);
        assert!(all().len() <= 4);
        assert_eq!(problem(&home), None);
    }
    let cut = AuditFilter { event: Some("log.cut".into()), ..AuditFilter::default() };
    assert!(!list_audit_log(&home, &cut).unwrap().is_empty());
}

#[test]
fn what_others_cause_cannot_push_the_rest_out() {
    let (_folder, home) = home();
    let log = fill(&home, 1);
    for _ in 0..10 * CAUSED_MAX {
        log.record_caused("invite.refused", &[]);
    }
    let entries = verify_audit_log(&home, None).unwrap().entries;
    // Two hours at most, however slow the machine is.
    assert!(entries <= 1 + 2 * CAUSED_MAX, "{entries}");
}
