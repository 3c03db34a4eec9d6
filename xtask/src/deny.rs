//! Checks the dependencies against `deny.toml`: bans, licences, sources.
//!
//! The rules and their file are those of cargo-deny, which takes longer to build than all that is checked here;
//! where it is installed, it looks at advisories too.

use std::path::Path;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use spdx::{Expression, Licensee, ParseMode};

use crate::finding::{self, Finding};
use crate::steps;

/// How long the advisory database may take to come.
const FETCH_MAX: Duration = Duration::from_secs(60);

/// The file with the rules.
const RULES: &str = "deny.toml";

/// Checks bans, licences and sources, and advisories where cargo-deny is there and can fetch them.
///
/// # Errors
/// Where a dependency breaks a rule.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    finding::report("deny", check(root))?;
    if steps::answers(&mut steps::cargo(root, &["deny", "--version"])) && fetch(root) {
        let words = ["deny", "check", "--hide-inclusion-graph", "advisories"];
        return steps::finish(&mut steps::cargo(root, &words));
    }
    let line = "!".repeat(78);
    println!(
        "{line}\nADVISORIES WERE NOT CHECKED: cargo-deny and the database of advisories are needed."
    );
    println!("Bans, licences and sources are checked.\n{line}");
    Ok(())
}

/// What `deny.toml` asks for, as far as it is looked at here.
struct Rules {
    /// Systems whose dependencies count.
    targets: Vec<String>,
    licences: Vec<Licensee>,
    /// More licences of one crate.
    exceptions: Vec<(String, Licensee)>,
    banned: Vec<String>,
    registries: Vec<String>,
}

fn texts(value: Option<&toml::Value>) -> Vec<String> {
    let items = value.and_then(toml::Value::as_array).map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(|item| Some(item.as_str()?.to_owned())).collect()
}

impl Rules {
    fn read(text: &str) -> Result<Self, String> {
        let rules: toml::Table = text.parse().map_err(|error| format!("{RULES}: {error}"))?;
        let at = |table: &str, key: &str| rules.get(table)?.as_table()?.get(key);
        let licence = |name: &str| {
            Licensee::parse(name).map_err(|error| format!("{RULES}: licence {name}: {error}"))
        };
        let tables = |table: &str, key: &str| -> Vec<toml::Table> {
            let items = at(table, key).and_then(toml::Value::as_array).cloned().unwrap_or_default();
            items.into_iter().filter_map(|item| item.as_table().cloned()).collect()
        };
        let krate = |item: &toml::Table| {
            let name = item.get("crate").and_then(toml::Value::as_str);
            name.map(str::to_owned).ok_or_else(|| format!("{RULES}: an entry names no crate"))
        };
        let mut exceptions = Vec::new();
        for item in tables("licenses", "exceptions") {
            for name in texts(item.get("allow")) {
                exceptions.push((krate(&item)?, licence(&name)?));
            }
        }
        let allowed = texts(at("licenses", "allow"));
        Ok(Self {
            targets: texts(at("graph", "targets")),
            licences: allowed.iter().map(|name| licence(name)).collect::<Result<_, _>>()?,
            exceptions,
            banned: tables("bans", "deny").iter().map(krate).collect::<Result<_, _>>()?,
            registries: texts(at("sources", "allow-registry")),
        })
    }

    /// What is wrong with a dependency.
    fn broken_by(&self, package: &Value) -> Vec<String> {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let (name, mut wrong) = (text("name"), Vec::new());
        let Some(source) = package["source"].as_str() else {
            // Of this repository.
            return self.wildcards(package);
        };
        let origin = source.strip_prefix("registry+").or_else(|| source.strip_prefix("sparse+"));
        if !origin.is_some_and(|origin| self.registries.iter().any(|known| known == origin)) {
            wrong.push(format!("comes from {source}, which is not among the sources"));
        }
        if self.banned.iter().any(|banned| banned == name) {
            wrong.push("is banned".to_owned());
        }
        let licence = text("license");
        match Expression::parse_mode(licence, ParseMode::LAX) {
            Ok(expression) => {
                let allowed = expression.evaluate(|asked| {
                    let more = self.exceptions.iter().filter(|(krate, _)| krate == name);
                    let more = more.map(|(_, licence)| licence);
                    self.licences.iter().chain(more).any(|licence| licence.satisfies(asked))
                });
                if !allowed {
                    wrong
                        .push(format!("has the licence {licence}, which is not among the allowed"));
                }
            }
            Err(_) => wrong.push(format!("has a licence that cannot be read: {licence:?}")),
        }
        wrong
    }

