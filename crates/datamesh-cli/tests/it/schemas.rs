//! What each command answers with `--json` has the form that `docs/cli/schemas` says: nothing less, nothing
//! more, and no other types. The forms are read from answers of a real mesh; where one is meant to change,
//! `DATAMESH_BLESS=1 cargo nextest run -E 'test(schemas::)'` adds what is new, and a file that was removed is
//! made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::Mesh;
use serde_json::{Map, Value, json};

use crate::PROGRAM;
use crate::recover::address;

/// The form of a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Form {
    types: BTreeSet<String>,
    /// Of objects with fields of their own names.
    fields: BTreeMap<String, Form>,
    /// Fields that are always there.
    required: Option<BTreeSet<String>>,
    /// Of objects whose names are values themselves.
    values: Option<Box<Form>>,
    items: Option<Box<Form>>,
}

/// Objects with these names have a margin, an outcome or another value for a name.
const MAPS: [&str; 2] = ["margins", "outcomes"];

/// Fields that are null until something was measured or happened, and their type then: one run sees the one
/// and another the other.
const OPTIONAL: [(&str, &str); 36] = [
    ("answered", "string"),
    ("changed", "boolean"),
    ("cipher_suite", "string"),
    ("collection_refused", "string"),
    ("connected", "integer"),
    ("damage", "string"),
    ("distance", "integer"),
    ("domain", "string"),
    ("down", "integer"),
    ("earliest", "string"),
    ("expires", "string"),
    ("failure", "string"),
    ("goodput", "number"),
    ("hash", "string"),
    ("hint", "string"),
    ("key_exchange", "string"),
    ("last_error", "string"),
    ("last_failure", "string"),
    ("latency_ms", "number"),
    ("left_s", "number"),
    ("looked", "string"),
    ("lost", "string"),
    ("margin", "integer"),
    ("modified", "string"),
    ("next_try", "string"),
    ("post_quantum", "boolean"),
    ("protocol", "string"),
    ("read_only", "string"),
    ("reason", "string"),
    ("refused", "string"),
    ("relayed", "boolean"),
    ("round_trip_ms", "number"),
    ("seconds_left", "number"),
    ("took_ms", "number"),
    ("until", "string"),
    ("up", "integer"),
];

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Form {
    /// The form of a value that has this name.
    fn of(name: &str, value: &Value) -> Self {
        let kind = type_of(value);
        let mut form = Self { types: [kind.to_owned()].into(), ..Self::default() };
        let optional = OPTIONAL.iter().find(|(optional, _)| *optional == name);
        if let Some((_, other)) = optional.filter(|(_, other)| [*other, "null"].contains(&kind)) {
            form.types.extend([(*other).to_owned(), "null".to_owned()]);
        }
        match value {
            Value::Array(items) => {
                form.items =
                    items.iter().map(|item| Self::of(name, item)).reduce(Self::join).map(Box::new);
            }
            Value::Object(fields) if MAPS.contains(&name) => {
                let values = fields.values().map(|value| Self::of("", value));
                form.values = values.reduce(Self::join).map(Box::new);
            }
            Value::Object(fields) => {
                let of = |(name, value): (&String, &Value)| (name.clone(), Self::of(name, value));
                form.fields = fields.iter().map(of).collect();
                form.required = Some(fields.keys().cloned().collect());
            }
            _ => {}
        }
        form
    }

    /// What both have.
    fn join(mut self, other: Self) -> Self {
        fn joined(one: Option<Box<Form>>, other: Option<Box<Form>>) -> Option<Box<Form>> {
            match (one, other) {
                (Some(one), Some(other)) => Some(Box::new(one.join(*other))),
                (one, other) => one.or(other),
            }
        }
        self.types.extend(other.types);
        for (name, field) in other.fields {
            let before = self.fields.remove(&name);
            let field = before.map_or(field.clone(), |before| before.join(field));
            self.fields.insert(name, field);
        }
        self.required = match (self.required, other.required) {
            (Some(one), Some(other)) => Some(&one & &other),
            (one, other) => one.or(other),
        };
        self.values = joined(self.values, other.values);
        self.items = joined(self.items, other.items);
        self
    }

    /// It was null in every answer, so that nothing is known of what it may be.
    fn is_open(&self) -> bool {
        self.types.iter().all(|kind| kind == "null")
    }

    /// As JSON Schema.
    fn schema(&self) -> Value {
        let mut schema = Map::new();
        if self.is_open() {
            return Value::Object(schema);
        }
        let mut types = self.types.clone();
        // Every integer is a number.
        if types.contains("number") {
            types.remove("integer");
        }
        let types: Vec<Value> = types.into_iter().map(Value::String).collect();
        let types = if types.len() == 1 { types[0].clone() } else { Value::Array(types) };
        schema.insert("type".to_owned(), types);
        if let Some(items) = &self.items {
            schema.insert("items".to_owned(), items.schema());
        }
        if let Some(required) = &self.required {
            let fields = self.fields.iter().map(|(name, form)| (name.clone(), form.schema()));
            schema.insert("properties".to_owned(), Value::Object(fields.collect()));
            schema.insert("required".to_owned(), json!(required));
            schema.insert("additionalProperties".to_owned(), Value::Bool(false));
        } else if let Some(values) = &self.values {
            schema.insert("additionalProperties".to_owned(), values.schema());
        }
        Value::Object(schema)
    }

    /// From the part of JSON Schema that this writes.
    fn read(schema: &Value) -> Self {
        let types = match &schema["type"] {
            Value::String(one) => [one.clone()].into(),
            Value::Array(several) => {
                several.iter().map(|it| it.as_str().unwrap().to_owned()).collect()
            }
            _ => ["null".to_owned()].into(),
        };
        let inner = |name: &str| {
            schema.get(name).filter(|it| it.is_object()).map(|it| Box::new(Self::read(it)))
        };
        let fields = schema["properties"].as_object().into_iter().flatten();
        let required = schema["required"].as_array().map(|required| {
            required.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
        });
        Self {
            types,
            fields: fields.map(|(name, it)| (name.clone(), Self::read(it))).collect(),
            required,
            values: inner("additionalProperties"),
            items: inner("items"),
        }
    }

    /// What of a value is not as this says.
    fn refuse(&self, at: &str, name: &str, value: &Value, refused: &mut Vec<String>) {
        let kind = type_of(value);
        let is_number = kind == "integer" && self.types.contains("number");
        if self.is_open() {
            return;
        }
        if !self.types.contains(kind) && !is_number {
            refused.push(format!("{at} is {kind}, not {:?}", self.types));
            return;
        }
        match value {
            Value::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    if let Some(form) = &self.items {
                        form.refuse(&format!("{at}[{number}]"), name, item, refused);
                    }
                }
            }
            Value::Object(fields) if MAPS.contains(&name) => {
                for (name, value) in fields {
                    match &self.values {
                        Some(form) => form.refuse(&format!("{at}.{name}"), "", value, refused),
                        None => refused.push(format!("{at}.{name} is in an empty object")),
                    }
                }
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    let at = format!("{at}.{name}");
                    match self.fields.get(name) {
                        Some(form) => form.refuse(&at, name, value, refused),
                        None => refused.push(format!("{at} is not in the schema")),
                    }
                }
                let missing = self.required.iter().flatten().filter(|it| !fields.contains_key(*it));
                refused.extend(missing.map(|name| format!("{at}.{name} is missing")));
            }
            _ => {}
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli/schemas")
}

