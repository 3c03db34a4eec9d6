//! The end of the program in the middle of commits.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use datamesh_catalog::AccountDb;

use crate::fixture::{Catalog, append, change, delete, owner, path, put};

const CHILD: &str = "DATAMESH_CATALOG_CRASH_CHILD";

/// Commits from three threads until it is killed, and says what was acknowledged.
fn commit_for_ever(file: PathBuf) -> ! {
    let db = AccountDb::open(&file, owner(1)).unwrap();
    let start = db.tip().unwrap().sequence;
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let db = &db;
            scope.spawn(move || {
                for n in 0u64.. {
                    let name = format!("{start}-{thread}-{n}");
                    let count = n % 4 + 1;
                    let mut changes: Vec<_> = (0..count)
                        .map(|part| change(put(&format!("file {part}"), &format!("{name}-{part}"))))
                        .collect();
                    changes.push(delete("file 0", &format!("{name}-marker")));
                    let made = append(db, 1, changes).unwrap();
                    let mut out = std::io::stdout().lock();
                    for operation in made {
                        writeln!(out, "acknowledged {} {}", operation.sequence, operation.hash())
                            .unwrap();
                    }
                    out.flush().unwrap();
                }
            });
        }
    });
    unreachable!("the threads do not end by themselves")
}

#[test]
fn every_acknowledged_operation_survives_a_killed_program() {
    if let Some(file) = std::env::var_os(CHILD) {
        commit_for_ever(file.into());
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalog.db");
    let mut acknowledged = Vec::new();
    for round in 0..6u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::every_acknowledged_operation_survives_a_killed_program"])
            .args(["--nocapture", "--test-threads", "1"])
            .env(CHILD, &file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: &str, wanted: &mut u64| {
            if let Some((sequence, hash)) =
                line.strip_prefix("acknowledged ").and_then(|rest| rest.split_once(' '))
            {
                acknowledged.push((sequence.parse::<u64>().unwrap(), hash.to_owned()));
                *wanted = wanted.saturating_sub(1);
            }
        };
        let mut wanted = 5 + round * 13;
        while wanted > 0 {
            note(&lines.next().unwrap().unwrap(), &mut wanted);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What was still in the pipe was acknowledged too; a line that was cut is not whole.
        for line in lines.map_while(Result::ok) {
            if line.len() > 64 && line.rsplit(' ').next().is_some_and(|hash| hash.len() == 64) {
                note(&line, &mut 0);
            }
        }
        let db = AccountDb::open(&file, owner(1)).unwrap();
        let log = db.operations(&owner(1).log, 0, 4096).unwrap();
        for (sequence, hash) in &acknowledged {
            let operation = &log[*sequence as usize - 1];
            assert_eq!(operation.sequence, *sequence);
            assert_eq!(operation.hash().to_string(), *hash);
        }
        assert_eq!(db.check().unwrap().operations, log.len() as u64);
    }
    assert!(acknowledged.len() > 100);
}

#[test]
fn a_catalog_that_is_dropped_or_copied_while_open_is_whole() {
    let catalog = Catalog::new();
    for n in 0..20 {
        catalog.append(vec![change(put("a", &n.to_string()))]);
        let copy = tempfile::tempdir().unwrap();
        for name in
            ["catalog.db", "catalog.db-wal", "catalog.db.transfers", "catalog.db.transfers-wal"]
        {
            std::fs::copy(catalog.folder.path().join(name), copy.path().join(name)).unwrap();
        }
        let db = AccountDb::open(&copy.path().join("catalog.db"), owner(1)).unwrap();
        assert_eq!(db.lookup(&path("a")).unwrap().unwrap().number, n + 1);
    }
    let catalog = catalog.reopened();
    assert_eq!(catalog.db.check().unwrap().operations, 20);
}