    /// Dependencies of our own crates that any version would do for.
    fn wildcards(&self, package: &Value) -> Vec<String> {
        let dependencies = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
        let wild = dependencies.iter().filter(|it| it["req"] == "*" && it["path"].is_null());
        wild.map(|it| format!("takes any version of {}", it["name"])).collect()
    }
}

fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let text = std::fs::read_to_string(root.join(RULES));
    let rules = Rules::read(&text.map_err(|error| format!("cannot read {RULES}: {error}"))?)?;
    let mut command = steps::cargo(root, &["metadata", "--format-version", "1", "--locked"]);
    for target in &rules.targets {
        command.args(["--filter-platform", target]);
    }
    let output = command.output().map_err(|error| format!("cargo cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo's metadata cannot be read: {error}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo tells no packages")?;
    let mut findings = Vec::new();
    for package in packages {
        let named = format!("{} {}", package["name"], package["version"]).replace('"', "");
        let wrong = rules.broken_by(package).into_iter();
        findings.extend(wrong.map(|text| Finding::file(Path::new(&named), text)));
    }
    Ok(findings)
}

/// Fetches the advisory database within its time.
fn fetch(root: &Path) -> bool {
    let mut command = steps::cargo(root, &["deny", "fetch", "db"]);
    let Ok(mut child) = command.spawn() else { return false };
    let end = Instant::now() + FETCH_MAX;
    wait_until(&mut child, end).is_some_and(|status| status.success())
}

/// Waits for a program and ends it when its time is over.
fn wait_until(child: &mut Child, end: Instant) -> Option<ExitStatus> {
    while Instant::now() < end {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(50));
    }
    // Both fail only where the program has just ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    None
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use serde_json::json;

    use super::*;

    const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

    fn wrong(package: &Value) -> Vec<String> {
        let text = include_str!("../../deny.toml");
        Rules::read(text).unwrap().broken_by(package)
    }

    fn package(name: &str, license: Option<&str>, source: &str) -> Value {
        json!({"name": name, "version": "1.0.0", "license": license, "source": source})
    }

    #[test]
    fn licences_are_judged_as_expressions() {
        for good in ["MIT", "MIT OR Apache-2.0", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "ISC AND MIT"]
        {
            assert!(wrong(&package("a", Some(good), REGISTRY)).is_empty(), "{good}");
        }
        for bad in [Some("GPL-3.0"), Some("MIT AND GPL-3.0"), Some("MPL-2.0"), Some("mine"), None] {
            assert_eq!(wrong(&package("a", bad, REGISTRY)).len(), 1, "{bad:?}");
        }
        assert!(wrong(&package("option-ext", Some("MPL-2.0"), REGISTRY)).is_empty());
    }

    #[test]
    fn sources_bans_and_wildcards_are_looked_at() {
        let elsewhere = package("a", Some("MIT"), "git+https://example.org/a#1");
        assert_eq!(wrong(&elsewhere).len(), 1);
        assert_eq!(wrong(&package("openssl-sys", Some("MIT"), REGISTRY)), ["is banned"]);
        let ours = json!({
            "name": "ours", "version": "0.1.0", "source": null,
            "dependencies": [{"name": "b", "req": "*"}, {"name": "c", "req": "*", "path": "../c"}],
        });
        assert_eq!(wrong(&ours).len(), 1);
    }
}