/// Compares answers with the schema of that name, or adds what is new to it.
pub(crate) fn compare(name: &str, answers: &[Value]) -> Vec<String> {
    let file = folder().join(format!("{name}.json"));
    let kept = std::fs::read(&file).ok();
    let kept = kept.map(|text| Form::read(&serde_json::from_slice(&text).unwrap()));
    if std::env::var_os("DATAMESH_BLESS").is_some() {
        let found = answers.iter().map(|answer| Form::of("", answer)).reduce(Form::join).unwrap();
        let form = kept.clone().map_or(found.clone(), |kept| kept.join(found));
        let Value::Object(body) = form.schema() else { unreachable!() };
        let mut schema = Map::new();
        schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        schema.insert("title".to_owned(), format!("datamesh {}", name.replace('.', " ")).into());
        schema.extend(body);
        std::fs::create_dir_all(folder()).unwrap();
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        std::fs::write(&file, text).unwrap();
    }
    let text = std::fs::read(&file).unwrap_or_else(|_| panic!("{} is missing", file.display()));
    let form = Form::read(&serde_json::from_slice(&text).unwrap());
    let mut refused = Vec::new();
    for answer in answers {
        form.refuse(name, "", answer, &mut refused);
    }
    refused
}

/// Names of what a row of a list has: of what is within another with a dot, unless it is one cell of `head`.
fn cells(form: &Form, before: &str, head: &[String]) -> BTreeSet<String> {
    let cell = |(name, inner): (&String, &Form)| {
        let name = format!("{before}{name}");
        if inner.fields.is_empty() || head.contains(&name) {
            return [name].into();
        }
        cells(inner, &format!("{name}."), head)
    };
    form.fields.iter().flat_map(cell).collect()
}

