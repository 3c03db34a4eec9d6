//! The parts of the data path, each alone.

mod append;
mod segment;
mod transfer;

use std::path::Path;

use crate::report::Report;

pub(crate) fn measure(folder: &Path, report: &mut Report) {
    report.heading("Parts: a segment of 4 MiB in 4+2, one thread");
    segment::measure(report);
    report.heading("Parts: shards appended to a store and synced");
    append::measure(folder, report);
    report.heading("Parts: exchanges between two nodes in one process over loopback, both ends");
    transfer::measure(report);
}
