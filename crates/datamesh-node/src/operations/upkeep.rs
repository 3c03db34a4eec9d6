//! What background work found, for those who ask.

use datamesh_api::{
    AuditHealth, Finding, FlaggedPeer, ScrubHealth, ScrubPass, Severity, WorkerState, WorkerStats,
};
use datamesh_engine::audit::Outcome;

use super::NodeParts;

impl NodeParts {
    pub(super) fn audit_health(&self) -> AuditHealth {
        let status = self.upkeep.auditor.status();
        let count = |outcome: &Outcome| status.counts.outcomes.get(outcome).copied().unwrap_or(0);
        AuditHealth {
            since: status.since,
            last: status.last,
            period_s: status.period.as_secs_f64(),
            behind: f64::from(status.behind) / 1000.0,
            segments: status.counts.segments,
            outcomes: Outcome::ALL.iter().map(|o| (o.name().to_owned(), count(o))).collect(),
            admitted: status.counts.admitted,
            peers: status.peers.len(),
            flagged: status
                .peers
                .iter()
                .filter(|audit| status.flagged.contains(&audit.node))
                .map(|audit| FlaggedPeer {
                    node: audit.node,
                    ok: audit.ok,
                    corrupt: audit.corrupt,
                    missing: audit.missing,
                    refused: audit.refused,
                    last: audit.last,
                })
                .collect(),
            findings: self.upkeep.findings.counts(),
        }
    }

    pub(super) fn scrub_health(&self) -> ScrubHealth {
        let status = self.upkeep.scrubber.status();
        ScrubHealth {
            started: status.started,
            complete: status.complete,
            done: status.done,
            total: status.total,
            bytes: status.bytes,
            shards: status.shards,
            damaged: status.damaged,
            damaged_records: status.damaged_records,
            left_s: status.left_s,
            last: status.last.map(|last| ScrubPass {
                ended: last.ended,
                bytes: last.bytes,
                damaged: last.damaged,
            }),
        }
    }
}

fn finding(subject: &str, severity: Severity, message: String) -> Finding {
    Finding { subject: subject.to_owned(), severity, message, hint: None }
}

/// What audits say about the mesh.
pub(super) fn judge_audit(audit: &AuditHealth) -> Finding {
    if let Some(first) = audit.flagged.first() {
        let count = audit.flagged.len();
        let message =
            format!("{count} nodes cannot prove what they claim to hold, {} first", first.node);
        return Finding {
            hint: Some("ask who runs them: peers tells the operator".into()),
            ..finding("audit", Severity::Warning, message)
        };
    }
    let challenges: u64 = audit.outcomes.values().sum();
    let message = match audit.last {
        None => "nothing was audited yet".to_owned(),
        Some(_) => format!(
            "{} of {challenges} challenges proved in {} segments",
            audit.outcomes.get(Outcome::Ok.name()).copied().unwrap_or(0),
            audit.segments
        ),
    };
    finding("audit", Severity::Ok, message)
}

/// What the scrub says about this node's disk.
pub(super) fn judge_scrub(scrub: &ScrubHealth) -> Finding {
    let found =
        scrub.damaged + if scrub.complete { 0 } else { scrub.last.map_or(0, |l| l.damaged) };
    if found > 0 {
        return Finding {
            hint: Some("watch this disk: it returns other bytes than were written".into()),
            ..finding("scrub", Severity::Warning, format!("{found} shards were found damaged"))
        };
    }
    let message = match (scrub.done * 100).checked_div(scrub.total) {
        Some(part) => {
            format!("{part} % read of what was there when the pass began, nothing damaged")
        }
        None => "nothing was there to read when the last pass began".to_owned(),
    };
    finding("scrub", Severity::Ok, message)
}

/// Workers that are not as they should be.
pub(super) fn judge_workers(workers: &[WorkerStats]) -> Option<Finding> {
    let failed = workers.iter().find(|worker| worker.state == WorkerState::Resting)?;
    let why = failed.last_failure.as_deref().unwrap_or_default();
    Some(Finding {
        hint: Some("it is started again; the log says more".into()),
        ..finding("workers", Severity::Warning, format!("{} failed: {why}", failed.name))
    })
}
