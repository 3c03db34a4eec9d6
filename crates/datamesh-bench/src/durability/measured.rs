//! How fast nodes restore what one of them lost, measured with real processes.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use datamesh_testkit::processes::Mesh;

use crate::content;

/// Nodes of the mesh; one of them is lost.
const NODES: usize = 8;

/// How often the nodes are asked how far they are.
const PAUSE: Duration = Duration::from_millis(200);

/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// What was measured.
pub(super) struct Measured {
    /// MiB/s of lost shards that each node restored.
    pub(super) node_mib: f64,
    lost_mib: f64,
    seconds: f64,
}

impl fmt::Display for Measured {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost_mib, seconds, .. } = self;
        let others = NODES - 1;
        write!(
            out,
            "measured here: {lost_mib:.0} MiB of one node by {others} others as processes on this machine, \
             with the default repair.rate, in {seconds:.1} s"
        )
    }
}

/// Stores a file, kills a node for good, and takes the time from the first shard that is restored to the
/// last.
pub(super) fn repair(program: &Path, folder: &Path, mib: u64) -> Measured {
    let mut mesh = Mesh::inside(folder, program);
    mesh.offer("64GiB");
    mesh.set("membership.offline_after", "2s");
    mesh.set("repair.grace", "3s");
    mesh.found(NODES);
    mesh.client("client");
    let file = mesh.path("file");
    content::write(&file, 1, mib << 20);
    mesh.run("client", &["-q", "put", "--", &mesh.text(&file), "file"]).ok();
    let lost = NODES - 1;
    let lost_bytes = mesh.packed(lost);
    mesh.kill(lost);
    let placed = |mesh: &Mesh| -> u64 {
        let of = |number: usize| {
            let health = mesh.run(&format!("n{number}"), &["health", "--format", "json"]);
            health.json()["repair"]["shards_placed"].as_u64().unwrap()
        };
        (0..lost).map(of).sum()
    };
    let end = Instant::now() + PATIENCE;
    let (mut began, mut ended, mut before) = (None, Instant::now(), 0);
    loop {
        let (now, count) = (Instant::now(), placed(&mesh));
        if count > before {
            began.get_or_insert(now);
            (ended, before) = (now, count);
        }
        let found = mesh.run("client", &["distribution", "--json"]).ok().json();
        if began.is_some() && found["margins"]["2"] == found["segments"] {
            break;
        }
        assert!(now < end, "the mesh did not heal: {found}");
        std::thread::sleep(PAUSE);
    }
    let began = began.unwrap_or(ended);
    // What was placed by the first look took up to a pause and the asking; at least that counts.
    let seconds = (ended - began).max(PAUSE).as_secs_f64();
    let lost_mib = lost_bytes as f64 / f64::from(1 << 20);
    Measured { node_mib: lost_mib / seconds / (NODES - 1) as f64, lost_mib, seconds }
}