/// As CSV, answers that are lists have the fields of their items for columns, whether there are items or not.
fn columns_are_as_in_the_schemas(mesh: &Mesh, file: &str, tree: &str) {
    let lists: [(&str, &str, &[&str]); 28] = [
        ("list", "entries", &["list", "--limit", "1"]),
        ("search", "files", &["search", "nowhere"]),
        ("recent", "files", &["recent", "--limit", "1"]),
        ("popular", "files", &["popular", "--period", "day"]),
        ("versions", "versions", &["versions", "c.bin"]),
        ("put", "stored", &["put", file, "as.csv"]),
        ("duplicate", "files", &["duplicate", "as.csv", "twice.csv"]),
        ("rename", "files", &["rename", "twice.csv", "moved.csv"]),
        ("batch-put.plan", "files", &["batch-put", "-r", tree, "--into", "x", "--dry-run"]),
        ("batch-get.plan", "files", &["batch-get", "as.csv", tree, "--dry-run"]),
        ("batch-tag", "files", &["batch-tag", "as.csv", "--add-tags", "csv"]),
        ("pin", "files", &["pin", "as.csv"]),
        ("pin.list", "", &["pin"]),
        ("share.list", "shares", &["share", "list", "moved.csv"]),
        ("sync", "actions", &["sync", tree, "csv", "--dry-run"]),
        ("bootstrap.list", "", &["bootstrap", "list"]),
        ("networks", "", &["networks"]),
        ("peers", "", &["peers"]),
        ("discover", "peers", &["discover", "--timeout", "10ms"]),
        ("network", "nodes", &["network"]),
        ("distribution", "nodes", &["distribution"]),
        ("doctor", "", &["doctor"]),
        ("config.show", "", &["config", "show"]),
        ("advanced.workers", "", &["advanced", "workers"]),
        ("advanced.journal", "transfers", &["advanced", "journal"]),
        ("advanced.check", "", &["advanced", "check"]),
        ("keys.list", "logs", &["keys", "list"]),
        ("audit.list", "", &["audit", "list", "--limit", "1"]),
    ];
    for (name, list, arguments) in lists {
        let out = mesh.run("n0", &[&["--format", "csv"], arguments].concat()).ok().out;
        let mut rows = csv::Reader::from_reader(out.as_bytes());
        let head: Vec<String> = rows.headers().unwrap().iter().map(str::to_owned).collect();
        let schema = std::fs::read(folder().join(format!("{name}.json"))).unwrap();
        let form = Form::read(&serde_json::from_slice(&schema).unwrap());
        let form = if list.is_empty() { &form } else { &form.fields[list] };
        let items = form.items.as_deref().unwrap();
        let columns: BTreeSet<String> = head.iter().cloned().collect();
        assert_eq!(columns, cells(items, "", &head), "{name}");
        assert_eq!(columns.len(), head.len(), "{name}");
    }
}

