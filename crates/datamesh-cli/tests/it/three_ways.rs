//! Every command in three ways: with a service in its home, in a console, and without a service. It ends alike
//! and answers alike.
//!
//! Each way works on files and names of its own, which are the same but for the name of the way. Times and ids
//! are compared by where they stand, not by their values.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::Mesh;
use serde_json::Value;

use crate::PROGRAM;
use crate::schemas::compare;
use crate::table::command;

/// How the answers of the three ways are alike.
#[derive(Clone, Copy)]
enum Alike {
    /// They are equal.
    Equal,
    /// They tell of the moment or of the node, and have the form of this schema in `docs/cli/schemas`.
    Form(&'static str),
    /// The same, and without a service it ends with 2: there is nothing to tell of.
    Service(&'static str),
}

use Alike::{Equal, Form, Service};

/// Commands in the order in which they are run. `{w}` is the way, `{at}` a folder of its own, `{peer}` a node,
/// `{share}` the share that was made last.
const ROWS: &[(&str, Alike)] = &[
    ("put {at}/c.bin {w}/c.bin --tags one,two", Equal),
    ("put -r {at}/tree {w}/tree", Equal),
    ("put {at}/none {w}/none", Equal),
    ("batch-put -r {at}/tree --into {w}/more", Equal),
    ("batch-put -r {at}/tree --into {w}/more --dry-run", Equal),
    ("list -r {w}", Equal),
    ("list {w}/none", Equal),
    ("info {w}/c.bin", Equal),
    ("versions {w}/c.bin", Equal),
    ("duplicate {w}/c.bin {w}/again.bin", Equal),
    ("rename {w}/again.bin {w}/renamed.bin", Equal),
    ("rename {w}/none {w}/other", Equal),
    ("batch-tag {w}/** --add-tags all --note noted", Equal),
    ("search noted --in {w} --sort name", Equal),
    ("recent {w} --tags one", Equal),
    ("get {w}/c.bin {at}/back.bin", Equal),
    ("get {w}/none {at}/none.bin", Equal),
    ("batch-get {w}/more/** {at}/fetched", Equal),
    ("popular", Form("popular")),
    ("pin {w}/c.bin --priority 8", Form("pin")),
    ("pin", Form("pin.list")),
    ("unpin {w}/c.bin", Form("pin")),
    ("share {w}/c.bin --link", Form("share")),
    ("share list {w}/c.bin", Equal),
    ("share revoke {share}", Equal),
    ("repair {w}/c.bin", Form("repair")),
    ("repair {w}/c.bin --verify-all", Form("repair")),
    ("repair", Service("repair")),
    ("distribution", Form("distribution")),
    ("distribution {w}/c.bin", Form("distribution")),
    ("sync {at}/tree {w}/synced", Equal),
    ("export {at}/all.tar --pattern {w}/tree", Equal),
    ("import {at}/all.tar --into {w}/imported", Equal),
    ("remove {w}/renamed.bin", Equal),
    ("versions --undelete {w}/renamed.bin", Equal),
    ("remove {w}/renamed.bin", Equal),
    ("versions --purge --force {w}/renamed.bin", Equal),
    ("optimize --rescheme --scheme 1+5 {w}/tree/a.txt", Equal),
    ("optimize --analyze --defrag --compress --dry-run", Form("optimize")),
    ("cleanup --duplicates --dry-run", Form("cleanup")),
    ("benchmark --storage --size 1MiB --duration 10ms --iterations 1", Form("benchmark")),
    ("keys list", Form("keys.list")),
    ("keys recipient", Equal),
    ("keys add --words-file {words} {at}/laptop.keys", Equal),
    ("keys export {at}/own.keys", Equal),
    ("keys kit --words-file {words}", Equal),
    ("peers", Form("peers")),
    ("stats", Form("stats")),
    ("health", Form("health")),
    ("transport", Form("transport")),
    ("security", Form("security")),
    ("discover --timeout 300ms", Form("discover")),
    ("network --depth 1", Form("network")),
    ("bandwidth --duration 100ms", Service("bandwidth")),
    ("bandwidth --duration 200ms --test-peer {peer}", Form("bandwidth")),
    ("networks use test", Equal),
    ("networks list", Equal),
    ("bootstrap add /ip4/127.0.0.1/tcp/1 --region here", Form("bootstrap.list")),
    ("bootstrap list", Form("bootstrap.list")),
    ("bootstrap check", Form("bootstrap.list")),
    ("bootstrap remove /ip4/127.0.0.1/tcp/1", Form("bootstrap.list")),
    ("config set repair.grace 5h", Equal),
    ("config show", Equal),
    ("config get repair.grace", Equal),
    ("config validate", Equal),
    ("config generate", Equal),
    ("invite", Form("invite")),
    ("audit list --limit 3", Form("audit.list")),
    ("audit verify", Form("audit.verify")),
    ("audit export {at}/audit.json", Equal),
    ("advanced workers", Form("advanced.workers")),
    ("advanced journal", Equal),
    ("advanced store", Service("advanced.store")),
    ("advanced catalog", Form("advanced.catalog")),
    ("advanced check", Form("advanced.check")),
    ("doctor", Form("doctor")),
    ("quick-help", Equal),
    ("generate-completion bash", Equal),
    // Another device of the account that is lost is revoked: each way has one.
    ("keys rotate --yes --words-file {words} --revoke {device}", Form("keys.rotate")),
];

/// Commands that are not run so, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("init", "makes the home that a service or a console needs"),
    ("recover", "makes the home that a service or a console needs"),
    ("join", "enters a mesh with a home that has none"),
    ("keys import", "makes the home that a service or a console needs"),
    ("service", "is the service"),
    ("interactive", "is the console"),
    ("demo", "makes a mesh of its own"),
];

/// What a way answered: the exit code and standard output.
type Answer = (i32, Value);

/// One way's files, and what stands for it in lines.
struct Way {
    name: &'static str,
    folder: PathBuf,
    device: String,
}

impl Way {
    fn of(mesh: &Mesh, number: u64, name: &'static str) -> Self {
        let folder = mesh.path(name);
        fs::create_dir_all(folder.join("tree/deep")).unwrap();
        for (name, length) in
            [("tree/a.txt", 70_000), ("tree/deep/b.txt", 900), ("c.bin", 5_000_000)]
        {
            let bytes = noise(number * 10_000_000 + length as u64, length);
            fs::write(folder.join(name), bytes).unwrap();
        }
        let (keys, home) = (mesh.text(&folder.join("lost.keys")), format!("lost-{name}"));
        let words = mesh.text(&mesh.path("n0.words"));
        mesh.run("n0", &["keys", "add", "--words-file", &words, &keys]).ok();
        mesh.run(&home, &["keys", "import", &keys]).ok();
        mesh.run(&home, &["put", "--", &keys, &format!("{name}-lost")]).ok();
        let listed = mesh.run(&home, &["--json", "keys", "list"]).ok().json();
        Self { name, folder, device: listed["device"].as_str().unwrap().to_owned() }
    }

