//! Operations that tell how things are.

use std::collections::BTreeMap;

use datamesh_api::{
    CatalogStats, Finding, HealthReply, MeshStats, OperationError, PeerCounts, RepairState,
    Severity, StatsReply, StoreStats,
};
use datamesh_core::{Clock, Scheme};
use datamesh_engine::Standing;

use super::leases::judge_leases;
use super::repair::repair_state;
use super::upkeep::{judge_audit, judge_scrub, judge_workers};
use super::{HomeOperations, NodeParts};
use crate::account::catalog_error;
use crate::mesh;
use crate::system::SystemClock;

fn on_this_machine(address: &str) -> bool {
    address.starts_with("/ip4/127.") || address.starts_with("/ip6/::1/")
}

fn finding(subject: &str, severity: Severity, message: String) -> Finding {
    Finding { subject: subject.to_owned(), severity, message, hint: None }
}

/// How the segments of which this node holds shards are.
fn repair_finding(repair: &RepairState, margins: &BTreeMap<i32, u64>) -> Finding {
    let unreadable: u64 = margins.range(..0).map(|(_, count)| count).sum();
    let bare = margins.get(&0).copied().unwrap_or(0);
    let known: u64 = margins.values().sum();
    let (severity, message) = if repair.looked.is_none() {
        (Severity::Ok, "the segments have not been looked at yet".to_owned())
    } else if unreadable > 0 {
        let text = "segments have fewer shards than reading needs: holders are away, or their put \
                    was never finished";
        (Severity::Warning, format!("{unreadable} of {known} {text}"))
    } else if bare > 0 {
        (Severity::Warning, format!("{bare} of {known} segments have no margin left"))
    } else if repair.dead_letter > 0 {
        (Severity::Warning, format!("{} segments cannot be mended", repair.dead_letter))
    } else if repair.waiting > 0 {
        (Severity::Warning, format!("{} segments wait for failure domains", repair.waiting))
    } else if repair.queued + repair.active + repair.later > 0 {
        let open = repair.queued + repair.active + repair.later;
        (Severity::Warning, format!("{open} of {known} segments lack a shard"))
    } else {
        (Severity::Ok, format!("{known} segments are whole"))
    };
    let hint = (severity != Severity::Ok).then(|| "datamesh repair tells more".to_owned());
    Finding { hint, ..finding("repair", severity, message) }
}

impl HomeOperations {
    pub(super) async fn do_stats(&self) -> Result<StatsReply, OperationError> {
        let mesh = if mesh::genesis(self.home())?.is_some() {
            let engine = self.engine().await?;
            engine.look_around().await;
            let peers = engine.peers();
            let (domains, scheme) = engine.domains();
            Some(MeshStats {
                mesh: engine.mesh(),
                nodes_alive: peers
                    .iter()
                    .filter(|peer| matches!(peer.standing, Standing::Alive | Standing::Draining))
                    .count(),
                nodes: peers.len(),
                domains,
                domains_alive: engine.domains_alive(),
                scheme,
                one_machine: !peers.is_empty()
                    && peers.iter().all(|peer| {
                        peer.member.advert.addresses.iter().all(|a| on_this_machine(a))
                    }),
                capacity: peers.iter().map(|p| p.member.advert.counted_capacity()).sum(),
                lease_days: engine.genesis().lease_days,
            })
        } else {
            None
        };
        let store = match &self.shared.node {
            None => None,
            Some(node) => {
                let usage = node.usage().await?;
                let collector = node.collector.state();
                Some(StoreStats {
                    node: node.node,
                    capacity: usage.capacity,
                    used: usage.used,
                    free: usage.free,
                    shards: usage.shards,
                    shard_bytes: usage.shard_bytes,
                    damaged: usage.damaged,
                    trash: usage.trash,
                    trash_bytes: usage.trash_bytes,
                    moved: usage.moved,
                    moved_bytes: usage.moved_bytes,
                    trash_asked: usage.trash_asked,
                    removed: collector.removed,
                    taken_back: collector.taken_back,
                    returned_bytes: collector.returned_bytes,
                    collection_refused: collector.refused,
                    read_only: usage.read_only,
                })
            }
        };
        let catalog = match (&self.shared.catalog, &self.shared.public) {
            (Some(catalog), Some(public)) => {
                let totals = catalog.totals().map_err(|error| catalog_error(&error))?;
                Some(CatalogStats {
                    account: public.log.account,
                    files: totals.files,
                    versions: totals.versions,
                    bytes: totals.bytes,
                    version_bytes: totals.version_bytes,
                    deleted: totals.deleted,
                    owed: totals.owed,
                })
            }
            _ => None,
        };
        let status = self.shared.node.as_ref().map(|node| node.repairer.status());
        let workers = self.shared.node.as_ref().map(|node| node.workers.stats());
        Ok(StatsReply {
            mesh,
            store,
            catalog,
            margins: status.as_ref().map(|status| status.margins.clone()).unwrap_or_default(),
            repair: status.map(repair_state),
            leases: self.lease_state().await?,
            workers: workers.unwrap_or_default(),
        })
    }

