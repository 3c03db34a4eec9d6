//! What lies inside of a home: the journal of puts, the store of shards, the catalog, and the proof of them.

use datamesh_api::{
    CatalogState, FileBytes, Finding, GrantState, InternalsReply, InternalsRequest, JournalState,
    LogState, OperationError, Severity, StoreState, TransferState,
};
use datamesh_catalog::{AccountDb, CatalogError};
use datamesh_store::ScrubCursor;

use super::{HomeOperations, NodeParts};

/// Most orphans that are counted.
const ORPHANS_MAX: usize = 10_000;

/// Bytes of packs that are read in one step of their proof.
const SCRUB_BYTES: u64 = 64 << 20;

/// Most transfers that are listed.
const TRANSFERS_MAX: usize = 1000;

fn finding(subject: &str, checked: Result<String, String>) -> Finding {
    let (severity, message) = match checked {
        Ok(message) => (Severity::Ok, message),
        Err(message) => (Severity::Critical, message),
    };
    Finding { subject: subject.to_owned(), severity, message, hint: None }
}

fn journal(catalog: &AccountDb) -> Result<JournalState, CatalogError> {
    let journal = catalog.journal();
    let (mut orphans, mut after) = (0_u64, None);
    let more_orphans = loop {
        let page = journal.orphans(after.as_ref(), 1024)?;
        let Some(last) = page.last() else { break false };
        orphans += page.len() as u64;
        if orphans >= ORPHANS_MAX as u64 {
            break true;
        }
        after = Some(*last);
    };
    let transfers = journal.transfers()?.into_iter().take(TRANSFERS_MAX);
    let transfer = |transfer: datamesh_catalog::Transfer| TransferState {
        source: transfer.source.name.clone(),
        size: transfer.source.size,
        path: transfer.path,
        started: transfer.started,
    };
    Ok(JournalState {
        transfers: transfers.map(transfer).collect(),
        orphans,
        more_orphans,
        lost: journal.lost().map(ToString::to_string),
    })
}

impl HomeOperations {
    pub(super) async fn do_internals(
        &self,
        request: InternalsRequest,
    ) -> Result<InternalsReply, OperationError> {
        let mut reply = InternalsReply::default();
        if let Some(catalog) = &self.shared.catalog {
            let (state, lines) = self
                .blocking(catalog, |_, catalog| {
                    // What is damaged is told, and the rest of it too.
                    Ok((catalog_state(catalog), journal(catalog)))
                })
                .await?;
            let mut state = state.map_err(|error| crate::account::catalog_error(&error))?;
            state.device = self.client.get().map(|client| client.keys().device());
            state.files = self.files();
            reply.catalog = Some(state);
            reply.journal = Some(lines.map_err(|error| crate::account::catalog_error(&error))?);
            if request.check {
                let checked = self.blocking(catalog, |_, catalog| Ok(catalog.check())).await?;
                let checked = checked.map(|checked| {
                    let (logs, operations, rows) = (checked.logs, checked.operations, checked.rows);
                    format!("all proved: logs {logs}, operations {operations}, rows {rows}")
                });
                reply.checks.push(finding("catalog", checked.map_err(|error| error.to_string())));
            }
        }
        if let Some(node) = &self.shared.node {
            reply.store = Some(store_state(node).await?);
            if request.check {
                reply.checks.push(finding("store", prove_store(node).await));
            }
        }
        if request.check {
            let home = self.home().clone();
            let verifying =
                tokio::task::spawn_blocking(move || crate::verify_audit_log(&home, None));
            let verified = match verifying.await {
                Ok(Ok(checked)) => match checked.problem {
                    Some(problem) => Err(format!("entry {}: {}", problem.number, problem.what)),
                    None => Ok(format!("one chain, entries {}", checked.entries)),
                },
                Ok(Err(error)) => Err(error.message),
                Err(_) => Err("the proof of the audit log broke off".to_owned()),
            };
            reply.checks.push(finding("audit log", verified));
        }
        Ok(reply)
    }

    /// The databases of this home.
    fn files(&self) -> Vec<FileBytes> {
        let mut found = Vec::new();
        for folder in ["account", "node"] {
            let Ok(entries) = std::fs::read_dir(self.home().file(folder)) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let is_database = [".db", ".db-wal", ".db-shm"].iter().any(|it| name.ends_with(it));
                if let (true, Ok(data)) = (is_database, entry.metadata()) {
                    found.push(FileBytes { name: format!("{folder}/{name}"), bytes: data.len() });
                }
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }
}

fn catalog_state(catalog: &AccountDb) -> Result<CatalogState, CatalogError> {
    let own = catalog.owner().log;
    let logs = catalog.logs()?.into_iter().map(|end| LogState {
        log: end.log,
        own: end.log == own,
        operations: end.sequence,
    });
    Ok(CatalogState {
        device: None,
        whole: catalog.whole(),
        damage: catalog.damage().map(ToString::to_string),
        logs: logs.collect(),
        owed: catalog.totals()?.owed,
        files: Vec::new(),
    })
}

fn failed(message: impl ToString) -> OperationError {
    OperationError::new(datamesh_api::ErrorKind::Failed, message)
}

async fn store_state(node: &NodeParts) -> Result<StoreState, OperationError> {
    let store = std::sync::Arc::clone(&node.store);
    let counted = tokio::task::spawn_blocking(move || {
        let (mut heads, mut after) = (0_u64, None);
        loop {
            let page = store.heads_after(after, 1024);
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            heads += page.len() as u64;
        }
        store.usage().map(|usage| (usage, heads))
    });
    let counted = counted.await.map_err(|_| failed("counting what the store has broke off"))?;
    let (usage, heads) = counted.map_err(failed)?;
    let grant =
        |usage: &datamesh_store::GrantUsage| GrantState { grant: usage.grant, bytes: usage.bytes };
    Ok(StoreState {
        node: node.node,
        packs: usage.packs,
        unreadable_packs: usage.unreadable_packs,
        used: usage.used,
        live: usage.live,
        capacity: usage.capacity,
        shards: usage.shards,
        damaged: usage.damaged,
        trash: usage.trash + usage.moved,
        heads,
        grants: usage.grants.iter().map(grant).collect(),
        read_only: usage.read_only,
    })
}

/// Reads every shard of the store and compares it with its root; what is wrong counts as damaged from then on.
async fn prove_store(node: &NodeParts) -> Result<String, String> {
    let store = std::sync::Arc::clone(&node.store);
    let proving = tokio::task::spawn_blocking(move || {
        let mut cursor = ScrubCursor::default();
        let (mut shards, mut bytes, mut damaged) = (0_u64, 0_u64, 0_u64);
        loop {
            let report = store.scrub_next(cursor, SCRUB_BYTES).map_err(|e| e.to_string())?;
            shards += report.shards;
            bytes += report.bytes;
            damaged += report.damaged.len() as u64 + report.damaged_records;
            match report.next {
                Some(next) => cursor = next,
                None => return Ok::<_, String>((shards, bytes, damaged)),
            }
        }
    });
    let (shards, bytes, damaged) =
        proving.await.unwrap_or_else(|_| Err("the proof of the store broke off".to_owned()))?;
    let read = format!("{shards} shards with {} read", bytesize::ByteSize(bytes));
    if damaged > 0 { Err(format!("{read}, {damaged} damaged")) } else { Ok(read) }
}