    /// Runs all rows, each by `run`.
    fn all(&self, mesh: &Mesh, run: impl Fn(&[String]) -> (i32, String)) -> Vec<Answer> {
        let (mut answers, mut share) = (Vec::new(), String::new());
        for (row, _) in ROWS {
            let word = |word: &str| {
                word.replace("{w}", self.name)
                    .replace("{at}", self.folder.to_str().unwrap())
                    .replace("{peer}", &mesh.id_of(1))
                    .replace("{share}", &share)
                    .replace("{words}", mesh.path("n0.words").to_str().unwrap())
                    .replace("{device}", &self.device)
            };
            let words: Vec<String> = row.split(' ').map(word).collect();
            let (code, out) = run(&words);
            let answer = serde_json::from_str(&out).unwrap_or(Value::String(out));
            if words[0] == "share" && answer["share"].is_string() {
                answer["share"].as_str().unwrap()[..12].clone_into(&mut share);
            }
            answers.push((code, answer));
        }
        answers
    }
}

/// Exchanges in a value what differs between the ways and is right all the same.
struct Plain<'a> {
    way: &'a Way,
    ids: BTreeMap<String, usize>,
}

impl Plain<'_> {
    fn text(&mut self, text: &str) -> String {
        let text = text.replace(self.way.folder.to_str().unwrap(), "{at}");
        let text = text.replace(self.way.name, "{w}");
        let mut plain = String::new();
        let mut word = String::new();
        for letter in text.chars().chain(['\0']) {
            if letter.is_ascii_alphanumeric() {
                word.push(letter);
                continue;
            }
            plain.push_str(&self.word(&word));
            word.clear();
            if letter != '\0' {
                plain.push(letter);
            }
        }
        // A moment is the only text that begins with a year and a month.
        let is_time = text.len() > 16 && text.get(4..5) == Some("-") && text.ends_with('Z');
        if is_time { "a time".to_owned() } else { plain }
    }

    /// Ids by the order in which they come.
    fn word(&mut self, word: &str) -> String {
        let is_hash = word.len() >= 12 && word.bytes().all(|it| it.is_ascii_hexdigit());
        if !is_hash && !word.starts_with("12D3KooW") {
            return word.to_owned();
        }
        let count = self.ids.len();
        format!("id-{}", self.ids.entry(word.to_owned()).or_insert(count))
    }

    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => {
                // How long it took, and who holds which shard, is another thing each time.
                let moment = ["seconds", "node", "domain"];
                let fields = fields.iter().filter(|(name, _)| !moment.contains(&name.as_str()));
                fields.map(|(name, value)| (self.text(name), self.value(value))).collect()
            }
            other => other.clone(),
        }
    }
}

