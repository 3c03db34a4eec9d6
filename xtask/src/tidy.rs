//! Looks for what nobody wants to be the one to point out: forgotten files, markers, paths of one
//! machine, names that say nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::finding::Finding;
use crate::rust_text::{Layers, is_word, lines_with};
use crate::tree;

/// Largest file in the repository in bytes: larger ones make every clone slow for ever.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Files that hold text, by extension; files without one are looked at too.
const TEXTS: [&str; 17] = [
    "css", "hex", "html", "json", "md", "rs", "service", "sh", "sql", "svg", "toml", "ts", "txt",
    "vue", "yaml", "yml", "lock",
];

/// What a fuzzer made up: bytes, also where they happen to be text.
const MADE_UP: &str = "fuzz/corpus";

/// Calls that mean "not finished"; they are looked for in code.
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];

/// Words that mean "come back to this"; they are looked for in comments.
const MARKERS: [&str; 3] = ["FIXME", "TODO", "XXX"];

/// Folders that exist on one machine alone. Written in parts, so that this file does not hold them.
const MACHINE_PATHS: [&str; 3] =
    [concat!("/", "home/"), concat!("/", "root/"), concat!("/", "work/")];

/// Words of a name that say when or how well instead of what.
const EMPTY_WORDS: [&str; 11] = [
    "enhanced",
    "advanced",
    "smart",
    "intelligent",
    "new",
    "v2",
    "manager",
    "helper",
    "helpers",
    "util",
    "utils",
];

/// Names that are given from outside: the crate and the word. `datamesh advanced` is a command
/// whose name is fixed.
const GIVEN_NAMES: [(&str, &str); 1] = [("datamesh-cli", "advanced")];

/// Keywords whose next word is the name of something with a place of its own.
const NAMING: [&str; 6] = ["struct", "enum", "trait", "type", "union", "mod"];

/// Checks all files below `root`.
///
/// # Errors
/// Where a file cannot be read.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let mut findings = Vec::new();
    let files = tree::files(root)?;
    for file in &files {
        let bytes = fs::metadata(root.join(file))
            .map_err(|error| format!("cannot look at {}: {error}", file.display()))?
            .len();
        if bytes > FILE_BYTES_MAX {
            let text = format!("has {bytes} bytes, above the limit of {FILE_BYTES_MAX}");
            findings.push(Finding::file(file, text));
            continue;
        }
        let is_text =
            file.extension().is_none_or(|extension| TEXTS.iter().any(|known| extension == *known));
        if !is_text || file.starts_with(MADE_UP) {
            continue;
        }
        let Some(text) = tree::text(root, file)? else { continue };
        lines(file, &text, &mut findings);
        if file.extension().is_some_and(|extension| extension == "rs") {
            source(file, &text, &mut findings);
        }
    }
    for folder in tree::crates(root)? {
        forgotten(root, &folder, &files, &mut findings)?;
    }
    Ok(findings)
}

fn lines(file: &Path, text: &str, findings: &mut Vec<Finding>) {
    for (at, line) in text.lines().enumerate() {
        if line.ends_with([' ', '\t']) {
            findings.push(Finding::line(file, at + 1, "ends with white space"));
        }
        for path in MACHINE_PATHS {
            let alone = line.match_indices(path).any(|(at, _)| {
                let before = at.checked_sub(1).map(|at| line.as_bytes()[at]);
                !before.is_some_and(|byte| is_word(byte) || b"./-~}".contains(&byte))
            });
            if alone {
                findings.push(Finding::line(
                    file,
                    at + 1,
                    format!("{path} is a path of one machine"),
                ));
            }
        }
    }
}

fn source(file: &Path, text: &str, findings: &mut Vec<Finding>) {
    let parts: Vec<_> = file.iter().filter_map(|part| part.to_str()).collect();
    if parts.contains(&"src") && !text.starts_with("//!") {
        let text = "begins without a prologue: `//!` and what the module is for";
        findings.push(Finding::file(file, text));
    }
    let layers = Layers::of(text);
    for call in UNFINISHED {
        for line in lines_with(&layers.code, call) {
            findings.push(Finding::line(file, line, format!("{call} stands for work not done")));
        }
    }
    for marker in MARKERS {
        for line in lines_with(&layers.comments, marker) {
            findings.push(Finding::line(
                file,
                line,
                format!("{marker} is no place to keep a task"),
            ));
        }
    }
    let given =
        |word: &str| GIVEN_NAMES.iter().any(|(krate, name)| parts.contains(krate) && *name == word);
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if let Some(word) = empty_word(stem).filter(|word| !given(word)) {
        findings.push(Finding::file(file, format!("\"{word}\" in a file name says nothing")));
    }
    for (line, name) in names(&layers.code) {
        if let Some(word) = empty_word(name).filter(|word| !given(word)) {
            let text = format!("\"{word}\" in the name {name} says nothing");
            findings.push(Finding::line(file, line, text));
        }
    }
}

