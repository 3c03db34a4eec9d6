//! What looks after shards: audits of other nodes, the scrub of this one, and what they find.

use std::sync::Arc;
use std::time::Duration;

use datamesh_api::{WorkUnit, WorkerProgress};
use datamesh_engine::audit::{Auditor, AuditorParts};
use datamesh_engine::scrub::{Scrubber, ScrubberParts};
use datamesh_engine::{Engine, Findings};
use datamesh_store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Description, FindingsLog, Workers, audit::audit, scrub::scrub};
use crate::audit_log::AuditLog;
use crate::config::Config;

/// The parts of a node that look after shards.
#[derive(Clone)]
pub(crate) struct Upkeep {
    pub(crate) auditor: Arc<Auditor>,
    pub(crate) scrubber: Arc<Scrubber>,
    pub(crate) findings: Arc<FindingsLog>,
}

impl Upkeep {
    pub(crate) fn new(
        config: &Config,
        engine: &Arc<Engine>,
        store: &Arc<Store>,
        log: &Arc<AuditLog>,
    ) -> Self {
        let findings = Arc::new(FindingsLog::new(Arc::clone(log)));
        let auditor = Auditor::new(AuditorParts {
            engine: Arc::clone(engine),
            store: Arc::clone(store),
            findings: Arc::clone(&findings) as Arc<dyn Findings>,
            period: config.audit_period,
            rate: config.audit_rate,
        });
        let scrubber = Scrubber::new(ScrubberParts {
            engine: Arc::clone(engine),
            store: Arc::clone(store),
            findings: Arc::clone(&findings) as Arc<dyn Findings>,
            period: config.scrub_period,
            rate: config.scrub_rate,
        });
        Self { auditor: Arc::new(auditor), scrubber: Arc::new(scrubber), findings }
    }

    /// Starts the workers.
    pub(crate) fn start(
        &self,
        config: &Config,
        workers: &Workers,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        let bound = |bytes: u64, period: Duration| {
            let period = humantime::format_duration(period);
            format!("{} a second, once in {period}", bytesize::ByteSize(bytes))
        };
        let audits = Description::of("audit", bound(config.audit_rate, config.audit_period));
        let auditor = Arc::clone(&self.auditor);
        workers.start(tasks, stop, audits, move |stop| audit(Arc::clone(&auditor), stop));
        let (scrubber, shown) = (Arc::clone(&self.scrubber), Arc::clone(&self.scrubber));
        let scrubs = Description {
            progress: Some(Box::new(move || {
                let status = shown.status();
                let (done, total) = (status.done, status.total);
                Some(WorkerProgress { done, total, unit: WorkUnit::Bytes })
            })),
            ..Description::of("scrub", bound(config.scrub_rate, config.scrub_period))
        };
        workers.start(tasks, stop, scrubs, move |stop| scrub(Arc::clone(&scrubber), stop));
    }
}
