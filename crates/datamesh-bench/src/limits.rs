//! What this machine can do at best: the figures that ours are compared with.

use std::path::Path;
use std::time::Duration;

use datamesh_measure::{MIB, MeasureError, Rate, cached_write, copy, hash, loopback, seal};
use datamesh_measure::{small_files, synced_writes};

use crate::accounting::{Meter, own_seconds};
use crate::report::{Report, Row};

/// How long a figure that repeats one thing is taken.
pub(crate) const WHILE: Duration = Duration::from_millis(700);

/// Repeats `work`, which handles `bytes` each time, for a while: MB/s and processor seconds a GB.
pub(crate) fn repeat(name: &str, bytes: usize, report: &mut Report, mut work: impl FnMut()) {
    measured(name, &[], report, || {
        datamesh_measure::repeat(bytes, WHILE, || {
            work();
            Ok(())
        })
    });
}

/// Measures and writes the row: MB/s, what else is asked for, processor seconds a GB.
pub(crate) fn measured(
    name: &str,
    counted: &[&'static str],
    report: &mut Report,
    measure: impl FnOnce() -> Result<Rate, MeasureError>,
) {
    let meter = Meter::own();
    let rate = measure().unwrap();
    let (_, cpu) = meter.read(own_seconds());
    let mut row = Row::of(name).with(rate.bytes_per_second() / 1e6, "MB/s");
    for unit in counted {
        row = row.with(rate.per_second(), unit);
    }
    report.row(&row.with(cpu * 1e9 / rate.bytes as f64, "CPU s/GB"));
}

pub(crate) fn measure(folder: &Path, report: &mut Report) {
    report.heading("Limits of this machine (one thread where nothing else is said)");
    measured("copy memory, 64 MiB", &[], report, || copy(WHILE));
    measured("AES-256-GCM, 64 KiB", &[], report, || seal(WHILE));
    measured("BLAKE3, 1 MiB", &[], report, || hash(WHILE));
    measured("TCP over loopback, both ends", &[], report, || loopback(4096 * MIB as u64));
    for (block, name) in [
        (4096, "disk: 4 KiB, a sync each"),
        (MIB, "disk: 1 MiB, a sync each"),
        (8 * MIB, "disk: 8 MiB, a sync each"),
    ] {
        let count = 512 * MIB / block.max(512 * 1024);
        let total = (count * block) as u64;
        measured(name, &["syncs/s"], report, || synced_writes(folder, block, total));
    }
    measured("file system: 1 GiB through the page cache", &[], report, || {
        cached_write(folder, 1 << 30)
    });
    measured("file system: 1000 files of 64 KiB", &["files/s"], report, || {
        small_files(folder, 1000, 64 * 1024)
    });
}
