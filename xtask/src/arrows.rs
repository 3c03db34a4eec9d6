//! Which crate may use which, and the walls between them, as `docs/architecture.md` tells them.
//!
//! Three kinds of rule, each a table: [`ARROWS`] for crates of the workspace, [`FENCES`] for
//! dependencies that only some crates may have, [`WORDS`] for what source code may not say.
//! [`NEVER_REACH`] follows the arrows through other crates. Dev-dependencies and tests are free.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::finding::Finding;
use crate::rust_text::{Layers, lines_with};
use crate::tree;

/// Each crate and the crates of the workspace that it may use. `*`: all of them.
const ARROWS: &[(&str, &[&str])] = &[
    ("datamesh-core", &[]),
    ("datamesh-crypto", &["core"]),
    ("datamesh-codec", &["core"]),
    ("datamesh-store", &["core"]),
    ("datamesh-catalog", &["core"]),
    ("datamesh-net", &["core", "crypto"]),
    ("datamesh-engine", &["core", "codec", "store", "catalog"]),
    ("datamesh-client", &["core", "crypto", "codec", "catalog", "engine"]),
    ("datamesh-api", &["core"]),
    ("datamesh-measure", &["core", "store"]),
    ("datamesh-mirror", &["core", "api"]),
    ("datamesh-archive", &["core", "crypto", "api"]),
    (
        "datamesh-node",
        &[
            "core", "crypto", "codec", "store", "catalog", "net", "engine", "client", "api",
            "measure",
        ],
    ),
    ("datamesh-cli", &["core", "api", "archive", "mirror", "node"]),
    ("datamesh-testkit", &["*"]),
    ("datamesh-bench", &["*"]),
    ("datamesh-fuzz", &["*"]),
    ("fuzz", &["*"]),
    ("xtask", &[]),
];

/// Crates that must not reach another, whatever lies between, and why.
const NEVER_REACH: &[(&str, &str, &str)] = &[
    ("datamesh-engine", "datamesh-crypto", "nothing below the client can read a file"),
    ("datamesh-engine", "datamesh-net", "the engine knows the Transport trait, not libp2p"),
    ("datamesh-net", "datamesh-store", "the network moves bytes and knows no disk"),
];

/// Dependencies (a name, or a prefix that ends in `*`), the only crates that may have them, and
/// why.
const FENCES: &[(&str, &[&str], &str)] = &[
    ("rusqlite", &["datamesh-catalog"], "only the catalog contains SQL"),
    ("libp2p*", &["datamesh-net"], "only net knows libp2p"),
    ("clap*", &["datamesh-cli", "datamesh-bench"], "only programs parse arguments"),
    (
        "aws-lc-rs",
        &["datamesh-crypto", "datamesh-net", "datamesh-measure"],
        "secrets live in crypto",
    ),
    (
        "datamesh-testkit",
        &["datamesh-bench", "datamesh-fuzz"],
        "the test kit is a dev-dependency only",
    ),
    ("datamesh-bench", &[], "measurements are no part of the product"),
    ("datamesh-fuzz", &["fuzz"], "fuzzing is no part of the product"),
];

/// Dependencies that one crate must not have, and why.
const REFUSED: &[(&str, &str, &str)] = &[
    ("datamesh-core", "tokio*", "core starts no runtime"),
    ("datamesh-core", "rand*", "core draws nothing"),
];

/// Words that code may not say, in which crates, and why.
const WORDS: &[(&str, Where, &str)] = &[
    ("println!", Where::AllBut(PRINTERS), "only the command line prints"),
    ("print!", Where::AllBut(PRINTERS), "only the command line prints"),
    ("eprintln!", Where::AllBut(PRINTERS), "only the command line prints"),
    ("eprint!", Where::AllBut(PRINTERS), "only the command line prints"),
    ("std::fs", Where::In(&["datamesh-core"]), "core opens no file"),
    ("std::net", Where::In(&["datamesh-core"]), "core knows no network"),
    ("std::thread", Where::In(&["datamesh-core"]), "core starts no thread"),
    ("SystemTime", Where::In(&["datamesh-core"]), "core asks no clock"),
    ("Instant", Where::In(&["datamesh-core"]), "core asks no clock"),
];

