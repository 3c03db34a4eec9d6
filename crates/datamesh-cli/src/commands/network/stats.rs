//! `datamesh stats`.

use datamesh_api::{
    CatalogStats, MeshStats, OperationsExt, StatsRequest, StoreStats, WorkUnit, WorkerState,
    WorkerStats,
};
use datamesh_core::Scheme;

use crate::commands::maintenance::{leases, worker};
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, plural, size};

/// Count what this home knows of: mesh, store, catalog
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh stats
  datamesh stats --json            exact counts, for programs")]
pub(crate) struct StatsArgs {}

impl StatsArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let reply = operations.stats(StatsRequest {}).await?;
        let output = &context.output;
        if output.is_for_programs() {
            output.answer(&reply)?;
            return Ok(Outcome::Done);
        }
        let mut table = Table::pairs();
        match &reply.mesh {
            Some(stats) => mesh(&mut table, stats),
            None => table.pair("mesh", "none joined"),
        }
        if let Some(stats) = &reply.store {
            store(&mut table, stats);
        }
        if let Some(stats) = &reply.catalog {
            catalog(&mut table, stats);
        }
        for (margin, count) in &reply.margins {
            table.pair(&format!("segments, margin {margin}"), count);
        }
        if let Some(state) = &reply.leases {
            leases(&mut table, state);
        }
        if let Some(state) = &reply.repair {
            worker(&mut table, state);
        }
        for worker in reply.workers.iter().filter(|worker| worker.restarts > 0) {
            let restarts = plural(worker.restarts, "time");
            table.pair(&format!("worker {}", worker.name), format!("broke off {restarts}"));
        }
        output.table(&table)?;
        if !reply.workers.is_empty() {
            output.table(&workers(&reply.workers))?;
        }
        if let Some(stats) = &reply.mesh {
            if stats.one_machine {
                output.warn(
                    "all nodes are on one machine: nothing protects against the loss of the machine",
                );
            }
            let needed = stats.scheme.unwrap_or(Scheme::FOUR_TWO).commit_min();
            if stats.domains < needed {
                let has = plural(stats.domains as u64, "failure domain");
                output.note(format!(
                    "{has}, too few to store in: {needed} are needed, or --allow-degraded"
                ));
            }
        }
        if let Some(reason) = reply.store.and_then(|store| store.read_only) {
            output.warn(format!("the store takes no writes: {}", crate::output::visible(&reason)));
        }
        Ok(Outcome::Done)
    }
}

fn mesh(table: &mut Table, stats: &MeshStats) {
    table.pair("mesh", stats.mesh);
    table.pair("nodes", format!("{} alive of {} known", stats.nodes_alive, stats.nodes));
    table.pair("failure domains", format!("{} alive of {}", stats.domains_alive, stats.domains));
    let scheme = stats.scheme.map_or_else(|| "none yet".to_owned(), |scheme| scheme.to_string());
    table.pair("scheme that follows", scheme);
    table.pair("offered by all", size(stats.capacity));
    let days = u64::from(stats.lease_days);
    let term = if days == 0 {
        "never end".to_owned()
    } else {
        format!("end after {}", plural(days, "day"))
    };
    table.pair("leases here", term);
}

fn store(table: &mut Table, stats: &StoreStats) {
    table.pair("this node", stats.node);
    let used =
        format!("{} of {}, {} free", size(stats.used), size(stats.capacity), size(stats.free));
    table.pair("store", used);
    table.pair("shards held", format!("{} with {}", stats.shards, size(stats.shard_bytes)));
    table.pair("damaged shards", stats.damaged);
    table.pair("in the trash", format!("{} with {}", stats.trash, size(stats.trash_bytes)));
    table.pair("moved to others", format!("{} with {}", stats.moved, size(stats.moved_bytes)));
    let removed = format!("{} removed, {} given back", stats.removed, size(stats.returned_bytes));
    table.pair("collected", removed);
}

fn catalog(table: &mut Table, stats: &CatalogStats) {
    table.pair("account", stats.account);
    table.pair("files", format!("{} with {}", stats.files, size(stats.bytes)));
    table.pair("versions", format!("{} with {}", stats.versions, size(stats.version_bytes)));
    table.pair("deleted", stats.deleted);
    table.pair("owed shards", stats.owed);
}

fn workers(workers: &[WorkerStats]) -> Table {
    let mut table = Table::new(&["WORKER", "STATE", ">DONE", "BOUND", "FAILED"]);
    for worker in workers {
        let state = match worker.state {
            WorkerState::Running => "running",
            WorkerState::Resting => "failed, starts again",
            WorkerState::Ended => "ended",
        };
        let progress = worker.progress.map_or_else(String::new, |progress| match progress.unit {
            WorkUnit::Bytes => format!("{} of {}", size(progress.done), size(progress.total)),
            WorkUnit::Segments => format!("{} of {} segments", progress.done, progress.total),
        });
        let failed = worker.last_failure.clone().unwrap_or_default();
        table.row([&worker.name, state, &progress, &worker.throttle, &failed]);
    }
    table
}
