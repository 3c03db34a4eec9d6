//! Measurements, long runs and a model, outside the product: `cargo xtask bench`, `cargo xtask
//! torture` and `cargo xtask durability`.
//!
//! Every figure of the first two was measured in the same run, beside the limits of the machine it
//! was measured on. Nothing here fails because something is slow.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for developers that measures real time and stops at the first surprise"
)]

mod accounting;
mod content;
mod durability;
mod fuzz;
mod limits;
mod parts;
mod report;
mod seeds;
mod torture;
mod totals;
mod whole;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use report::Report;

/// Measures DataMesh, or runs it long and hard.
#[derive(Parser)]
#[command(name = "datamesh-bench")]
struct Arguments {
    /// The folder in which everything is made and removed; on the disk that is to be measured.
    #[arg(long, global = true)]
    folder: Option<PathBuf>,
    /// Append each figure to this file, one JSON object a line.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand)]
enum Work {
    /// The machine's limits, the parts beside them, and the whole with real processes.
    Bench {
        /// Only these groups.
        #[arg(long, value_delimiter = ',', default_value = "limits,parts,whole")]
        only: Vec<String>,
        /// MiB of the large file.
        #[arg(long, default_value_t = 1024)]
        large: usize,
        /// The program to run.
        #[arg(long)]
        program: PathBuf,
    },
    /// Long runs: large files in bounded memory and nodes that are killed, with real processes; and
    /// tests that follow seeds, with as many as wished.
    Torture {
        #[command(flatten)]
        plan: torture::Plan,
        /// The program to run.
        #[arg(long)]
        program: PathBuf,
    },
    /// How likely a segment is lost, by simulating years of a large mesh.
    Durability {
        #[command(flatten)]
        plan: durability::Plan,
        /// The program that repair is measured with.
        #[arg(long)]
        program: Option<PathBuf>,
    },
}

fn main() {
    let arguments = Arguments::parse();
    let folder = arguments.folder.unwrap_or_else(std::env::temp_dir);
    let mut report = Report::to(arguments.json);
    match arguments.work {
        Work::Bench { only, large, program } => {
            let wanted = |group: &str| only.iter().any(|only| only == group);
            if wanted("limits") {
                limits::measure(&folder, &mut report);
            }
            if wanted("parts") {
                parts::measure(&folder, &mut report);
            }
            if wanted("whole") {
                whole::measure(&program, &folder, large, &mut report);
            }
        }
        Work::Torture { plan, program } => torture::run(&program, &folder, &plan, &mut report),
        Work::Durability { plan, program } => durability::run(&plan, program.as_deref(), &folder),
    }
}
