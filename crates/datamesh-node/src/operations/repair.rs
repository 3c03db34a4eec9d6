//! Operations on where shards are, and their repair.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datamesh_api::{
    DistributionReply, DistributionRequest, DomainShards, DrainState, ErrorKind, NodeShards,
    OperationError, RepairReply, RepairRequest, RepairState, SegmentProblem,
};
use datamesh_client::{Client, ClientError, LeaseRenewal, LeaseScope};
use datamesh_core::SegmentId;
use datamesh_engine::Standing;
use datamesh_engine::repair::{MendError, RepairStatus};
use futures::stream::{FuturesUnordered, StreamExt};

use super::HomeOperations;
use crate::convert;

/// Segments that a command checks at once.
const AT_ONCE: usize = 4;

/// Segments asked about in one question.
const BATCH: usize = 1024;

/// Shards that are struck from the list of owed ones at once.
const SETTLE_BATCH: usize = 4096;

/// Problems that are listed; all segments are counted by margin.
const LISTED_MAX: usize = 1000;

/// The state of a repairer as the contract names it.
pub(super) fn repair_state(status: RepairStatus) -> RepairState {
    let rate = status.bytes_per_second;
    RepairState {
        queued: status.queued,
        active: status.active,
        bytes_left: status.bytes_left,
        dead_letter: status.dead_letter,
        waiting: status.waiting,
        later: status.later,
        dead_letters: status
            .dead_letters
            .into_iter()
            .map(|letter| SegmentProblem { segment: letter.segment, reason: letter.reason })
            .collect(),
        shards_placed: status.shards_placed,
        moves_left: status.moves_left,
        shards_moved: status.shards_moved,
        bytes_moved: status.bytes_moved,
        bytes_per_second: rate,
        seconds_left: (rate > 0.0).then(|| status.bytes_left as f64 / rate),
        storm: status.storm,
        looked: status.looked,
        drain: status.drain.map(|drain| DrainState {
            shards: drain.shards,
            left: drain.left,
            finished: drain.finished,
        }),
    }
}

impl HomeOperations {
    /// The segments of a file, or of all files.
    async fn segments_of(
        &self,
        client: &Client,
        name: Option<&str>,
    ) -> Result<Vec<SegmentId>, OperationError> {
        let wrap = |error: ClientError| convert::client_error(&error);
        let Some(name) = name else {
            return match client.all_segments().await {
                Ok(segments) => Ok(segments),
                Err(ClientError::NothingBelow { .. }) => Ok(Vec::new()),
                Err(error) => Err(wrap(error)),
            };
        };
        let version = client.resolve(name, None).await.map_err(wrap)?;
        match version.put() {
            Some(put) => client.segments(put).await.map_err(wrap),
            None => {
                let message = format!("\"{name}\" is deleted");
                Err(OperationError::new(ErrorKind::NotFound, message))
            }
        }
    }

    pub(super) async fn do_repair(
        &self,
        request: RepairRequest,
    ) -> Result<RepairReply, OperationError> {
        let mut reply = RepairReply::default();
        let files = request.name.is_some() || request.auto && self.shared.catalog.is_some();
        if request.renew {
            let progress = |_, _| {};
            let renewal =
                LeaseRenewal { scope: LeaseScope::All, pause: Duration::ZERO, progress: &progress };
            self.whole_client().await?;
            reply.renewal = Some(self.renew_leases(renewal).await?);
        }
        if !files && !request.renew && self.shared.node.is_none() {
            let message = "no node runs in this home, so there is no repair to tell of";
            return Err(OperationError::usage(message)
                .hint("name a file, or start the node with: datamesh service"));
        }
        if files {
            let client = self.client().await?;
            client.engine().look_around().await;
            let segments = self.segments_of(client, request.name.as_deref()).await?;
            self.check(client, &segments, &request, &mut reply).await;
        }
        if let Some(node) = &self.shared.node {
            if request.auto {
                node.repairer.look_soon();
            }
            reply.worker = Some(repair_state(node.repairer.status()));
        }
        Ok(reply)
    }

