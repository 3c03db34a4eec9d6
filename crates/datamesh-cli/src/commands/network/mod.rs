//! Commands about the mesh and its state.

mod bandwidth;
mod discover;
mod distribution;
mod health;
mod networks;
mod peers;
mod picture;
mod stats;
mod topology;

pub(crate) use bandwidth::BandwidthArgs;
pub(crate) use discover::DiscoverArgs;
pub(crate) use distribution::DistributionArgs;
pub(crate) use health::HealthArgs;
pub(crate) use networks::NetworksArgs;
pub(crate) use peers::PeersArgs;
pub(crate) use stats::StatsArgs;
pub(crate) use topology::NetworkArgs;

use datamesh_api::{Finding, Severity};

use crate::output::Table;

/// Findings as rows.
pub(crate) fn findings(findings: &[Finding]) -> Table {
    let mut table = Table::new(&["STATE", "SUBJECT", "FINDING"]);
    for (word, code) in [("ok", "32"), ("warning", "33"), ("CRITICAL", "31;1")] {
        table.mark(word, code);
    }
    for finding in findings {
        let state = match finding.severity {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Critical => "CRITICAL",
        };
        let hint = finding.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
        table.row([state, &finding.subject, &format!("{}{hint}", finding.message)]);
    }
    table
}