/// Words that only these files' code may say, and why.
const ROOMS: &[(&str, &[&str], &str)] = &[
    (
        "Collection",
        &[
            "crates/datamesh-store/src/lib.rs",
            "crates/datamesh-store/src/store/mod.rs",
            "crates/datamesh-store/src/store/collect.rs",
            "crates/datamesh-store/src/store/compact.rs",
            "crates/datamesh-engine/src/collect.rs",
        ],
        "only the collector has the power to remove",
    ),
    (
        "collection(",
        &[
            "crates/datamesh-node/src/service.rs",
            "crates/datamesh-store/src/store/collect.rs",
            "crates/datamesh-store/src/store/compact/tests.rs",
        ],
        "the service gives the power to remove to the collector",
    ),
];

/// Crates that print.
const PRINTERS: &[&str] = &["datamesh-cli", "datamesh-bench", "xtask"];

/// Where a word is refused.
enum Where {
    /// In these crates.
    In(&'static [&'static str]),
    /// In all crates but these.
    AllBut(&'static [&'static str]),
}

impl Where {
    fn covers(&self, krate: &str) -> bool {
        match self {
            Self::In(crates) => crates.contains(&krate),
            Self::AllBut(crates) => !crates.contains(&krate),
        }
    }
}

/// One crate as its manifest tells it.
struct Crate {
    folder: PathBuf,
    /// Names of the packages that it depends on, without dev-dependencies.
    dependencies: BTreeSet<String>,
}

/// Checks all crates of the workspace at `root`.
///
/// # Errors
/// Where a manifest or source cannot be read.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let workspace = manifest(root, Path::new(""))?;
    let mut crates = BTreeMap::new();
    let mut findings = Vec::new();
    for folder in tree::crates(root)? {
        let manifest = manifest(root, &folder)?;
        let name = manifest
            .get("package")
            .and_then(|package| package.get("name")?.as_str())
            .ok_or_else(|| format!("{} names no package", folder.display()))?
            .to_owned();
        if folder.file_name().is_none_or(|file_name| file_name != name.as_str()) {
            findings.push(Finding::file(&folder, format!("the folder of {name} has another name")));
        }
        let dependencies = dependencies(&manifest, &workspace);
        crates.insert(name, Crate { folder, dependencies });
    }
    for (name, krate) in &crates {
        arrows(name, krate, &crates, &mut findings);
        fences(name, krate, &mut findings);
        words(root, name, krate, &mut findings)?;
    }
    reaches(&crates, &mut findings);
    Ok(findings)
}