    pub(super) async fn do_health(&self) -> Result<HealthReply, OperationError> {
        let stats = self.do_stats().await?;
        let mut findings = Vec::new();
        match &stats.mesh {
            None => findings.push(Finding {
                hint: Some("datamesh join <ticket>, or datamesh service to found one".into()),
                ..finding("mesh", Severity::Warning, "this home has joined no mesh".into())
            }),
            Some(mesh) => {
                let silent = mesh.nodes - mesh.nodes_alive;
                let severity = match (mesh.nodes_alive, silent) {
                    (0, _) => Severity::Critical,
                    (_, 0) => Severity::Ok,
                    _ => Severity::Warning,
                };
                let message = format!("{} of {} nodes are alive", mesh.nodes_alive, mesh.nodes);
                findings.push(finding("nodes", severity, message));
                let scheme = mesh.scheme.unwrap_or(Scheme::FOUR_TWO);
                let domains = format!("{} of {} failure domains", mesh.domains_alive, mesh.domains);
                let (severity, message) = match mesh.domains_alive {
                    alive if alive >= scheme.n() => {
                        (Severity::Ok, format!("{domains}: files are stored as {scheme}"))
                    }
                    alive if alive >= scheme.commit_min() => (
                        Severity::Warning,
                        format!("{domains} alive: files are stored as {scheme} and owe shards"),
                    ),
                    _ => (
                        Severity::Critical,
                        format!("{domains} alive: a put as {scheme} needs {}", scheme.commit_min()),
                    ),
                };
                let hint = (severity != Severity::Ok)
                    .then(|| "start nodes in more failure domains, or those that are down".into());
                findings.push(Finding { hint, ..finding("scheme", severity, message) });
            }
        }
        if let Some(store) = &stats.store {
            findings.push(match (&store.read_only, store.damaged, store.free) {
                (Some(reason), ..) => {
                    finding("store", Severity::Critical, format!("takes no writes: {reason}"))
                }
                (None, 1.., _) => finding(
                    "store",
                    Severity::Critical,
                    format!("{} shards are damaged", store.damaged),
                ),
                (None, 0, 0) => {
                    finding("store", Severity::Warning, "full: it takes no more shards".into())
                }
                _ => finding("store", Severity::Ok, format!("{} shards held", store.shards)),
            });
        }
        if let Some(store) = &stats.store {
            if store.trash_asked > 0 {
                let times = store.trash_asked;
                let message = format!("shards in the trash were asked for {times} times");
                let hint = "if files are missed, take them back before the trash is emptied: \
                            datamesh versions --undelete NAME"
                    .into();
                findings.push(Finding {
                    hint: Some(hint),
                    ..finding("trash", Severity::Critical, message)
                });
            }
            if let Some(why) = &store.collection_refused {
                let message = format!("nothing was removed: {why}");
                findings.push(finding("collection", Severity::Warning, message));
            }
        }
        if let Some(catalog) = &stats.catalog {
            let (severity, message) = if catalog.owed > 0 {
                (Severity::Warning, format!("{} shards are owed", catalog.owed))
            } else {
                (Severity::Ok, format!("{} files, nothing owed", catalog.files))
            };
            findings.push(finding("catalog", severity, message));
        }
        if let Some(repair) = &stats.repair {
            findings.push(repair_finding(repair, &stats.margins));
        }
        let now = SystemClock.now();
        findings.extend(stats.leases.as_ref().map(|leases| judge_leases(leases, now)));
        let audit = self.shared.node.as_ref().map(NodeParts::audit_health);
        let scrub = self.shared.node.as_ref().map(NodeParts::scrub_health);
        findings.extend(audit.as_ref().map(judge_audit));
        findings.extend(scrub.as_ref().map(judge_scrub));
        findings.extend(judge_workers(&stats.workers));
        let severity = findings.iter().map(|f| f.severity).max().unwrap_or(Severity::Ok);
        let peers = stats.mesh.as_ref().map_or_else(PeerCounts::default, |mesh| PeerCounts {
            known: mesh.nodes as u64,
            alive: mesh.nodes_alive as u64,
        });
        let (margins, repair, leases) = (stats.margins, stats.repair, stats.leases);
        Ok(HealthReply { severity, findings, peers, margins, repair, leases, audit, scrub })
    }
}
