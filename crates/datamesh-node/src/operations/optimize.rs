//! Operations that store things better, and tell what would be worth doing: every figure is measured, and
//! advice follows from figures alone.

use std::time::Duration;

use datamesh_api::{
    Advice, AnalysisReply, CompressReply, CompressRequest, DefragReply, OperationError,
    OptimizeReply, OptimizeRequest, PacksReply, RebalanceReply, ReschemeReply, ReschemeRequest,
};
use datamesh_client::{Client, ClientError, ReschemeOptions, ShrinkOptions, Shrunk};
use datamesh_core::Scheme;
use datamesh_engine::Standing;
use tokio::time::Instant;

use super::collect::{repacked, rewritten, wrap};
use super::find::with_index;
use super::{HomeOperations, NodeParts};

/// One day in milliseconds.
const DAY_MS: u64 = 24 * 3600 * 1000;

/// For how long fetches are remembered, in days.
const DAYS_MAX: u32 = 400;

/// Content that was not read for so long counts as read seldom, where nobody says otherwise.
const UNREAD_DAYS: u32 = 30;

/// How long a look of the repairer is waited for.
const LOOK_PATIENCE: Duration = Duration::from_secs(60);

/// How long moves that go on are waited for.
const MOVE_PATIENCE: Duration = Duration::from_secs(600);

/// How often the repairer is asked how far it is.
const ASK_AFTER: Duration = Duration::from_millis(200);

/// A gain of less than a hundredth, or of fewer bytes than this, is not worth a command.
const GAIN_BYTES_MIN: u64 = 1 << 20;

/// A difference of fill above which nodes move shards: ten points, in sixteenths rounded up.
const FILL_SIXTEENTHS: u8 = 2;

fn compressed(shrunk: Shrunk) -> CompressReply {
    CompressReply {
        versions: shrunk.versions,
        bytes: shrunk.bytes,
        sampled: shrunk.sampled,
        sampled_bytes: shrunk.sampled_bytes,
        sampled_saved: shrunk.sampled_saved,
        rewritten: rewritten(shrunk.rewritten),
    }
}

/// Bytes that ciphertext takes in shards.
fn stored(bytes: u64, scheme: Option<Scheme>) -> u64 {
    let scheme = scheme.unwrap_or(Scheme::FOUR_TWO);
    bytes.saturating_mul(scheme.n() as u64) / scheme.k() as u64
}

fn amount(bytes: u64) -> String {
    bytesize::ByteSize(bytes).to_string()
}

/// What is worth doing, and what is not.
#[derive(Default)]
struct Findings(AnalysisReply);

impl Findings {
    fn advise(&mut self, subject: &str, measured: String, bytes: Option<u64>, command: &str) {
        let (subject, command) = (subject.to_owned(), command.to_owned());
        self.0.advice.push(Advice { subject, measured, bytes, command });
    }

    fn fine(&mut self, text: impl Into<String>) {
        self.0.fine.push(text.into());
    }

    fn skipped(&mut self, text: impl Into<String>) {
        self.0.skipped.push(text.into());
    }

    fn finish(mut self) -> AnalysisReply {
        self.0.advice.sort_by_key(|advice| std::cmp::Reverse(advice.bytes.unwrap_or(0)));
        self.0
    }
}

impl HomeOperations {
    pub(super) async fn do_optimize(
        &self,
        asked: OptimizeRequest,
    ) -> Result<OptimizeReply, OperationError> {
        let OptimizeRequest { analyze, rescheme, compress, defrag, rebalance, dry_run } = asked;
        if !analyze && !defrag && !rebalance && rescheme.is_none() && compress.is_none() {
            return Err(OperationError::usage("nothing was asked for"));
        }
        // What cannot be done is said before anything is.
        if compress.is_some_and(|asked| asked.unread_days > DAYS_MAX) {
            return Err(OperationError::usage(format!(
                "fetches are remembered for {DAYS_MAX} days"
            )));
        }
        let rebalancing = match &self.shared.node {
            Some(node) => rebalance.then_some(node),
            None if rebalance => {
                return Err(OperationError::usage(
                    "no node runs in this home, so it has no shards to move",
                )
                .hint("start the node with: datamesh service"));
            }
            None if defrag && self.shared.catalog.is_none() => {
                return Err(OperationError::usage(
                    "there is neither an account nor a running node in this home",
                ));
            }
            None => None,
        };
        let mut reply = OptimizeReply { dry_run, ..OptimizeReply::default() };
        if analyze {
            reply.analysis = Some(self.analyze().await?);
        }
        if let Some(asked) = rescheme {
            reply.rescheme = Some(self.rescheme(asked, dry_run).await?);
        }
        if let Some(CompressRequest { unread_days }) = compress {
            let client = self.whole_client().await?;
            let options = self.shrink_options(client, unread_days, dry_run).await?;
            reply.compress = Some(compressed(client.shrink(&options).await.map_err(wrap)?));
        }
        if defrag {
            reply.defrag = Some(self.defrag(dry_run).await?);
        }
        if let Some(node) = rebalancing {
            reply.rebalance = Some(look_for_moves(node, dry_run).await);
        }
        Ok(reply)
    }

