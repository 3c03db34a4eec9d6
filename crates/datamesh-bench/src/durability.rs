//! How likely a segment is lost: years of a large mesh, simulated, beside a Markov chain.
//!
//! A population of segments lies on simulated nodes that are lost for good, one by one and whole zones at
//! once; repair follows the product's rules (one lost shard waits out the grace, two or more are
//! repaired at once) at a rate that is measured first, on this machine, or given. Losses are
//! counted; where there were none, the bound that follows from that is printed, not a zero. The
//! chain beside it knows neither zones nor the grace, and reaches probabilities that no simulation
//! does.

mod markov;
mod measured;
mod mesh;

use std::path::Path;

use clap::Args;
use datamesh_core::Scheme;

use mesh::{Assumptions, Outcome, Spreading};

/// What is assumed, and how long is simulated.
#[derive(Args)]
pub(crate) struct Plan {
    /// Nodes, each a failure domain of its own.
    #[arg(long, default_value_t = 10_000)]
    nodes: u32,
    /// Zones that the nodes lie in, evenly.
    #[arg(long, default_value_t = 100)]
    zones: u32,
    /// Segments that are followed, for each scheme.
    #[arg(long, default_value_t = 200_000)]
    segments: u32,
    /// Years that are simulated.
    #[arg(long, default_value_t = 10.0)]
    years: f64,
    /// How often a node is lost for good, a year.
    #[arg(long, default_value_t = 1.0)]
    node_losses: f64,
    /// How often a zone with all its nodes is lost for good, a year.
    #[arg(long, default_value_t = 0.02)]
    zone_losses: f64,
    /// Hours until a lost node counts as lost (`membership.offline_after` and a pass of repair).
    #[arg(long, default_value_t = 0.1)]
    notice_hours: f64,
    /// Hours that a single lost shard waits (`repair.grace`).
    #[arg(long, default_value_t = 4.0)]
    grace_hours: f64,
    /// GiB of shards on a node.
    #[arg(long, default_value_t = 1024.0)]
    node_gib: f64,
    /// MiB/s of lost shards that each node restores; measured with real processes on this machine where
    /// it is not given.
    #[arg(long)]
    repair_mib: Option<f64>,
    /// MiB that are stored to measure it.
    #[arg(long, default_value_t = 512)]
    measured_mib: u64,
    /// The run that this seed gives.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Hours in a year.
const YEAR_HOURS: f64 = 365.25 * 24.0;

/// Repair within a day of whatever is lost, which the design's figures assume.
const DESIGN_REPAIR_HOURS: f64 = 24.0;

pub(crate) fn run(plan: &Plan, program: Option<&Path>, folder: &Path) {
    let (repair_mib, origin) = match (plan.repair_mib, program) {
        (Some(given), _) => (given, "given".to_owned()),
        (None, Some(program)) => {
            let measured = measured::repair(program, folder, plan.measured_mib);
            (measured.node_mib, measured.to_string())
        }
        (None, None) => panic!("without a program the rate of repair must be given: --repair-mib"),
    };
    let assumptions = Assumptions {
        nodes: plan.nodes,
        zones: plan.zones,
        segments: plan.segments,
        years: plan.years,
        node_losses: plan.node_losses,
        zone_losses: plan.zone_losses,
        notice: plan.notice_hours / YEAR_HOURS,
        grace: plan.grace_hours / YEAR_HOURS,
        node_repair: plan.node_gib * 1024.0
            / (repair_mib * f64::from(plan.nodes.max(2) - 1))
            / 3600.0
            / YEAR_HOURS,
    };
    let schemes = [Scheme::FOUR_TWO, Scheme::EIGHT_FOUR, Scheme::SIXTEEN_EIGHT];
    let mut rows = Vec::new();
    for scheme in schemes {
        let design =
            nines(markov::yearly_loss(scheme, plan.node_losses, YEAR_HOURS / DESIGN_REPAIR_HOURS));
        let spread = mesh::simulate(scheme, Spreading::Zones, &assumptions, plan.seed);
        let mut alone = assumptions;
        alone.zone_losses = 0.0;
        let independent = mesh::simulate(scheme, Spreading::Zones, &alone, plan.seed);
        let repairs =
            if independent.mean_repair > 0.0 { 1.0 / independent.mean_repair } else { 0.0 };
        let chain = nines(markov::yearly_loss(scheme, plan.node_losses, repairs));
        let anywhere = mesh::simulate(scheme, Spreading::Anywhere, &assumptions, plan.seed);
        rows.push((scheme, design, chain, independent, spread, anywhere));
    }
    println!(
        "{} nodes in {} zones, {} segments, {} years, seed {}\n",
        plan.nodes, plan.zones, plan.segments, plan.years, plan.seed
    );
    println!("Nines of durability of one segment over one year:\n");
    println!(
        "  {:<6} {:>12} {:>12} {:>22} {:>22} {:>22}",
        "scheme", "chain, 24 h", "chain", "nodes fail", "zones too", "zones, not spread"
    );
    for (scheme, design, chain, independent, spread, anywhere) in &rows {
        println!(
            "  {:<6} {design:>12.1} {chain:>12.1} {:>22} {:>22} {:>22}",
            scheme.to_string(),
            shown(independent),
            shown(spread),
            shown(anywhere)
        );
    }
    println!(
        "\nchain, 24 h: Markov chain, each lost shard repaired after 24 h on average.
chain: the same with the mean time from a loss to its repair of the simulation beside it.
nodes fail: simulated, nodes lost independently of each other.
zones too: simulated, zones lost as well; at most m shards of a segment in one zone, as placed.
zones, not spread: the same, if only nodes were kept apart.
\"> x\" with no loss seen: what 95 in 100 such runs would have shown had it been worse.

Assumed: each node is lost for good {} times a year and each zone {} times; what is lost is
noticed after {} h; a single lost shard waits {} h more, two or more are repaired at once, before
single ones; {} GiB on a node, {:.1} MiB/s of lost shards restored by each node ({}), so one node's
shards are there again in {:.1} min; a lost node is replaced by an empty one; a node that comes back is no loss; nodes do
not lie, software has no faults, and nobody deletes.",
        plan.node_losses,
        plan.zone_losses,
        plan.notice_hours,
        plan.grace_hours,
        plan.node_gib,
        repair_mib,
        origin,
        assumptions.node_repair * YEAR_HOURS * 60.0
    );
}

/// Nines of a probability of loss.
fn nines(loss: f64) -> f64 {
    -loss.log10()
}

/// The rate that so many losses in so many segment-years show, and whether it is only a bound.
fn rate(outcome: &Outcome) -> (f64, bool) {
    if outcome.losses == 0 {
        // "Rule of three": with a higher rate, 95 runs in 100 had seen at least one.
        (3.0 / outcome.segment_years, true)
    } else {
        (outcome.losses as f64 / outcome.segment_years, false)
    }
}

fn shown(outcome: &Outcome) -> String {
    match rate(outcome) {
        (rate, true) => format!("> {:.1} (none lost)", nines(rate)),
        (rate, false) => format!("{:.1} ({} lost)", nines(rate), outcome.losses),
    }
}