fn manifest(root: &Path, folder: &Path) -> Result<toml::Table, String> {
    let path = root.join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    text.parse().map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Packages that a manifest depends on to be built, for any target.
fn dependencies(manifest: &toml::Table, workspace: &toml::Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut collect = |table: &toml::Table| {
        for kind in ["dependencies", "build-dependencies"] {
            for (key, entry) in
                table.get(kind).and_then(toml::Value::as_table).into_iter().flatten()
            {
                found.insert(package(key, entry, workspace));
            }
        }
    };
    collect(manifest);
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    for table in targets.into_iter().flat_map(|targets| targets.values()) {
        if let Some(table) = table.as_table() {
            collect(table);
        }
    }
    found
}

/// The package behind a dependency's key, which may be another name for it.
fn package(key: &str, entry: &toml::Value, workspace: &toml::Table) -> String {
    let renamed = |entry: &toml::Value| Some(entry.get("package")?.as_str()?.to_owned());
    let inherited = || renamed(workspace.get("workspace")?.get("dependencies")?.get(key)?);
    renamed(entry).or_else(inherited).unwrap_or_else(|| key.to_owned())
}

fn arrows(
    name: &str,
    krate: &Crate,
    crates: &BTreeMap<String, Crate>,
    findings: &mut Vec<Finding>,
) {
    let manifest = krate.folder.join("Cargo.toml");
    let Some((_, allowed)) = ARROWS.iter().find(|(row, _)| *row == name) else {
        let text = format!("{name} has no row in the table of arrows (xtask/src/arrows.rs)");
        findings.push(Finding::file(&manifest, text));
        return;
    };
    for used in krate.dependencies.iter().filter(|used| crates.contains_key(*used)) {
        let short = used.strip_prefix("datamesh-").unwrap_or(used);
        if !allowed.contains(&"*") && !allowed.contains(&short) {
            findings.push(Finding::file(&manifest, format!("{name} may not use {used}")));
        }
    }
}

fn fences(name: &str, krate: &Crate, findings: &mut Vec<Finding>) {
    let manifest = krate.folder.join("Cargo.toml");
    for used in &krate.dependencies {
        for (pattern, allowed, why) in FENCES {
            if matches(pattern, used) && !allowed.contains(&name) {
                findings
                    .push(Finding::file(&manifest, format!("{name} may not use {used}: {why}")));
            }
        }
        for (row, pattern, why) in REFUSED {
            if *row == name && matches(pattern, used) {
                findings
                    .push(Finding::file(&manifest, format!("{name} may not use {used}: {why}")));
            }
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

fn words(
    root: &Path,
    name: &str,
    krate: &Crate,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    let sources = krate.folder.join("src");
    if !root.join(&sources).is_dir() {
        return Ok(());
    }
    for file in tree::files(&root.join(&sources))? {
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let file = sources.join(file);
        let Some(text) = tree::text(root, &file)? else { continue };
        let layers = Layers::of(&text);
        let here = file.to_string_lossy().replace('\\', "/");
        for (word, _, why) in ROOMS.iter().filter(|(_, files, _)| !files.contains(&&*here)) {
            for line in lines_with(&layers.code, word) {
                findings.push(Finding::line(&file, line, format!("{word} in {here}: {why}")));
            }
        }
        for (word, _, why) in WORDS.iter().filter(|(_, place, _)| place.covers(name)) {
            for line in lines_with(&layers.code, word) {
                findings.push(Finding::line(&file, line, format!("{word} in {name}: {why}")));
            }
        }
    }
    Ok(())
}

fn reaches(crates: &BTreeMap<String, Crate>, findings: &mut Vec<Finding>) {
    for (from, to, why) in NEVER_REACH {
        let Some(start) = crates.get(*from) else { continue };
        let mut ways: Vec<Vec<&str>> = vec![vec![*from]];
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop() {
            let Some(krate) = way.last().and_then(|last| crates.get(*last)) else { continue };
            for next in &krate.dependencies {
                let mut way = way.clone();
                way.push(next);
                if next == to {
                    let text = format!("{} must not be: {why}", way.join(" → "));
                    findings.push(Finding::file(&start.folder.join("Cargo.toml"), text));
                } else if seen.insert(next.clone()) {
                    ways.push(way);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failure to lay the tree is a failed test")]

    use super::*;

    /// Lays a workspace of crates: name, lines of its manifest after the package table, source.
    fn workspace(crates: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let renamed =
            "[workspace.dependencies]\nsql = { package = \"rusqlite\", version = \"1\" }\n";
        fs::write(root.path().join("Cargo.toml"), renamed).unwrap();
        for (name, rest, source) in crates {
            let folder = root.path().join("crates").join(name);
            fs::create_dir_all(folder.join("src")).unwrap();
            let manifest = format!("[package]\nname = \"{name}\"\n{rest}\n");
            fs::write(folder.join("Cargo.toml"), manifest).unwrap();
            fs::write(folder.join("src/lib.rs"), source).unwrap();
        }
        root
    }

    fn found(crates: &[(&str, &str, &str)]) -> Vec<String> {
        let root = workspace(crates);
        check(root.path()).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn arrows_that_point_down_are_fine() {
        let found = found(&[
            ("datamesh-core", "", "//! `println!` is not called here.\n"),
            ("datamesh-codec", "[dependencies]\ndatamesh-core.workspace = true", ""),
            ("datamesh-testkit", "[dependencies]\ndatamesh-codec.workspace = true", ""),
            (
                "datamesh-engine",
                "[dependencies]\ndatamesh-codec.workspace = true\n[dev-dependencies]\ndatamesh-testkit.workspace = true\nrusqlite = \"1\"",
                "",
            ),
        ]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn an_arrow_that_points_up_is_found() {
        let found = found(&[
            ("datamesh-core", "", ""),
            ("datamesh-crypto", "[dependencies]\ndatamesh-core.workspace = true", ""),
            (
                "datamesh-engine",
                "[target.'cfg(unix)'.dependencies]\ndatamesh-crypto.workspace = true",
                "",
            ),
        ]);
        assert_eq!(
            found,
            [
                "crates/datamesh-engine/Cargo.toml: datamesh-engine may not use datamesh-crypto",
                "crates/datamesh-engine/Cargo.toml: datamesh-engine → datamesh-crypto must not be: nothing below the client can read a file",
            ]
        );
    }

    #[test]
    fn a_wall_is_not_passed_through_a_third_crate() {
        let found = found(&[
            ("datamesh-crypto", "", ""),
            ("datamesh-codec", "[dependencies]\ndatamesh-crypto.workspace = true", ""),
            ("datamesh-engine", "[dependencies]\ndatamesh-codec.workspace = true", ""),
        ]);
        assert!(
            found.iter().any(|text| text
                .contains("datamesh-engine → datamesh-codec → datamesh-crypto must not be")),
            "{found:?}"
        );
    }

    #[test]
    fn fenced_dependencies_are_found_under_any_name() {
        let found = found(&[
            ("datamesh-core", "[dependencies]\ntokio-util = \"1\"", ""),
            ("datamesh-store", "[dependencies]\nsql.workspace = true", ""),
            ("datamesh-engine", "[dependencies]\nlibp2p-stream = \"1\"", ""),
            ("datamesh-node", "[dependencies]\ndatamesh-testkit = { path = \"\" }", ""),
            ("datamesh-testkit", "", ""),
        ]);
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found[0].ends_with("datamesh-core may not use tokio-util: core starts no runtime"));
        assert!(
            found[1].ends_with("datamesh-engine may not use libp2p-stream: only net knows libp2p")
        );
        assert!(found[2].ends_with("datamesh-node may not use datamesh-testkit"));
        assert!(
            found[4]
                .ends_with("datamesh-store may not use rusqlite: only the catalog contains SQL")
        );
    }

    #[test]
    fn refused_words_are_found_in_code_alone() {
        let source = "//! Asks no SystemTime.\nfn f() {\n    let t = std::time::SystemTime::now();\n    println!(\"std::fs\");\n}\n";
        let found = found(&[("datamesh-core", "", source), ("datamesh-cli", "", source)]);
        assert_eq!(
            found,
            [
                "crates/datamesh-core/src/lib.rs:4: println! in datamesh-core: only the command line prints",
                "crates/datamesh-core/src/lib.rs:3: SystemTime in datamesh-core: core asks no clock",
            ]
        );
    }

    #[test]
    fn the_power_to_remove_is_found_outside_its_rooms() {
        let source = "fn f(store: &S) {\n    let c: Collection = store.collection(t);\n}\n";
        let found = found(&[("datamesh-engine", "", source)]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|found| found.contains("remove")), "{found:?}");
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        let found = found(&[("datamesh-other", "", "")]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("no row"), "{found:?}");
    }
}