/// The names that code gives to types and modules, with their lines.
fn names(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (at, line) in code.lines().enumerate() {
        let mut words =
            line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty());
        while let Some(word) = words.next() {
            if NAMING.contains(&word) {
                found.extend(words.next().map(|name| (at + 1, name)));
            }
        }
    }
    found
}

/// A word of `name` that says nothing, if it has one.
fn empty_word(name: &str) -> Option<String> {
    let mut words = vec![String::new()];
    let mut before = '_';
    for c in name.chars() {
        if c == '_' || c == '-' {
            words.push(String::new());
        } else {
            if c.is_uppercase() && before.is_lowercase() {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(c.to_lowercase());
            }
        }
        before = c;
    }
    words.into_iter().find(|word| EMPTY_WORDS.contains(&word.as_str()))
}

/// Source files of the crate in `folder` that no target reaches, and test executables beside `it`.
fn forgotten(
    root: &Path,
    folder: &Path,
    files: &[PathBuf],
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    let ours: Vec<&PathBuf> = files
        .iter()
        .filter(|file| file.starts_with(folder) && file.extension().is_some_and(|e| e == "rs"))
        .collect();
    let mut reached = BTreeSet::new();
    for file in &ours {
        let below = file.strip_prefix(folder).map_err(|error| error.to_string())?;
        let parts: Vec<_> = below.iter().filter_map(|part| part.to_str()).collect();
        match parts.as_slice() {
            ["src", "lib.rs" | "main.rs"]
            | ["build.rs"]
            | ["src", "bin", _]
            | ["src", "bin", _, "main.rs"]
            | ["tests" | "examples" | "benches" | "fuzz_targets", _]
            | ["tests" | "examples" | "benches", _, "main.rs"] => {
                reach(root, file, true, &mut reached)?;
            }
            _ => {}
        }
        match parts.as_slice() {
            ["tests", _] => findings.push(Finding::file(
                file,
                "is a test executable of its own: make it a module of tests/it/main.rs",
            )),
            ["tests", other, "main.rs"] if *other != "it" => findings.push(Finding::file(
                file,
                "is a second test executable: make it a module of tests/it/main.rs",
            )),
            _ => {}
        }
    }
    for file in ours {
        if reached.contains(file) {
            continue;
        }
        let text = if file.starts_with(folder.join("tests")) {
            "is not listed in tests/it/main.rs: its tests never run"
        } else {
            "is reached by no `mod`: it is never compiled"
        };
        findings.push(Finding::file(file, text));
    }
    Ok(())
}

/// Follows the `mod` declarations of `file`. `is_root` where its modules lie beside it.
fn reach(
    root: &Path,
    file: &Path,
    is_root: bool,
    reached: &mut BTreeSet<PathBuf>,
) -> Result<(), String> {
    if !reached.insert(file.to_owned()) {
        return Ok(());
    }
    let Some(text) = tree::text(root, file)? else { return Ok(()) };
    let beside = file.parent().unwrap_or(Path::new(""));
    let below = if is_root || file.file_name().is_some_and(|name| name == "mod.rs") {
        beside.to_owned()
    } else {
        file.with_extension("")
    };
    for module in modules(&text) {
        let candidates = match &module.path {
            Some(path) => vec![beside.join(path)],
            None => {
                let folder =
                    module.inside.iter().fold(below.clone(), |folder, name| folder.join(name));
                vec![
                    folder.join(format!("{}.rs", module.name)),
                    folder.join(&module.name).join("mod.rs"),
                ]
            }
        };
        for candidate in candidates.iter().filter(|candidate| root.join(candidate).is_file()) {
            reach(root, candidate, false, reached)?;
        }
    }
    Ok(())
}

/// A declaration of a module in a file of its own.
struct Module {
    name: String,
    /// The modules in braces around it.
    inside: Vec<String>,
    /// The file that an attribute names.
    path: Option<String>,
}

