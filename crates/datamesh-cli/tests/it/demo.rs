//! The demonstration does what it says.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use datamesh_testkit::fixtures::{TreeShape, noise, tree_of};
use datamesh_testkit::processes::Done;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::program;

/// Processes whose command line names the folder.
fn processes(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.unwrap().path().join("cmdline")).ok())
        .map(|words| String::from_utf8_lossy(&words).into_owned())
        .filter(|words| words.contains(folder))
        .collect()
}

#[test]
fn the_demo_loses_two_nodes_and_no_file_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (files, temporary) = (folder.path().join("files"), folder.path().join("tmp"));
    std::fs::create_dir_all(&temporary).unwrap();
    std::fs::create_dir_all(&files).unwrap();
    tree_of(1, &files, TreeShape { bytes: 6 << 20, small_files: 50 }).unwrap();
    let output = program()
        .args(["demo", "--json", "--path"])
        .arg(&files)
        .env("TMPDIR", &temporary)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(crate::schemas::compare("demo", std::slice::from_ref(&report)), [""; 0]);
    assert_eq!(report["different"].as_array().unwrap().len(), 0, "{report}");
    assert_eq!(report["identical"], report["files"]);
    assert!(report["files"].as_u64().unwrap() > 50);
    assert_eq!(report["killed"].as_array().unwrap().len(), 2);
    assert_eq!(report["scheme"], "4+2");
    let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (files, temporary) = (folder.path().join("files"), folder.path().join("tmp"));
    fs::create_dir(&temporary).unwrap();
    fs::create_dir(&files).unwrap();
    fs::write(files.join("file"), noise(1, 3_000_000)).unwrap();
    for (signal, code, said) in
        [(Signal::INT, 130, "starting"), (Signal::TERM, 143, "know each other")]
    {
        let mut demo = program()
            .args(["demo", "--path"])
            .arg(&files)
            .env("TMPDIR", &temporary)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(demo.stderr.take().unwrap()).lines();
        let reached = lines.by_ref().any(|line| line.unwrap().contains(said));
        assert!(reached, "it ended before it said \"{said}\"");
        kill_process(Pid::from_raw(demo.id() as i32).unwrap(), signal).unwrap();
        for line in lines {
            line.unwrap();
        }
        assert_eq!(demo.wait().unwrap().code(), Some(code));
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
        assert_eq!(processes(&temporary), [""; 0]);
    }
}

#[test]
fn a_kept_demo_goes_on_and_says_how_to_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let (files, temporary) = (folder.path().join("files"), folder.path().join("tmp"));
    fs::create_dir(&temporary).unwrap();
    fs::create_dir(&files).unwrap();
    fs::write(files.join("file"), noise(1, 300_000)).unwrap();
    let mut demo = program();
    demo.args(["demo", "--keep", "--json", "--path"]).arg(&files).env("TMPDIR", &temporary);
    let report = Done::from(demo.output().unwrap()).ok().json();
    let kept = &report["kept"];
    let pids: Vec<Pid> = kept["pids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pid| Pid::from_raw(pid.as_i64().unwrap() as i32).unwrap())
        .collect();
    assert_eq!(pids.len(), 5, "seven nodes less two");
    let got = program()
        .args(["get", "--", "file", "-"])
        .env("DATAMESH_HOME", kept["home"].as_str().unwrap())
        .env("DATAMESH_PASSWORD_FILE", kept["password_file"].as_str().unwrap())
        .output()
        .unwrap();
    for pid in &pids {
        kill_process(*pid, Signal::TERM).unwrap();
    }
    assert!(got.stdout == noise(1, 300_000), "{}", String::from_utf8_lossy(&got.stderr));
    let end = Instant::now() + Duration::from_secs(60);
    // Where nobody takes an ended process off the list it stays on it, with an empty command line.
    while !processes(&temporary).is_empty()
        && pids.iter().any(|pid| test_kill_process(*pid).is_ok())
    {
        assert!(Instant::now() < end, "they go on: {:?}", processes(&temporary));
        std::thread::sleep(Duration::from_millis(20));
    }
}
