//! Hostile words in every place of every command: it ends with one of its exit codes and says why, shows no
//! control character to the terminal, and loses nothing.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::Mesh;

use crate::PROGRAM;
use crate::table::command;

/// Longer than any name, note or number.
const LONG: usize = 70_000;

/// Words that stand in the place of a name, a number or a file.
fn words() -> Vec<OsString> {
    let mut words: Vec<OsString> = [
        "",
        " ",
        "-1",
        "99999999999999999999",
        "\u{1b}[2J\u{7}\u{9b}31m",
        "../../up",
        "a\nb",
        "a//b/./c",
        "%s%n",
        "'\"`$(touch pwned)",
        "{[*?",
        "\u{202e}gpj.exe",
    ]
    .into_iter()
    .map(OsString::from)
    .collect();
    words.push("x".repeat(LONG).into());
    words.push(OsStr::from_bytes(b"\xff\xfe/\x80").to_owned());
    words
}

/// Commands that would go on: only a flag that they do not have is tried. `wrong_use` has more.
const RUNS_FOR_EVER: [&str; 3] = ["service", "interactive", "demo"];

/// What a command takes.
struct Places {
    words: Vec<String>,
    /// Flags with a value.
    flags: Vec<String>,
    positions: usize,
}

fn places(words: &[&str]) -> Places {
    let help =
        datamesh_testkit::processes::command(PROGRAM.as_ref()).args(words).arg("-h").output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    let usage = help.lines().find(|line| line.starts_with("Usage:")).unwrap();
    let (mut flags, mut section) = (Vec::new(), "");
    for line in help.lines() {
        if !line.is_empty() && !line.starts_with(' ') {
            section = line;
        }
        let Some((_, flag)) = line.split_once("--").filter(|_| section == "Options:") else {
            continue;
        };
        let mut parts = flag.split(' ');
        let name = parts.next().unwrap();
        if line.find("--").unwrap() <= 6 && parts.next().is_some_and(|it| it.starts_with('<')) {
            flags.push(format!("--{name}"));
        }
    }
    Places {
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        flags,
        positions: usage.matches(['<']).count() + usage.matches("[DEST").count(),
    }
}

/// All lines that are tried.
fn lines() -> Vec<Vec<OsString>> {
    let mut lines = Vec::new();
    let hostile = words();
    for name in command(&[]).below {
        let below = command(&[&name]).below;
        let mut all = vec![vec![name.as_str()]];
        all.extend(below.iter().map(|below| vec![name.as_str(), below.as_str()]));
        for words in all {
            let places = places(&words);
            let line = |rest: &[&OsStr]| -> Vec<OsString> {
                places.words.iter().map(OsString::from).chain(rest.iter().map(Into::into)).collect()
            };
            lines.push(line(&["--no-such-flag".as_ref()]));
            if RUNS_FOR_EVER.contains(&name.as_str()) {
                continue;
            }
            let benign: Vec<&OsStr> = vec![OsStr::new("file"); places.positions];
            for word in &hostile {
                for position in 0..places.positions.max(1) {
                    let mut given = benign.clone();
                    match given.get_mut(position) {
                        Some(place) => *place = word,
                        None => given.push(word),
                    }
                    given.insert(0, OsStr::new("--"));
                    lines.push(line(&given));
                }
                for flag in &places.flags {
                    let mut flag = OsString::from(flag);
                    flag.push("=");
                    flag.push(word);
                    let mut given = benign.clone();
                    given.insert(0, &flag);
                    lines.push(line(&given));
                }
            }
        }
    }
    lines
}

/// What is wrong with how a line ended.
fn judge(output: &Output) -> Option<String> {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let code = output.status.code().unwrap_or(-1);
    if !(0..=5).contains(&code) || err.contains("panicked") {
        return Some(format!("ends with {code}: {err}"));
    }
    let controls = |text: &str| text.chars().any(|it| it.is_control() && !"\n\t\r".contains(it));
    if controls(&out) || controls(&err) {
        return Some(format!("shows control characters: {out:?} {err:?}"));
    }
    if code != 0 && err.is_empty() {
        return Some(format!("ends with {code} and says nothing"));
    }
    // Whoever reads it does not scroll for the reason.
    if err.len() > 4096 {
        return Some(format!("says {} bytes", err.len()));
    }
    None
}

#[test]
fn hostile_words_in_every_place_are_refused_and_lose_nothing() {
    let mesh = Mesh::of(PROGRAM, 6);
    let content = noise(1, 200_000);
    mesh.pipe("n0", &["put", "--", "-", "kept/file"], &content).ok();
    let work = mesh.path("work/in/deep");
    fs::create_dir_all(&work).unwrap();
    let lines = lines();
    assert!(lines.len() > 1000, "{}", lines.len());
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(line) = lines.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let program = mesh.command("n0", &[]);
                    let mut limited = std::process::Command::new("timeout");
                    limited.args(["-s", "KILL", "60"]).arg(PROGRAM);
                    limited.args(program.get_args()).args(line).current_dir(&work);
                    limited.env("DATAMESH_PASSWORD_FILE", mesh.path("password"));
                    limited.stdin(std::process::Stdio::null());
                    if let Some(why) = judge(&limited.output().unwrap()) {
                        let shown = format!("{line:?}");
                        let shown: String = shown.chars().take(200).collect();
                        let why: String = why.chars().take(600).collect();
                        wrong
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(format!("{shown}: {why}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), lines.len(), wrong.join("\n"));
    assert!(!work.join("pwned").exists());
    assert!(mesh.bytes("n0", &["get", "--", "kept/file", "-"]) == content);
}