    async fn rescheme(
        &self,
        asked: ReschemeRequest,
        dry_run: bool,
    ) -> Result<ReschemeReply, OperationError> {
        let client = self.whole_client().await?;
        let ReschemeRequest { names, scheme } = asked;
        let options = ReschemeOptions { names, scheme, dry_run };
        let done = client.rescheme(&options).await.map_err(wrap)?;
        Ok(ReschemeReply {
            scheme: done.scheme,
            versions: done.versions,
            segments: done.segments,
            bytes: done.bytes,
            stored_before: done.stored_before,
            stored_after: done.stored_after,
            rewritten: rewritten(done.rewritten),
        })
    }

    /// What was neither stored nor fetched here for so many days.
    async fn shrink_options(
        &self,
        client: &Client,
        unread_days: u32,
        dry_run: bool,
    ) -> Result<ShrinkOptions, OperationError> {
        let since = client.engine().now().saturating_sub(u64::from(unread_days) * DAY_MS);
        let read_lately = if unread_days == 0 {
            std::collections::BTreeSet::new()
        } else {
            self.blocking(self.whole_catalog().await?, move |shared, catalog| {
                with_index(shared, catalog, |index| index.fetched_since(since))
            })
            .await?
        };
        Ok(ShrinkOptions { read_lately, made_before: since, dry_run })
    }

    async fn defrag(&self, dry_run: bool) -> Result<DefragReply, OperationError> {
        let mut reply = DefragReply::default();
        if self.shared.catalog.is_some() {
            let client = self.whole_client().await?;
            reply.segments = Some(repacked(client.defragment(dry_run).await.map_err(wrap)?));
        }
        if let Some(node) = &self.shared.node {
            reply.packs = Some(compact(node, dry_run).await?);
        }
        Ok(reply)
    }

    async fn analyze(&self) -> Result<AnalysisReply, OperationError> {
        let mut findings = Findings::default();
        if self.shared.catalog.is_some() {
            let client = self.whole_client().await?;
            self.analyze_account(client, &mut findings).await?;
        } else {
            findings.skipped("the account: there is none in this home");
        }
        match &self.shared.node {
            Some(node) => self.analyze_node(node, &mut findings).await?,
            None => findings.skipped("the node: none runs in this home"),
        }
        Ok(findings.finish())
    }

    async fn analyze_account(
        &self,
        client: &Client,
        findings: &mut Findings,
    ) -> Result<(), OperationError> {
        client.engine().look_around().await;
        let (_, suited) = client.engine().domains();
        match client.rescheme(&ReschemeOptions { dry_run: true, ..Default::default() }).await {
            Ok(done) if done.versions > 0 => {
                let measured = format!(
                    "{} versions are not stored with {}: {} in shards, {} then",
                    done.versions,
                    done.scheme,
                    amount(done.stored_before),
                    amount(done.stored_after)
                );
                let gain = done.stored_before.checked_sub(done.stored_after);
                findings.advise("scheme", measured, gain, "datamesh optimize --rescheme");
            }
            Ok(done) => findings.fine(format!("all versions are stored with {}", done.scheme)),
            Err(error @ (ClientError::TooFewDomains { .. } | ClientError::NoNodes)) => {
                findings.skipped(format!("the scheme: {error}"));
            }
            Err(error) => return Err(wrap(error)),
        }
        let repacked = client.defragment(true).await.map_err(wrap)?;
        let gain = stored(repacked.bytes.saturating_sub(repacked.live_bytes), suited);
        if repacked.sparse + repacked.small > 0 {
            let measured = format!(
                "{} segments are less than half full, {} are small: {} of their {} are referred to",
                repacked.sparse,
                repacked.small,
                amount(repacked.live_bytes),
                amount(repacked.bytes)
            );
            findings.advise("segments", measured, Some(gain), "datamesh optimize --defrag");
        } else {
            findings.fine("no segment is less than half full, and few are small");
        }
        let duplicates = client.find_duplicates().await.map_err(wrap)?;
        if duplicates.slices > 0 {
            let measured = format!(
                "{} parts of files are stored more than once, {}",
                duplicates.slices,
                amount(duplicates.bytes)
            );
            let gain = Some(stored(duplicates.bytes, suited));
            findings.advise("duplicates", measured, gain, "datamesh cleanup --duplicates");
        } else {
            findings.fine("no content is stored twice");
        }
        let options = self.shrink_options(client, UNREAD_DAYS, true).await?;
        let shrunk = client.shrink(&options).await.map_err(wrap)?;
        let saved = u128::from(shrunk.bytes) * u128::from(shrunk.sampled_saved)
            / u128::from(shrunk.sampled_bytes.max(1));
        let saved = u64::try_from(saved).unwrap_or(u64::MAX);
        if saved >= GAIN_BYTES_MIN && saved >= shrunk.bytes / 100 {
            let measured = format!(
                "{} of {} versions were not read for {UNREAD_DAYS} days; of {} that were tried \
                 compression saves {}",
                amount(shrunk.bytes),
                shrunk.versions,
                amount(shrunk.sampled_bytes),
                amount(shrunk.sampled_saved)
            );
            let gain = Some(stored(saved, suited));
            findings.advise("compression", measured, gain, "datamesh optimize --compress");
        } else {
            findings.fine(format!(
                "compression would save little: {} of {} that were tried",
                amount(shrunk.sampled_saved),
                amount(shrunk.sampled_bytes)
            ));
        }
        let totals =
            self.blocking(self.whole_catalog().await?, |_, catalog| catalog.totals()).await?;
        let old = totals.version_bytes.saturating_sub(totals.bytes);
        if old >= GAIN_BYTES_MIN && old > totals.bytes / 10 {
            // How much of it is stored once, for others too, purging tells: --dry-run says how many segments.
            let measured = format!(
                "older versions and removed files have {} of content beside {} that is current; what others \
                 have too stays",
                amount(old),
                amount(totals.bytes)
            );
            findings.advise("versions", measured, None, "datamesh versions --purge --keep N NAME");
        } else {
            findings.fine("older versions take little");
        }
        Ok(())
    }

