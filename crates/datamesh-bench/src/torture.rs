//! Long runs. Those with real processes say what they did; a difference or an unbounded process ends
//! them with a panic that names the seed. Those that follow numbers and the fuzzer keep their totals.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use datamesh_testkit::fixtures::{TreeShape, tree_digest, tree_of};
use datamesh_testkit::processes::Mesh;

use crate::accounting::MemoryWatch;
use crate::content;
use crate::report::{Report, Row};
use crate::totals::Totals;
use crate::{fuzz, seeds};

/// What no process may exceed, in MiB of anonymous memory.
const MEMORY_MAX_MIB: f64 = 256.0;

/// Which runs, and how large.
#[derive(Args)]
pub(crate) struct Plan {
    /// Only these runs: large, wide, pairs and kills with real processes; and what goes on where it
    /// ended, with its totals in docs/reliability.md: seeds, interleavings, corruptions, liars, quads,
    /// recovery, namespaces, fuzz.
    #[arg(long, value_delimiter = ',', default_value = "large,wide,pairs,kills")]
    only: Vec<String>,
    /// Minutes for each of the runs that go on where they ended: they end after what is under way.
    #[arg(long)]
    minutes: Option<u64>,
    /// How many are wished in all of those that are chosen, in place of what each has.
    #[arg(long)]
    wished: Option<u64>,
    /// MiB of the large file in 4+2 on 7 nodes.
    #[arg(long, default_value_t = 8192)]
    large: u64,
    /// MiB of the large file in 16+8 on 32 nodes.
    #[arg(long, default_value_t = 2048)]
    wide: u64,
    /// MiB of the tree that is read back after each pair of holders died.
    #[arg(long, default_value_t = 256)]
    tree: u64,
    /// Seconds for which nodes are killed under load.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Where everything random begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(program: &Path, folder: &Path, plan: &Plan, report: &mut Report) {
    let root = std::env::current_dir().unwrap();
    let totals = Totals::of(&root);
    let mut failed = Vec::new();
    for run in &plan.only {
        match run.as_str() {
            "large" => memory(program, folder, (7, plan.large, &[]), plan.seed, report),
            "wide" => {
                let scheme = ["--scheme", "16+8"];
                memory(program, folder, (32, plan.wide, &scheme), plan.seed, report);
            }
            "pairs" => pairs(program, folder, plan, report),
            "kills" => kills(program, folder, plan, report),
            "fuzz" => {
                let wished = plan.wished.unwrap_or(fuzz::WISHED);
                failed.extend(fuzz::run(&root, &totals, wished, plan.minutes, report));
            }
            other => {
                let known = seeds::ALL.iter().find(|seeded| seeded.name == other);
                let seeded = known.unwrap_or_else(|| panic!("there is no run {other:?}"));
                let wished = plan.wished.unwrap_or(seeded.wished);
                let minutes = |minutes| Instant::now() + Duration::from_secs(60 * minutes);
                let end = plan.minutes.map(minutes);
                let numbers = seeds::run(seeded, &totals, wished, end, report);
                failed.extend(numbers.into_iter().map(|number| format!("{other}: {number}")));
            }
        }
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// A large file in and out, with a watch on every process.
fn memory(
    program: &Path,
    folder: &Path,
    (nodes, mib, flags): (usize, u64, &[&str]),
    seed: u64,
    report: &mut Report,
) {
    let what = flags.last().copied().unwrap_or("4+2");
    report.heading(&format!("{mib} MiB in {what} on {nodes} nodes, in and out"));
    let mut mesh = Mesh::inside(folder, program);
    mesh.offer("64GiB");
    mesh.found(nodes);
    let watch = MemoryWatch::start();
    let bytes = mib << 20;
    let (file, back) = (mesh.path("large"), mesh.path("back"));
    content::write(&file, seed, bytes);
    let (source, dest) = (mesh.text(&file), mesh.text(&back));
    let arguments = [&["-q", "put"], flags, &["--", &source, "large"]].concat();
    let started = Instant::now();
    mesh.run("n0", &arguments).ok();
    let row = Row::of("put").with(bytes as f64 / 1e6 / started.elapsed().as_secs_f64(), "MB/s");
    report.row(&row.with(watch.peak_mib(), "MiB most anonymous"));
    let started = Instant::now();
    mesh.run("n0", &["-q", "get", "--", "large", &dest]).ok();
    let row = Row::of("get").with(bytes as f64 / 1e6 / started.elapsed().as_secs_f64(), "MB/s");
    report.row(&row.with(watch.peak_mib(), "MiB most anonymous"));
    assert!(content::is(&back, seed, bytes), "the file came back different");
    for (number, pid) in mesh.pids() {
        let peak = watch.peak_of_mib(pid);
        assert!(peak < MEMORY_MAX_MIB, "node {number} had {peak:.0} MiB of anonymous memory");
    }
    assert!(watch.peak_mib() < MEMORY_MAX_MIB, "a command had {:.0} MiB", watch.peak_mib());
}

/// A large tree, read back whole with each pair of nodes dead in turn.
fn pairs(program: &Path, folder: &Path, plan: &Plan, report: &mut Report) {
    report
        .heading(&format!("A tree of {} MiB, every pair of seven nodes killed in turn", plan.tree));
    let mut mesh = Mesh::inside(folder, program);
    mesh.found(7);
    // A client of its own, so that every node may die.
    let ticket = mesh.run("n0", &["invite"]).ok().out.trim().to_owned();
    mesh.init("client");
    mesh.run("client", &["join", &ticket]).ok();
    let tree = mesh.path("tree");
    fs::create_dir(&tree).unwrap();
    tree_of(plan.seed, &tree, TreeShape { bytes: plan.tree << 20, small_files: 2000 }).unwrap();
    let digest = tree_digest(&tree).unwrap();
    mesh.run("client", &["put", "-r", "--", &mesh.text(&tree), "tree"]).ok();
    let mut rounds = 0;
    for a in 0..7 {
        for b in a + 1..7 {
            mesh.kill(a);
            mesh.kill(b);
            let back = mesh.path("back");
            mesh.run("client", &["get", "-r", "--", "tree", &mesh.text(&back)]).ok();
            assert!(tree_digest(&back).unwrap() == digest, "different without {a} and {b}");
            fs::remove_dir_all(&back).unwrap();
            mesh.start(a, &[]);
            mesh.start(b, &[]);
            rounds += 1;
        }
    }
    report.row(&Row::of("pairs, all read back identical").with(f64::from(rounds), "pairs"));
}

/// Files are put while a random node is killed and started again every other second; afterwards
/// everything that was acknowledged must be there.
fn kills(program: &Path, folder: &Path, plan: &Plan, report: &mut Report) {
    const NODES: usize = 9;
    report.heading(&format!(
        "Puts for {} s while nodes are killed, seed {}",
        plan.seconds, plan.seed
    ));
    let mut mesh = Mesh::inside(folder, program);
    mesh.found(NODES);
    let ticket = mesh.run("n0", &["invite"]).ok().out.trim().to_owned();
    mesh.init("client");
    mesh.run("client", &["join", &ticket]).ok();
    let stop = AtomicBool::new(false);
    let file = mesh.path("file");
    let size = |number: u64| 1 + (number * 7919 * 4093) % 12_000_000;
    let client = mesh.home("client");
    let (stored, refused, killed) = std::thread::scope(|scope| {
        let puts = scope.spawn(|| {
            let (mut stored, mut refused, mut number) = (BTreeSet::new(), 0, 0);
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                content::write(&file, plan.seed + number, size(number));
                let mut command = client.command(&["put", "--"]);
                let done = command.arg(&file).arg(format!("file{number}"));
                match done.output().unwrap().status.code() {
                    // 4: stored, with a shard owed.
                    Some(0 | 4) => drop(stored.insert(number)),
                    _ => refused += 1,
                }
            }
            (stored, refused)
        });
        let (mut killed, mut dice) = (0, plan.seed);
        let end = Instant::now() + Duration::from_secs(plan.seconds);
        while Instant::now() < end {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let node = (dice >> 33) as usize % NODES;
            std::thread::sleep(Duration::from_secs(1));
            mesh.kill(node);
            killed += 1;
            std::thread::sleep(Duration::from_secs(1));
            mesh.start(node, &[]);
        }
        stop.store(true, Ordering::Relaxed);
        let (stored, refused) = puts.join().unwrap();
        (stored, refused, killed)
    });
    let back = mesh.path("back");
    for number in &stored {
        let name = format!("file{number}");
        mesh.run("client", &["get", "--", &name, &mesh.text(&back)]).ok();
        let same = content::is(&back, plan.seed + number, size(*number));
        assert!(same, "{name} was acknowledged and came back different");
    }
    let row = Row::of("acknowledged, all read back identical").with(stored.len() as f64, "files");
    report.row(&row.with(f64::from(refused), "refused").with(f64::from(killed), "kills"));
}
