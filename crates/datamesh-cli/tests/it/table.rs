//! The table of commands in `docs/cli`: what the program says of itself, and which tests run it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::PROGRAM;

/// What a command says of itself.
pub(crate) struct Command {
    words: Vec<String>,
    about: String,
    flags: Vec<String>,
    pub(crate) below: Vec<String>,
}

pub(crate) fn command(words: &[&str]) -> Command {
    let output = std::process::Command::new(PROGRAM).args(words).arg("-h").output().unwrap();
    assert!(output.status.success(), "{words:?}");
    let help = String::from_utf8(output.stdout).unwrap();
    let (mut section, mut flags, mut below) = ("", Vec::new(), Vec::new());
    for line in help.lines() {
        if !line.is_empty() && !line.starts_with(' ') {
            section = line;
        }
        let entry = line.trim_start();
        let deep = line.len() - entry.len();
        match section {
            "Options:" if deep <= 6 && entry.starts_with('-') => {
                let long = entry.split([' ', ',']).find(|word| word.starts_with("--"));
                flags.extend(long.map(|long| long.trim_end_matches("...").to_owned()));
            }
            "Commands:" if deep == 2 => below.extend(entry.split(' ').next().map(str::to_owned)),
            _ => {}
        }
    }
    flags.retain(|flag| flag != "--help");
    below.retain(|name| name != "help");
    let about = help.lines().next().unwrap_or_default().to_owned();
    Command { words: words.iter().map(|word| (*word).to_owned()).collect(), about, flags, below }
}

/// The test files that name a command, one after another.
fn tests_of(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
        // These name all commands and run none.
        if ["arguments", "examples", "table"].contains(&stem.as_str()) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        if text.contains(&format!("\"{name}\"")) {
            files.insert(stem);
        }
    }
    files.into_iter().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_table_of_commands_is_what_the_program_says() {
    let mut text = String::from(
        "# Commands\n\nWhat each command is for, its flags beside those of every command, and the files of \
         `crates/datamesh-cli/tests/it`\nthat run it with real processes. Beside these, `three_ways` runs each \
         with a service, in a console and without a service,\nand `examples` what its help shows. \
         `DATAMESH_BLESS=1 cargo nextest run -E 'test(table_of_commands)'` writes this file.\n\n\
         | command | for | flags | tests |\n|---|---|---|---|\n",
    );
    let all = command(&[]).below;
    assert!(all.len() > 30, "{all:?}");
    let mut untested = Vec::new();
    for name in &all {
        let tests = tests_of(name);
        if tests.is_empty() {
            untested.push(name.clone());
        }
        let top = command(&[name]);
        let mut rows = Vec::new();
        for below in &top.below {
            rows.push(command(&[name, below]));
        }
        rows.insert(0, top);
        for row in rows {
            let flags = row.flags.join(" ");
            let flags = if flags.is_empty() { String::new() } else { format!("`{flags}`") };
            let words = row.words.join(" ");
            writeln!(text, "| `{words}` | {} | {flags} | {tests} |", row.about).unwrap();
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli/commands.md");
    if std::env::var_os("DATAMESH_BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(file).unwrap_or_default(), "DATAMESH_BLESS=1 writes it");
    assert_eq!(untested, [] as [&str; 0], "commands that no test runs");
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("man1");
    let pages = ["generate-completion", "--man-pages", at.to_str().unwrap()];
    assert!(std::process::Command::new(PROGRAM).args(pages).status().unwrap().success());
    for name in command(&[]).below {
        let page = fs::read_to_string(at.join(format!("datamesh-{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
    assert!(at.join("datamesh.1").exists());
}