    async fn analyze_node(
        &self,
        node: &NodeParts,
        findings: &mut Findings,
    ) -> Result<(), OperationError> {
        let packs = compact(node, true).await?;
        let measured = format!(
            "{} of the {} that this node's packs have are dead",
            amount(packs.dead),
            amount(packs.used)
        );
        if packs.dead >= GAIN_BYTES_MIN && packs.dead > packs.used / 4 {
            findings.advise("packs", measured, Some(packs.dead), "datamesh optimize --defrag");
        } else {
            findings.fine(format!("{measured}, too little to rewrite them"));
        }
        let engine = self.engine().await?;
        let free: Vec<u8> = engine
            .peers()
            .iter()
            .filter(|peer| peer.standing == Standing::Alive)
            .map(|peer| peer.member.advert.free_class.min(16))
            .collect();
        let (least, most) = (free.iter().min(), free.iter().max());
        match (least, most) {
            (Some(least), Some(most)) if most - least >= FILL_SIXTEENTHS => {
                let measured =
                    format!("the fullest node has {least} sixteenths free, the emptiest {most}");
                findings.advise("fill", measured, None, "datamesh optimize --rebalance");
            }
            _ => findings.fine("the nodes are about equally full"),
        }
        let repair = node.repairer.status();
        let short: u64 = repair.margins.range(..=0).map(|(_, count)| count).sum();
        if short + repair.dead_letter > 0 {
            let measured =
                format!("{short} segments have no margin, {} cannot be mended", repair.dead_letter);
            findings.advise("margins", measured, None, "datamesh repair --auto");
        } else {
            findings.fine("no segment that this node knows of is without margin");
        }
        Ok(())
    }
}

/// Rewrites this node's packs of which little is live, or tells how much is dead.
async fn compact(node: &NodeParts, dry_run: bool) -> Result<PacksReply, OperationError> {
    let before = node.collector.state().returned_bytes;
    let mut refused = None;
    if !dry_run && let Err(error) = node.collector.pass().await {
        refused = Some(error.to_string());
    }
    let usage = node.usage().await?;
    let dead = usage.used.saturating_sub(usage.live);
    let returned = node.collector.state().returned_bytes.saturating_sub(before);
    Ok(PacksReply { used: usage.used, dead, returned, refused })
}

/// Has the repairer look at once, and waits for the moves that it finds.
async fn look_for_moves(node: &NodeParts, dry_run: bool) -> RebalanceReply {
    let repairer = &node.repairer;
    let before = repairer.status();
    if dry_run {
        return RebalanceReply { waiting: before.moves_left, ..RebalanceReply::default() };
    }
    repairer.look_soon();
    let began = Instant::now();
    let mut status = before.clone();
    while status.looked == before.looked {
        if began.elapsed() > LOOK_PATIENCE {
            return RebalanceReply { waiting: before.moves_left, ..RebalanceReply::default() };
        }
        tokio::time::sleep(ASK_AFTER).await;
        status = repairer.status();
    }
    let mut last = (status.moves_left, Instant::now());
    // Moves wait for repair and for the budget: without progress they go on in the background.
    while status.moves_left > 0
        && began.elapsed() < MOVE_PATIENCE
        && last.1.elapsed() < LOOK_PATIENCE / 2
    {
        tokio::time::sleep(ASK_AFTER).await;
        status = repairer.status();
        if status.moves_left != last.0 {
            last = (status.moves_left, Instant::now());
        }
    }
    RebalanceReply {
        looked: true,
        waiting: status.moves_left,
        moved: status.shards_moved.saturating_sub(before.shards_moved),
        bytes: status.bytes_moved.saturating_sub(before.bytes_moved),
    }
}