#[test]
fn every_command_does_the_same_with_a_service_in_a_console_and_without() {
    let mut mesh = Mesh::of(PROGRAM, 7);
    let ways = ["way-served", "way-typed", "way-alone"];
    let ways: Vec<Way> =
        ways.iter().zip(1..).map(|(name, number)| Way::of(&mesh, number, name)).collect();
    let shell = |mesh: &Mesh, words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let done = mesh.run("n0", &[&["--json"], &words[..]].concat());
        (done.code, done.out)
    };
    let typed = |mesh: &Mesh, words: &[String]| {
        let line = words.join(" ") + "\n";
        let done = mesh.pipe("n0", &["--json", "interactive"], line.as_bytes());
        (done.code, done.out)
    };
    let mut answers = vec![
        ways[0].all(&mesh, |words| shell(&mesh, words)),
        ways[1].all(&mesh, |words| typed(&mesh, words)),
    ];
    mesh.kill(0);
    answers.push(ways[2].all(&mesh, |words| shell(&mesh, words)));
    let mut wrong = Vec::new();
    for (number, (row, alike)) in ROWS.iter().enumerate() {
        let all: Vec<&Answer> = answers.iter().map(|answers| &answers[number]).collect();
        let codes: Vec<i32> = all.iter().map(|(code, _)| *code).collect();
        let (Equal | Form(_)) = alike else {
            if codes != [0, 0, 2] {
                wrong.push(format!("{row}: ends with {codes:?}"));
            }
            let Service(schema) = alike else { unreachable!() };
            wrong.extend(compare(schema, &[all[0].1.clone(), all[1].1.clone()]));
            continue;
        };
        if codes.iter().any(|code| *code != codes[0]) {
            wrong.push(format!("{row}: ends with {codes:?}: {all:?}"));
            continue;
        }
        if let Form(schema) = alike {
            let all: Vec<Value> = all.iter().map(|(_, answer)| answer.clone()).collect();
            wrong.extend(compare(schema, &all));
            continue;
        }
        let plain = |(way, (_, answer)): (&Way, &&Answer)| {
            Plain { way, ids: BTreeMap::new() }.value(answer)
        };
        let plain: Vec<Value> = ways.iter().zip(&all).map(plain).collect();
        for (way, other) in ways.iter().zip(&plain).skip(1) {
            if *other != plain[0] {
                wrong.push(format!("{row}: served: {}\n{}: {other}", plain[0], way.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_command_is_run_in_three_ways_or_it_is_said_why_not() {
    let mut missing = Vec::new();
    for name in command(&[]).below {
        let below = command(&[&name]).below;
        let all = match below.is_empty() {
            true => vec![name],
            false => below.iter().map(|below| format!("{name} {below}")).collect(),
        };
        for words in all {
            let runs = |row: &str| row == words || row.starts_with(&format!("{words} "));
            let elsewhere = ELSEWHERE.iter().any(|(name, why)| runs(name) && !why.is_empty());
            if !elsewhere && !ROWS.iter().any(|(row, _)| runs(row)) {
                missing.push(words);
            }
        }
    }
    assert_eq!(missing, [] as [&str; 0]);
}