#[test]
fn answers_have_the_form_that_the_schemas_say() {
    let mesh = Mesh::of(PROGRAM, 7);
    let work = tempfile::tempdir().unwrap();
    let at = |name: &str| work.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir_all(work.path().join("tree/deep")).unwrap();
    std::fs::create_dir(work.path().join("tree/empty")).unwrap();
    for (name, length) in [("tree/a.txt", 70_000), ("tree/deep/b.txt", 900), ("c.bin", 5_000_000)] {
        std::fs::write(at(name), noise(length as u64, length)).unwrap();
    }
    let mut answers: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut ask_in = |home: &str, name: &'static str, arguments: &[&str]| {
        let done = mesh.run(home, &[&["--json"], arguments].concat());
        let answer = serde_json::from_str(&done.out);
        let answer: Value =
            answer.unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", done.err));
        assert_eq!(answer.get("error").is_some(), name == "error", "{arguments:?}: {answer}");
        answers.entry(name).or_default().push(answer.clone());
        answer
    };
    let words = mesh.text(&mesh.path("n0.words"));
    let ticket = mesh.run("n0", &["invite"]).ok().out.trim().to_owned();
    ask_in("fresh", "init", &["init", "--non-interactive", "--words-out", &at("fresh.words")]);
    ask_in("fresh", "join", &["join", &ticket]);
    ask_in("fresh", "config.show", &["config", "show"]);
    ask_in("fresh", "config.get", &["config", "get", "service.storage"]);
    ask_in("fresh", "config.get", &["config", "set", "service.storage", "2GiB"]);
    ask_in("fresh", "config.validate", &["config", "validate"]);
    ask_in("n0", "keys.file", &["keys", "add", "--words-file", &words, &at("laptop.keys")]);
    ask_in("n0", "keys.file", &["keys", "export", &at("copy.keys")]);
    ask_in("laptop", "keys.import", &["keys", "import", &at("laptop.keys")]);
    ask_in("n0", "list", &["list"]);
    ask_in("n0", "put", &["put", "-r", &at("tree"), "tree"]);
    let peer = address(&mesh, "n1");
    let recover = ["recover", "--words-file", &words, "--peer", &peer];
    ask_in("restored", "recover", &recover);
    let mut ask = |name: &'static str, arguments: &[&str]| ask_in("n0", name, arguments);
    ask("error", &["get", "nowhere", "-"]);
    ask("pin.list", &["pin"]);
    ask("put", &["put", &at("c.bin"), "--tags", "one,two"]);
    ask("put", &["put", &at("c.bin"), "twin.bin"]);
    ask("list", &["list", "-r"]);
    ask("list", &["list"]);
    ask("info", &["info", "c.bin"]);
    ask("info", &["info", "tree/deep/b.txt"]);
    ask("batch-tag", &["batch-tag", "**", "--add-tags", "all", "--note", "noted"]);
    ask("pin", &["pin", "c.bin", "absent", "--duration", "1h"]);
    ask("pin", &["unpin", "tree/a.txt"]);
    ask("pin", &["pin", "tree/deep/b.txt"]);
    ask("pin.list", &["pin"]);
    ask("info", &["info", "c.bin"]);
    ask("info", &["info", "tree/deep/b.txt"]);
    ask("list", &["list", "-r", "--limit", "1"]);
    ask("search", &["search", "all"]);
    ask("search", &["search", "nowhere"]);
    ask("recent", &["recent"]);
    ask("get", &["get", "c.bin", &at("back.bin")]);
    ask("popular", &["popular"]);
    ask("duplicate", &["duplicate", "c.bin", "again.bin"]);
    ask("rename", &["rename", "again.bin", "renamed.bin"]);
    ask("batch-put", &["batch-put", "-r", &at("tree"), "--into", "more"]);
    ask("batch-put.plan", &["batch-put", "-r", &at("tree"), "--into", "more", "--dry-run"]);
    ask("batch-get", &["batch-get", "more/**", &at("fetched")]);
    ask("batch-get.plan", &["batch-get", "more/**", &at("fetched"), "--dry-run"]);
    ask("remove", &["remove", "renamed.bin"]);
    ask("versions", &["versions", "renamed.bin"]);
    ask("versions", &["versions", "c.bin"]);
    ask("versions.undelete", &["versions", "--undelete", "renamed.bin"]);
    ask("remove", &["remove", "renamed.bin"]);
    ask("versions.purge", &["versions", "--purge", "--force", "renamed.bin"]);
    ask("cleanup", &["cleanup", "--force", "--duplicates", "--orphaned", "--low-health"]);
    ask(
        "optimize",
        &["optimize", "--analyze", "--defrag", "--compress", "--rebalance", "--dry-run"],
    );
    ask("optimize", &["optimize", "--rescheme", "--scheme", "1+5", "tree/a.txt"]);
    ask("sync", &["sync", &at("tree"), "synced"]);
    std::fs::rename(at("tree/a.txt"), at("tree/b.txt")).unwrap();
    ask("sync", &["sync", &at("tree"), "synced"]);
    ask("export", &["export", &at("all.tar")]);
    ask("import", &["import", &at("all.tar"), "--preserve-structure", "--into", "imported"]);
    ask("keys.list", &["keys", "list"]);
    ask("peers", &["peers"]);
    ask("stats", &["stats"]);
    ask("health", &["health"]);
    ask("repair", &["repair"]);
    ask("repair", &["repair", "c.bin", "--verify-all"]);
    ask("distribution", &["distribution"]);
    ask("transport", &["transport"]);
    ask("security", &["security"]);
    ask("discover", &["discover", "--timeout", "1s"]);
    ask("network", &["network", "--depth", "1"]);
    ask("network", &["network"]);
    let peer = mesh.id_of(1);
    ask("bandwidth", &["bandwidth", "--duration", "100ms"]);
    ask("bandwidth", &["bandwidth", "--duration", "200ms", "--test-peer", &peer]);
    ask("networks", &["networks"]);
    ask("bootstrap.list", &["bootstrap", "add", "/ip4/127.0.0.1/tcp/1", "--region", "here"]);
    ask("doctor", &["doctor"]);
    ask("advanced.workers", &["advanced", "workers"]);
    ask("advanced.journal", &["advanced", "journal"]);
    ask("advanced.store", &["advanced", "store"]);
    ask("advanced.catalog", &["advanced", "catalog"]);
    ask("advanced.check", &["advanced", "check"]);
    ask(
        "benchmark",
        &["benchmark", "--full", "--size", "1MiB", "--duration", "10ms", "--iterations", "1"],
    );
    let link = ["share", "c.bin", "--link", "--expires", "7d"];
    let share = ask("share", &link)["share"].as_str().unwrap().to_owned();
    ask("share.revoke", &["share", "revoke", &share]);
    ask("share", &link);
    ask("share", &["share", "tree/a.txt", "--link"]);
    ask("share.list", &["share", "list"]);
    ask("info", &["info", "tree/a.txt"]);
    ask("info", &["info", "c.bin"]);
    ask("keys.recipient", &["keys", "recipient"]);
    ask("audit.list", &["audit", "list"]);
    ask("audit.verify", &["audit", "verify"]);
    ask("invite", &["invite"]);
    ask("keys.rotate", &["keys", "rotate", "--yes", "--words-file", &words]);
    ask("keys.rotate.deep", &["keys", "rotate", "--deep", "--resume"]);
    let refused: Vec<String> =
        answers.iter().flat_map(|(name, answers)| compare(name, answers)).collect();
    assert_eq!(refused, [] as [&str; 0], "DATAMESH_BLESS=1 takes what is new");
    columns_are_as_in_the_schemas(&mesh, &at("c.bin"), &at("tree"));
    // Every schema is compared with something.
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".json").unwrap();
        // Its own test compares it.
        if name == "demo" {
            continue;
        }
        assert!(answers.contains_key(name), "nothing answers by docs/cli/schemas/{name}.json");
    }
}
