//! `datamesh advanced`.

use datamesh_api::{
    CatalogState, InternalsPart, InternalsReply, InternalsRequest, JournalState, OperationsExt,
    Severity, StatsRequest, StoreState, WorkUnit, WorkerState, WorkerStats,
};

use crate::commands::network::findings;
use crate::context::Context;
use crate::error::{Outcome, Stop, usage};
use crate::output::{Output, Table, ago, columns, node_id, plural, short, size, time};

/// Look inside: background work, the journal of puts, the store, the catalog, and their proof
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh advanced workers
  datamesh advanced store --json
  datamesh advanced check          everything proved, which reads all of it")]
pub(crate) struct AdvancedArgs {
    #[command(subcommand)]
    what: Inside,
}

/// What to look at.
#[derive(Debug, clap::Subcommand)]
enum Inside {
    /// Background work: its state, progress and throttle
    Workers,
    /// Puts that are under way or can be resumed, and what broken-off ones left
    Journal,
    /// Packs, shards, heads and grants of this home's node
    Store,
    /// Logs and databases of the account on this device
    Catalog,
    /// Prove catalog, store and audit log; exits with 1 where something is wrong
    Check,
}

impl AdvancedArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let output = &context.output;
        let part = match self.what {
            Inside::Workers => {
                let workers = operations.stats(StatsRequest {}).await?.workers;
                return tell_workers(output, &workers);
            }
            Inside::Journal => InternalsPart::Journal,
            Inside::Store => InternalsPart::Store,
            Inside::Catalog => InternalsPart::Catalog,
            Inside::Check => InternalsPart::Checks,
        };
        let reply = operations.internals(InternalsRequest { part }).await?;
        match part {
            InternalsPart::Journal => tell_journal(output, &there(reply.journal, "account")?),
            InternalsPart::Store => tell_store(output, &there(reply.store, "running node")?),
            InternalsPart::Catalog => tell_catalog(output, &there(reply.catalog, "account")?),
            InternalsPart::Checks => tell_checks(output, &reply),
        }
    }
}

fn there<T>(part: Option<T>, what: &str) -> Result<T, Stop> {
    part.ok_or_else(|| usage(format!("there is no {what} in this home")).into())
}

fn tell_workers(output: &Output, workers: &[WorkerStats]) -> Result<Outcome, Stop> {
    if output.is_for_programs() {
        output.answer_rows(workers, "", columns::WORKERS)?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(&["WORKER", "STATE", "SINCE", ">RESTARTS", "PROGRESS", "THROTTLE"]);
    for worker in workers {
        let state = match worker.state {
            WorkerState::Running => "running",
            WorkerState::Resting => "RESTING",
            WorkerState::Ended => "ended",
        };
        let progress = worker.progress.map_or_else(
            || "-".to_owned(),
            |progress| match progress.unit {
                WorkUnit::Bytes => format!("{} of {}", size(progress.done), size(progress.total)),
                WorkUnit::Segments => {
                    format!("{} of {}", progress.done, plural(progress.total, "segment"))
                }
            },
        );
        table.row([
            worker.name.clone(),
            state.to_owned(),
            ago(worker.since),
            worker.restarts.to_string(),
            progress,
            worker.throttle.clone(),
        ]);
    }
    output.table(&table)?;
    for worker in workers {
        if let Some(failure) = &worker.last_failure {
            output.warn(format!("{}: {failure}", worker.name));
        }
    }
    if workers.is_empty() {
        output.note("no service runs in this home, so nothing works in the background");
    }
    Ok(Outcome::Done)
}

fn tell_checks(output: &Output, reply: &InternalsReply) -> Result<Outcome, Stop> {
    let wrong = reply.checks.iter().any(|check| check.severity == Severity::Critical);
    let outcome = if wrong { Outcome::Bad } else { Outcome::Done };
    if output.is_for_programs() {
        output.answer_rows(&reply.checks, "", columns::FINDINGS)?;
        return Ok(outcome);
    }
    output.table(&findings(&reply.checks))?;
    Ok(outcome)
}

fn tell_journal(output: &Output, journal: &JournalState) -> Result<Outcome, Stop> {
    if output.is_for_programs() {
        output.answer_rows(journal, "/transfers", columns::TRANSFERS)?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(&["TO", ">SIZE", "BEGUN", "STATE", "FROM"]);
    for transfer in &journal.transfers {
        let (path, begun) = (transfer.path.to_string(), time(transfer.started));
        let state = if transfer.changed == Some(true) { "source changed" } else { "" };
        table.row([&path, &size(transfer.size), &begun, state, &transfer.source]);
    }
    output.table(&table)?;
    let (changed, same): (Vec<_>, Vec<_>) =
        journal.transfers.iter().partition(|transfer| transfer.changed == Some(true));
    let same = plural(same.len() as u64, "put");
    output.line(format!("{same} under way, or to be resumed by the same command"))?;
    if !changed.is_empty() {
        let changed = plural(changed.len() as u64, "put");
        output
            .line(format!("{changed} of what has changed since: the same command begins anew"))?;
    }
    let more = if journal.more_orphans { " or more" } else { "" };
    output.line(format!("{}{more} of broken-off puts", plural(journal.orphans, "segment")))?;
    if journal.orphans > 0 {
        output.note("what broken-off puts left is given back by: datamesh cleanup");
    }
    if let Some(lost) = &journal.lost {
        output.warn(format!("the journal of before is lost: {lost}"));
    }
    Ok(Outcome::Done)
}

fn tell_store(output: &Output, store: &StoreState) -> Result<Outcome, Stop> {
    if output.is_for_programs() {
        output.answer(store)?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::pairs();
    table.pair("node", node_id(&store.node));
    table.pair("packs", store.packs);
    table.pair("used", format!("{} of {}", size(store.used), size(store.capacity)));
    table.pair("live", size(store.live));
    table.pair("shards", store.shards);
    table.pair("damaged", store.damaged);
    table.pair("in the trash", store.trash);
    table.pair("heads of accounts", store.heads);
    output.table(&table)?;
    let mut grants = Table::new(&["GRANT", ">BYTES"]);
    for grant in &store.grants {
        grants.row([short(&grant.grant), size(grant.bytes)]);
    }
    output.table(&grants)?;
    if !store.unreadable_packs.is_empty() {
        let packs = plural(store.unreadable_packs.len() as u64, "pack");
        output.warn(format!("{packs} could not be read at the start"));
    }
    if let Some(reason) = &store.read_only {
        output.warn(format!("the store takes no writes: {reason}"));
    }
    Ok(Outcome::Done)
}

fn tell_catalog(output: &Output, catalog: &CatalogState) -> Result<Outcome, Stop> {
    if output.is_for_programs() {
        output.answer(catalog)?;
        return Ok(Outcome::Done);
    }
    let mut logs = Table::new(&["LOG", ">OPERATIONS", ""]);
    for log in &catalog.logs {
        let own = if log.own { "this device's" } else { "" };
        logs.row([short(&log.log), log.operations.to_string(), own.to_owned()]);
    }
    output.table(&logs)?;
    let mut files = Table::new(&["FILE", ">SIZE"]);
    for file in &catalog.files {
        files.row([file.name.clone(), size(file.bytes)]);
    }
    output.table(&files)?;
    output.line(format!("{} owed", plural(catalog.owed, "shard")))?;
    if !catalog.whole {
        output.warn("the catalog is being restored from the mesh, and not whole yet");
    }
    if let Some(damage) = &catalog.damage {
        output.warn(format!("damaged: {damage}"));
    }
    Ok(Outcome::Done)
}
