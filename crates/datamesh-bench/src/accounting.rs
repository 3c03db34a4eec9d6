//! What processes use: processor time and memory of their own, as `/proc` tells it.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use datamesh_testkit::processes::Mesh;

/// The kernel counts processor time in ticks of 10 ms.
const TICKS_PER_SECOND: f64 = 100.0;

/// How often memory is looked at.
const POLL: Duration = Duration::from_millis(20);

/// User and system time in a process's state: fields 14 and 15, or of its children that were
/// waited for: fields 16 and 17 (proc_pid_stat(5)).
fn ticks(pid: &str, fields: std::ops::Range<usize>) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold anything, also spaces; the third field follows its last bracket.
    let rest = text.rsplit(')').next().unwrap_or_default();
    rest.split_whitespace()
        .skip(fields.start - 3)
        .take(fields.len())
        .filter_map(|field| field.parse::<f64>().ok())
        .sum()
}

/// Processor seconds of this process so far.
pub(crate) fn own_seconds() -> f64 {
    ticks("self", 14..16) / TICKS_PER_SECOND
}

/// Processor seconds of a mesh's nodes and of all commands that ended, so far.
pub(crate) fn mesh_seconds(mesh: &Mesh) -> f64 {
    let live: f64 = mesh.pids().iter().map(|(_, pid)| ticks(&pid.to_string(), 14..16)).sum();
    (live + ticks("self", 16..18)) / TICKS_PER_SECOND
}

/// A wall clock and a processor clock, started together.
pub(crate) struct Meter {
    started: Instant,
    cpu: f64,
}

impl Meter {
    /// Of this process.
    pub(crate) fn own() -> Self {
        Self { started: Instant::now(), cpu: own_seconds() }
    }

    /// Of a mesh.
    pub(crate) fn of(mesh: &Mesh) -> Self {
        Self { started: Instant::now(), cpu: mesh_seconds(mesh) }
    }

    /// Seconds on the wall and of processors since the start.
    pub(crate) fn read(&self, cpu_now: f64) -> (f64, f64) {
        (self.started.elapsed().as_secs_f64(), cpu_now - self.cpu)
    }
}

/// Watches the anonymous memory of a mesh's processes, commands among them, until it is ended.
pub(crate) struct MemoryWatch {
    stop: Arc<AtomicBool>,
    peaks: Arc<Mutex<BTreeMap<u32, u64>>>,
    thread: Option<JoinHandle<()>>,
}

/// KiB of anonymous memory that a process has now.
fn anonymous_kib(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Processes whose parent is this one.
fn children() -> Vec<u32> {
    let own = std::process::id().to_string();
    let read = |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
        else {
            continue;
        };
        let parent = read(name)
            .and_then(|text| text.rsplit(')').next()?.split_whitespace().nth(1).map(str::to_owned));
        if parent.as_deref() == Some(&own) {
            found.extend(name.parse::<u32>());
        }
    }
    found
}

impl MemoryWatch {
    /// Watches every child of this process, those that come later too.
    pub(crate) fn start() -> Self {
        let (stop, peaks) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (stopped, seen) = (Arc::clone(&stop), Arc::clone(&peaks));
        let thread = std::thread::spawn(move || {
            let seen: Arc<Mutex<BTreeMap<u32, u64>>> = seen;
            while !stopped.load(Ordering::Relaxed) {
                for pid in children() {
                    if let Some(kib) = anonymous_kib(pid) {
                        let mut seen = seen.lock().unwrap();
                        let peak = seen.entry(pid).or_default();
                        *peak = (*peak).max(kib);
                    }
                }
                std::thread::sleep(POLL);
            }
        });
        Self { stop, peaks, thread: Some(thread) }
    }

    /// The most that any one process had at once, in MiB.
    pub(crate) fn peak_mib(&self) -> f64 {
        let peak = self.peaks.lock().unwrap().values().max().copied().unwrap_or(0);
        peak as f64 / 1024.0
    }

    /// The most that this process had at once, in MiB.
    pub(crate) fn peak_of_mib(&self, pid: u32) -> f64 {
        self.peaks.lock().unwrap().get(&pid).copied().unwrap_or(0) as f64 / 1024.0
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
