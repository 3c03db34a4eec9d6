//! What lies inside of a home: the journal of puts, the store of shards, the catalog, and the proof of them.

use std::sync::Arc;

use datamesh_api::{
    CatalogState, ErrorKind, FileBytes, Finding, GrantState, InternalsPart, InternalsReply,
    InternalsRequest, LogState, OperationError, Severity, StoreState,
};
use datamesh_catalog::{AccountDb, CatalogError};
use datamesh_store::ScrubCursor;

use super::{HomeOperations, NodeParts, journal};
use crate::home::Home;

/// Bytes of packs that are read in one step of their proof.
const SCRUB_BYTES: u64 = 64 << 20;

fn finding(subject: &str, checked: Result<String, String>) -> Finding {
    let (severity, message) = match checked {
        Ok(message) => (Severity::Ok, message),
        Err(message) => (Severity::Critical, message),
    };
    Finding { subject: subject.to_owned(), severity, message, hint: None }
}

impl HomeOperations {
    pub(super) async fn do_internals(
        &self,
        request: InternalsRequest,
    ) -> Result<InternalsReply, OperationError> {
        let mut reply = InternalsReply::default();
        match request.part {
            InternalsPart::Journal => {
                if let Some(catalog) = &self.shared.catalog {
                    let state =
                        self.blocking(catalog, |_, catalog| journal::state(catalog)).await?;
                    reply.journal = Some(state);
                }
            }
            InternalsPart::Store => {
                if let Some(node) = &self.shared.node {
                    reply.store = Some(store_state(node).await?);
                }
            }
            InternalsPart::Catalog => {
                if let Some(catalog) = &self.shared.catalog {
                    let home = self.home().clone();
                    let state = self.blocking(catalog, move |_, catalog| {
                        Ok(CatalogState { files: databases(&home), ..catalog_state(catalog)? })
                    });
                    let device = self.client.get().map(|client| client.keys().device());
                    reply.catalog = Some(CatalogState { device, ..state.await? });
                }
            }
            InternalsPart::Checks => reply.checks = self.prove().await?,
        }
        Ok(reply)
    }

    /// Proves what there is; what is wrong is a finding, and the others are proved all the same.
    async fn prove(&self) -> Result<Vec<Finding>, OperationError> {
        let mut checks = Vec::new();
        if let Some(catalog) = &self.shared.catalog {
            let checked = self.blocking(catalog, |_, catalog| Ok(catalog.check())).await?;
            let checked = checked.map(|checked| {
                let (logs, operations, rows) = (checked.logs, checked.operations, checked.rows);
                format!("all proved: logs {logs}, operations {operations}, rows {rows}")
            });
            checks.push(finding("catalog", checked.map_err(|error| error.to_string())));
        }
        if let Some(node) = &self.shared.node {
            checks.push(finding("store", prove_store(node).await));
        }
        let home = self.home().clone();
        let verifying = tokio::task::spawn_blocking(move || crate::verify_audit_log(&home, None));
        let verified = match verifying.await {
            Ok(Ok(checked)) => match checked.problem {
                Some(problem) => Err(format!("entry {}: {}", problem.number, problem.what)),
                None => Ok(format!("one chain, entries {}", checked.entries)),
            },
            Ok(Err(error)) => Err(error.message),
            Err(_) => Err("the proof of the audit log broke off".to_owned()),
        };
        checks.push(finding("audit log", verified));
        Ok(checks)
    }
}

/// The databases of a home.
fn databases(home: &Home) -> Vec<FileBytes> {
    let mut found = Vec::new();
    for folder in ["account", "node"] {
        let Ok(entries) = std::fs::read_dir(home.file(folder)) else { continue };
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

async fn store_state(node: &NodeParts) -> Result<StoreState, OperationError> {
    let usage = node.usage().await?;
    let store = Arc::clone(&node.store);
    let counted = tokio::task::spawn_blocking(move || {
        let (mut heads, mut after) = (0_u64, None);
        loop {
            let page = store.heads_after(after, 1024);
            let Some((last, _)) = page.last() else { break heads };
            after = Some(*last);
            heads += page.len() as u64;
        }
    });
    let heads = counted.await.map_err(|_| {
        OperationError::new(ErrorKind::Failed, "counting the heads in the store broke off")
    })?;
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
    let mut cursor = Some(ScrubCursor::default());
    let (mut shards, mut bytes, mut records) = (0_u64, 0_u64, 0_u64);
    // Step by step, so that it ends when nobody waits for it any more.
    while let Some(from) = cursor {
        let store = Arc::clone(&node.store);
        let step = tokio::task::spawn_blocking(move || store.scrub_next(from, SCRUB_BYTES));
        let report = step.await.map_err(|_| "the proof of the store broke off".to_owned())?;
        let report = report.map_err(|error| error.to_string())?;
        shards += report.shards;
        bytes += report.bytes;
        records += report.damaged_records;
        cursor = report.next;
    }
    // Those too that were found before, which are not read again.
    let usage = node.usage().await.map_err(|error| error.message)?;
    let unreadable = usage.unreadable_packs.len();
    let read = format!("{shards} shards with {} read", bytesize::ByteSize(bytes));
    if usage.damaged + records > 0 || unreadable > 0 {
        let damaged = usage.damaged;
        return Err(format!(
            "{read}; damaged: shards {damaged}, other records {records}, whole packs {unreadable}"
        ));
    }
    Ok(read)
}