fn modules(source: &str) -> Vec<Module> {
    let code = Layers::of(source).code;
    let bytes = code.as_bytes();
    let (mut found, mut inside, mut depth, mut at) = (Vec::new(), Vec::new(), 0usize, 0);
    let mut word_before = "";
    let mut path = None;
    while at < bytes.len() {
        let length =
            bytes[at..].iter().position(|&byte| !is_word(byte)).unwrap_or(bytes.len() - at);
        if length > 0 {
            let word = &code[at..at + length];
            at += length;
            if word == "path" && code[..at - length].trim_end().ends_with("#[") {
                // The attribute's value is a string, blank in the code layer.
                path = source[at..].split('"').nth(1).map(str::to_owned);
            }
            if word_before == "mod" {
                match code[at..].trim_start().as_bytes().first() {
                    Some(b';') => found.push(Module {
                        name: word.to_owned(),
                        inside: inside.iter().map(|(name, _)| String::clone(name)).collect(),
                        path: path.take(),
                    }),
                    Some(b'{') => inside.push((word.to_owned(), depth)),
                    _ => {}
                }
            }
            word_before = word;
            continue;
        }
        match bytes[at] {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if inside.last().is_some_and(|(_, opened)| *opened == depth) {
                    inside.pop();
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failure to lay the tree is a failed test")]

    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut findings = check(root.path()).unwrap();
        findings.sort();
        findings.iter().map(ToString::to_string).collect()
    }

    const MANIFEST: (&str, &str) = ("crates/a/Cargo.toml", "[package]\nname = \"a\"\n");

    #[test]
    fn a_tidy_tree_has_no_findings() {
        let found = found(&[
            MANIFEST,
            (
                "crates/a/src/lib.rs",
                "//! A.\nmod one;\nmod two { mod three; }\n#[path = \"odd/x.rs\"]\nmod x;\n",
            ),
            (
                "crates/a/src/one.rs",
                "//! One.\n// \"todo!\" in a comment is talk\nconst T: &str = \"FIXME\";\nmod deep;\n",
            ),
            ("crates/a/src/one/deep.rs", "//! Deep.\n"),
            ("crates/a/src/two/three.rs", "//! Three.\nfn new() {}\nstruct Newer;\n"),
            ("crates/a/src/odd/x.rs", "//! X.\n"),
            ("crates/a/tests/it/main.rs", "//! Tests.\nmod case;\n"),
            ("crates/a/tests/it/case.rs", "\n"),
            ("target/big.rs", "dbg!(1);   \n"),
            ("docs/page.md", &format!("see docs{}a\n", MACHINE_PATHS[0])),
        ]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn forgotten_files_are_found() {
        let found = found(&[
            MANIFEST,
            ("crates/a/src/lib.rs", "//! A.\n// mod orphan;\n"),
            ("crates/a/src/orphan.rs", "//! O.\n"),
            ("crates/a/tests/it/main.rs", "mod case;\n"),
            ("crates/a/tests/it/case.rs", "\n"),
            ("crates/a/tests/it/lost.rs", "\n"),
            ("crates/a/tests/alone.rs", "\n"),
        ]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("crates/a/src/orphan.rs: is reached by no `mod`"));
        assert!(found[1].starts_with("crates/a/tests/alone.rs: is a test executable of its own"));
        assert!(found[2].starts_with("crates/a/tests/it/lost.rs: is not listed"));
    }

    #[test]
    fn markers_and_unfinished_work_are_found() {
        let text =
            "//! A.\nfn f() {\n    todo!()\n}\n// FIXME: later\nfn g() { dbg!(1); } // XXX\n";
        let found = found(&[MANIFEST, ("crates/a/src/lib.rs", text)]);
        let lines: Vec<_> = found.iter().map(|text| text.split(": ").next().unwrap()).collect();
        let at = |line| format!("crates/a/src/lib.rs:{line}");
        assert_eq!(lines, [at(3), at(5), at(6), at(6)], "{found:?}");
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for path in MACHINE_PATHS {
            let found = found(&[("docs/page.md", &format!("first\nrun `{path}me/x`\n"))]);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with("docs/page.md:2: "));
        }
    }

    #[test]
    fn white_space_large_files_and_missing_prologues_are_found() {
        let large = "x".repeat(FILE_BYTES_MAX as usize + 1);
        let found = found(&[
            MANIFEST,
            ("crates/a/src/lib.rs", "mod one;\n"),
            ("crates/a/src/one.rs", "//! One. \n"),
            ("testdata/large.bin", &large),
            ("fuzz/corpus/texts/00ff", "made up \n"),
        ]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("crates/a/src/lib.rs: begins without a prologue"));
        assert_eq!(found[1], "crates/a/src/one.rs:1: ends with white space");
        assert!(found[2].starts_with("testdata/large.bin: has 1048577 bytes"));
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        let found = found(&[
            MANIFEST,
            (
                "crates/a/src/lib.rs",
                "//! A.\nmod file_utils;\nstruct PeerManager;\nenum StoreV2 {}\n",
            ),
            ("crates/a/src/file_utils.rs", "//! U.\n"),
            (
                "crates/datamesh-cli/src/main.rs",
                "//! C.\nstruct AdvancedArgs;\nstruct SmartArgs;\n",
            ),
            ("crates/datamesh-cli/Cargo.toml", "[package]\nname = \"datamesh-cli\"\n"),
        ]);
        let words: Vec<_> = found.iter().map(|text| text.split('"').nth(1).unwrap()).collect();
        assert_eq!(words, ["utils", "utils", "manager", "v2", "smart"], "{found:?}");
    }
}
