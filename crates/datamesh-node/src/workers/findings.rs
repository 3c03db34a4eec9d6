//! Counts and names what audits and scrubs find.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datamesh_api::FindingCounts;
use datamesh_engine::{Finding, Findings};

use crate::audit_log::AuditLog;

/// Counts findings and writes each into the log.
#[derive(Debug)]
pub(crate) struct FindingsLog {
    log: Arc<AuditLog>,
    damaged: AtomicU64,
    unproven: AtomicU64,
    admitted: AtomicU64,
}

impl FindingsLog {
    pub(crate) fn new(log: Arc<AuditLog>) -> Self {
        Self { log, damaged: 0.into(), unproven: 0.into(), admitted: 0.into() }
    }

    /// Notes a finding in the audit log, away from the task that found it.
    fn note(&self, event: &'static str, detail: Vec<(&'static str, String)>) {
        let log = Arc::clone(&self.log);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || log.record_caused(event, &detail));
        }
    }

    /// What was found since the start. A shard that is found again is counted again.
    pub(crate) fn counts(&self) -> FindingCounts {
        FindingCounts {
            damaged: self.damaged.load(Ordering::Relaxed),
            unproven: self.unproven.load(Ordering::Relaxed),
            admitted: self.admitted.load(Ordering::Relaxed),
        }
    }
}

impl Findings for FindingsLog {
    fn take(&self, finding: Finding) {
        let count = match finding {
            Finding::Damaged { segment, shard } => {
                tracing::info!(%segment, shard, "a shard of this node is to be repaired");
                let what = vec![("segment", segment.to_string()), ("shard", shard.to_string())];
                self.note("shard.damaged", what);
                &self.damaged
            }
            Finding::Unproven { segment, shard, node, outcome, admitted } => {
                tracing::warn!(%segment, shard, %node, %outcome, admitted, "a shard is not proved");
                let what = vec![
                    ("segment", segment.to_string()),
                    ("shard", shard.to_string()),
                    ("node", node.to_string()),
                    ("outcome", outcome.to_string()),
                    ("admitted", admitted.to_string()),
                ];
                self.note("shard.unproven", what);
                if admitted { &self.admitted } else { &self.unproven }
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