    async fn check(
        &self,
        client: &Client,
        segments: &[SegmentId],
        request: &RepairRequest,
        reply: &mut RepairReply,
    ) {
        let threshold = request.threshold.unwrap_or(i32::MAX);
        let engine = client.engine();
        let verify = request.verify_all;
        let mut rest = segments.iter().copied();
        let mut checks = FuturesUnordered::new();
        let mut faults = Vec::new();
        let mut present = Vec::new();
        loop {
            while checks.len() < AT_ONCE {
                let Some(segment) = rest.next() else { break };
                let engine = Arc::clone(engine);
                checks.push(async move {
                    (segment, engine.repair_now(segment, verify, threshold).await)
                });
            }
            let Some((segment, result)) = checks.next().await else { break };
            reply.segments += 1;
            let checked = match result {
                Ok(checked) => checked,
                Err(error) => {
                    if let MendError::BelowK { have, needed } = error {
                        let margin = have as i32 - needed as i32;
                        *reply.margins.entry(margin).or_default() += 1;
                    }
                    if reply.failed.len() < LISTED_MAX {
                        let reason = error.to_string();
                        reply.failed.push(SegmentProblem { segment, reason });
                    }
                    continue;
                }
            };
            *reply.margins.entry(checked.margin).or_default() += 1;
            reply.missing += checked.missing.len() as u64;
            present.extend(checked.present.iter().map(|shard| (segment, *shard)));
            reply.verified += checked.verified;
            reply.verified_bytes += checked.verified_bytes;
            faults.extend(checked.faults);
            let Some(mended) = checked.mended else { continue };
            reply.rebuilt += mended.rebuilt.len() as u64;
            reply.copied += mended.copied.len() as u64;
            reply.read_bytes += mended.read_bytes;
            reply.sent_bytes += mended.sent_bytes;
            faults.extend(mended.faults);
            if !mended.waiting.is_empty() && reply.waiting.len() < LISTED_MAX {
                let shards: Vec<String> = mended.waiting.iter().map(u8::to_string).collect();
                let reason = format!("there is no failure domain for shard {}", shards.join(", "));
                reply.waiting.push(SegmentProblem { segment, reason });
            }
        }
        faults.truncate(LISTED_MAX);
        reply.faults = convert::faults(faults);
        self.settle(present).await;
    }

    /// Strikes shards that are there from the list of those that are owed.
    async fn settle(&self, present: Vec<(SegmentId, u8)>) {
        let Some(catalog) = self.shared.catalog.clone() else { return };
        let settled = tokio::task::spawn_blocking(move || {
            if catalog.totals()?.owed == 0 {
                return Ok(());
            }
            present.chunks(SETTLE_BATCH).try_for_each(|batch| catalog.paid(batch))
        });
        match settled.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "shards that are there still count as owed"),
            Err(_) => tracing::warn!("striking shards that are there broke off"),
        }
    }

    pub(super) async fn do_distribution(
        &self,
        request: DistributionRequest,
    ) -> Result<DistributionReply, OperationError> {
        let client = self.client().await?;
        let engine = client.engine();
        let segments = self.segments_of(client, request.name.as_deref()).await?;
        let mut reply = DistributionReply { segments: segments.len() as u64, ..Default::default() };
        let mut nodes: BTreeMap<_, NodeShards> = engine
            .peers()
            .into_iter()
            .filter(|peer| peer.standing != Standing::Gone)
            .map(|peer| {
                let claim = peer.member.advert.certificate.claim;
                let domain = claim.domain.to_string();
                (claim.node, NodeShards { node: claim.node, domain, shards: 0 })
            })
            .collect();
        for batch in segments.chunks(BATCH) {
            let census = engine.census(batch).await;
            for (segment, holders) in batch.iter().zip(census) {
                reply.shards += holders.len() as u64;
                let mut distinct: Vec<u8> = holders.iter().map(|(shard, _)| *shard).collect();
                distinct.sort_unstable();
                distinct.dedup();
                if let Some(scheme) = engine.scheme_of(segment).await {
                    let margin = distinct.len() as i32 - scheme.k() as i32;
                    *reply.margins.entry(margin).or_default() += 1;
                }
                for (_, node) in holders {
                    if let Some(entry) = nodes.get_mut(&node) {
                        entry.shards += 1;
                    }
                }
            }
        }
        let mut domains: BTreeMap<&str, DomainShards> = BTreeMap::new();
        for node in nodes.values() {
            let entry = domains.entry(&node.domain).or_insert_with(|| DomainShards {
                domain: node.domain.clone(),
                nodes: 0,
                shards: 0,
            });
            entry.nodes += 1;
            entry.shards += node.shards;
        }
        reply.domains = domains.into_values().collect();
        reply.domains.sort_by(|a, b| b.shards.cmp(&a.shards).then(a.domain.cmp(&b.domain)));
        reply.nodes = nodes.into_values().collect();
        reply.nodes.sort_by(|a, b| b.shards.cmp(&a.shards).then(a.node.cmp(&b.node)));
        Ok(reply)
    }
}
