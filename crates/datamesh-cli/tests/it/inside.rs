//! What is worth doing, what lies inside, and how fast it is: each from measurements, on real processes.

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::{Mesh, wait_for};
use rustix::process::Signal;
use serde_json::Value;

use crate::losses::signal;
use crate::{PROGRAM, schemas};

fn json(mesh: &Mesh, home: &str, arguments: &[&str]) -> Value {
    mesh.run(home, &[&["--json"], arguments].concat()).ok().json()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn what_is_worth_doing_follows_from_measurements_and_is_done() {
    let mut mesh = Mesh::of(PROGRAM, 6);
    let text: Vec<u8> =
        (0..400_000).flat_map(|n: u32| format!("{n} is well\n").into_bytes()).collect();
    mesh.run("n0", &["config", "set", "storage.compression", "off"]).ok();
    mesh.pipe("n0", &["put", "--", "-", "log"], &text).ok();
    mesh.pipe("n0", &["put", "--", "-", "noise"], &noise(1, 3_000_000)).ok();
    let subjects = |analysis: &Value| -> Vec<String> {
        let advice = analysis["analysis"]["advice"].as_array().unwrap().iter();
        advice.map(|advice| advice["subject"].as_str().unwrap().to_owned()).collect()
    };
    // Nothing was read lately, but all of it was stored just now.
    let analysis = json(&mesh, "n0", &["optimize", "--analyze"]);
    assert!(subjects(&analysis).is_empty(), "{analysis}");
    assert!(analysis["analysis"]["fine"].as_array().unwrap().len() >= 6, "{analysis}");
    assert!(analysis["compress"].is_null() && analysis["defrag"].is_null());

    let tried = json(&mesh, "n0", &["optimize", "--compress", "--unread", "0", "--dry-run"]);
    let compress = &tried["compress"];
    assert_eq!((number(&compress["versions"]), number(&compress["sampled"])), (2, 2));
    assert!(number(&compress["sampled_saved"]) > 0, "{tried}");
    assert_eq!(number(&compress["rewritten"]["versions"]), 0);
    let done = json(&mesh, "n0", &["optimize", "--compress", "--unread", "0"]);
    assert_eq!(number(&done["compress"]["rewritten"]["versions"]), 1, "{done}");
    assert!(mesh.bytes("n0", &["get", "--", "log", "-"]) == text);
    // What was fetched is read again, by this device at least.
    let lately = json(&mesh, "n0", &["optimize", "--compress", "--unread", "1", "--dry-run"]);
    assert_eq!(number(&lately["compress"]["versions"]), 0);

    let shown = mesh.run("n0", &["optimize", "--defrag", "--rebalance"]).ok();
    for said in ["less than half full", "packs of this node", "given back", "to be moved: 0 shards"]
    {
        assert!(shown.out.contains(said), "{said}: {}", shown.out);
    }
    let csv = mesh.run("n0", &["--format", "csv", "optimize", "--analyze"]).ok().out;
    assert!(csv.lines().count() >= 2, "{csv}");
    // Without a service there is an account, and no node.
    mesh.kill(0);
    let alone = json(&mesh, "n0", &["optimize", "--defrag", "--dry-run"]);
    assert!(alone["defrag"]["packs"].is_null() && alone["defrag"]["segments"].is_object());
    mesh.run("n0", &["optimize", "--rebalance"]).code(2);
    let analysis = json(&mesh, "n0", &["optimize", "--analyze"]);
    assert_eq!(analysis["analysis"]["skipped"].as_array().unwrap().len(), 1, "{analysis}");
}

#[test]
fn advanced_tells_what_lies_inside_and_finds_damage() {
    let mut mesh = Mesh::of(PROGRAM, 6);
    mesh.pipe("n0", &["put", "--", "-", "noise"], &noise(1, 3_000_000)).ok();
    let workers = json(&mesh, "n0", &["advanced", "workers"]);
    let names: Vec<&str> =
        workers.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    for name in ["repair", "scrub", "catalog"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let store = json(&mesh, "n0", &["advanced", "store"]);
    assert!(number(&store["shards"]) > 0 && number(&store["heads"]) > 0, "{store}");
    assert!(number(&store["live"]) <= number(&store["used"]), "{store}");
    let granted: u64 =
        store["grants"].as_array().unwrap().iter().map(|grant| number(&grant["bytes"])).sum();
    assert!(granted > 500_000, "{store}");
    let catalog = json(&mesh, "n0", &["advanced", "catalog"]);
    assert_eq!(catalog["logs"].as_array().unwrap().len(), 1);
    assert_eq!((&catalog["whole"], &catalog["damage"]), (&true.into(), &Value::Null));
    let bytes = catalog["files"].as_array().unwrap().iter().map(|file| number(&file["bytes"]));
    assert!(bytes.sum::<u64>() > 4096, "{catalog}");
    let journal = json(&mesh, "n0", &["advanced", "journal"]);
    assert_eq!(
        (journal["transfers"].as_array().unwrap().len(), number(&journal["orphans"])),
        (0, 0)
    );
    let checks = json(&mesh, "n0", &["advanced", "check"]);
    let well = checks.as_array().unwrap().iter().filter(|check| check["severity"] == "ok");
    assert_eq!(well.count(), 3, "{checks}");
    for part in ["workers", "store", "catalog", "journal", "check"] {
        assert!(mesh.run("n0", &["advanced", part]).ok().out.lines().count() > 1, "{part}");
    }
    mesh.run("n0", &["advanced"]).code(2);
    mesh.run("n0", &["advanced", "everything"]).code(2);

    // A byte of a shard flips on the disk.
    let pack = mesh.packs(0).into_iter().next().unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    let at = bytes.windows(4).rposition(|word| word == b"DMRC").unwrap() / 2;
    bytes[at] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let found = mesh.run("n0", &["--json", "advanced", "check"]).code(1).json();
    let store = found.as_array().unwrap().iter().find(|it| it["subject"] == "store").unwrap();
    assert_eq!(store["severity"], "critical", "{found}");

    // Without a service.
    mesh.kill(0);
    assert_eq!(json(&mesh, "n0", &["advanced", "workers"]), serde_json::json!([]));
    mesh.run("n0", &["advanced", "store"]).code(2);
    assert_eq!(json(&mesh, "n0", &["advanced", "catalog"])["logs"], catalog["logs"]);

    // A row of the catalog's index is damaged: that is a finding, and the rest is proved all the same.
    let database = mesh.path("n0").join("account/catalog.db");
    let mut bytes = std::fs::read(&database).unwrap();
    let at = bytes.len() - 96;
    bytes[at] ^= 1;
    std::fs::write(&database, &bytes).unwrap();
    let found = mesh.run("n0", &["--json", "advanced", "check"]).code(1).json();
    let severity = |subject: &str| {
        let checks = found.as_array().unwrap().iter();
        checks.filter(|it| it["subject"] == subject).map(|it| it["severity"].clone()).next()
    };
    assert_eq!(severity("catalog"), Some("critical".into()), "{found}");
    assert_eq!(severity("audit log"), Some("ok".into()), "{found}");
}

#[test]
fn a_put_that_nobody_can_resume_is_given_up_and_given_back() {
    let mesh = Mesh::of(PROGRAM, 7);
    let files = ["one", "other"].map(|name| mesh.path(name));
    for (file, seed) in files.iter().zip([1, 2]) {
        std::fs::write(file, noise(seed, 9_000_000)).unwrap();
    }
    let [one, other] = files.each_ref().map(|file| mesh.text(file));
    let still = [4, 5, 6];
    still.iter().for_each(|node| signal(&mesh, *node, Signal::STOP));
    std::thread::scope(|scope| {
        for file in [&one, &other] {
            let mesh = &mesh;
            scope.spawn(move || mesh.run("n0", &["put", "--", file, "here"]).code(5));
        }
    });
    still.iter().for_each(|node| signal(&mesh, *node, Signal::CONT));
    let journal = || {
        let journal = json(&mesh, "n0", &["advanced", "journal"]);
        assert_eq!(schemas::compare("advanced.journal", std::slice::from_ref(&journal)), [""; 0]);
        let transfers = journal["transfers"].as_array().unwrap();
        let of = |transfer: &Value| {
            (transfer["source"].as_str().unwrap().to_owned(), transfer["changed"] == true)
        };
        (transfers.iter().map(of).collect::<Vec<_>>(), number(&journal["orphans"]))
    };
    let (mut begun, _) = journal();
    begun.sort();
    assert_eq!(begun, [(one.clone(), false), (other.clone(), false)]);

    // The one is put again, and is another by then: what was begun of it is over.
    std::fs::write(&files[0], noise(3, 9_000_000)).unwrap();
    wait_for("enough nodes", || mesh.run("n0", &["put", "--", &one, "here"]).code == 0);
    assert_eq!(journal().0, [(other.clone(), false)]);
    // The other is only changed.
    std::fs::write(&files[1], noise(4, 9_000_000)).unwrap();
    assert_eq!(journal().0, [(other.clone(), true)]);
    let told = mesh.run("n0", &["advanced", "journal"]).ok().out;
    assert!(told.contains("source changed") && told.contains("begins anew"), "{told}");
    let cleaned = json(&mesh, "n0", &["cleanup"]);
    assert!(
        number(&cleaned["left"]) > 0 && number(&cleaned["released"]["shards"]) > 0,
        "{cleaned}"
    );
    assert_eq!(journal().0, []);
    assert!(mesh.bytes("n0", &["get", "--", "here", "-"]) == noise(3, 9_000_000));
}

#[test]
fn benchmark_measures_and_leaves_nothing_behind() {
    let mesh = Mesh::of(PROGRAM, 6);
    let short = ["--size", "1MiB", "--duration", "10ms", "--iterations", "1"];
    let measure = |what: &[&str]| {
        json(&mesh, "n0", &[&["benchmark"], what, &short[..]].concat())["figures"].clone()
    };
    let groups = |figures: &Value| -> Vec<String> {
        let figures = figures.as_array().unwrap().iter();
        let mut groups: Vec<String> =
            figures.map(|figure| figure["group"].as_str().unwrap().to_owned()).collect();
        groups.dedup();
        groups
    };
    let figures = measure(&[]);
    assert_eq!(groups(&figures), ["machine", "storage"]);
    for figure in figures.as_array().unwrap() {
        let value = |name: &str| figure[name].as_f64().unwrap();
        assert!(value("least") > 0.0 && value("least") <= value("value"), "{figure}");
        assert!(value("value") <= value("most"), "{figure}");
    }
    let limited = figures.as_array().unwrap().iter().filter(|figure| !figure["limit"].is_null());
    for figure in limited {
        // The ratio is of the two figures that stand there.
        let limit = &figure["limit"];
        let best = figures
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["name"] == limit["name"] && it["unit"] == figure["unit"])
            .unwrap();
        let ratio = figure["value"].as_f64().unwrap() / best["value"].as_f64().unwrap();
        assert!((ratio - limit["ratio"].as_f64().unwrap()).abs() < 1e-9, "{figure} {best}");
    }
    let figures = measure(&["--network"]);
    assert_eq!(groups(&figures), ["machine", "network"]);
    let stored = figures
        .as_array()
        .unwrap()
        .iter()
        .filter(|figure| figure["name"].as_str().unwrap().starts_with("file of"));
    assert_eq!(stored.count(), 4);
    assert_eq!(groups(&measure(&["--full"])), ["machine", "storage", "network"]);

    // Nothing of it is left: no file, no version, no folder.
    let listed = json(&mesh, "n0", &["list", "-r"]);
    assert!(listed["entries"].as_array().unwrap().is_empty(), "{listed}");
    assert_eq!(json(&mesh, "n0", &["stats"])["catalog"]["versions"], 0);
    let left = std::fs::read_dir(mesh.path("n0/node")).unwrap();
    let left: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
    let measuring = left.iter().filter(|name| name.to_string_lossy().contains("measure"));
    assert_eq!(measuring.count(), 0, "{left:?}");
    let shown = mesh.run("n0", &[&["benchmark"], &short[..]].concat()).ok().out;
    assert!(shown.contains("OF LIMIT") && shown.contains("AES-256-GCM"), "{shown}");
    for wrong in [["--size", "1"], ["--duration", "1h"], ["--iterations", "0"]] {
        mesh.run("n0", &[&["benchmark"], &wrong[..]].concat()).code(2);
    }
    mesh.run("n0", &["benchmark", "--full", "--network"]).code(2);
}
