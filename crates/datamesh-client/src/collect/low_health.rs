//! Files whose segments lack shards: listed, and the nodes are asked to mend them.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_core::{MeshPath, SegmentId};

use crate::below::Below;
use crate::client::Client;
use crate::error::ClientError;

/// Files that are listed by name.
const LISTED_MAX: usize = 1000;

/// A file that is not as safe as its scheme promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowFile {
    /// Its name.
    pub path: MeshPath,
    /// Shards above k that its worst segment had; negative where it cannot be read now, nothing
    /// where nobody who answers has any of it.
    pub margin: Option<i32>,
    /// The same after the nodes were asked to mend it.
    pub mended: Option<i32>,
    /// Why it could not be mended.
    pub reason: Option<String>,
}

/// Files that lack shards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LowHealth {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub files: Vec<LowFile>,
    /// How many cannot be read now.
    pub unreadable: u64,
    /// Shards that were rebuilt.
    pub rebuilt: u64,
}

/// A segment that lacks shards.
struct Low {
    before: Option<i32>,
    after: Option<i32>,
    reason: Option<String>,
}

impl Client {
    /// Finds files below their full margin, and unless it is a `dry_run` has them mended.
    pub(super) async fn low_health(&self, dry_run: bool) -> Result<LowHealth, ClientError> {
        let mut found = LowHealth::default();
        let mut below = Below::new(self, None);
        loop {
            let page = match below.page().await {
                Ok(page) => page,
                Err(ClientError::NothingBelow { .. }) => return Ok(found),
                Err(error) => return Err(error),
            };
            if page.is_empty() {
                return Ok(found);
            }
            let mut files: Vec<(MeshPath, BTreeSet<SegmentId>)> = Vec::new();
            for put in page {
                files.push((put.path.clone(), self.segments_of(put.sealed()).await?));
            }
            let segments: BTreeSet<SegmentId> =
                files.iter().flat_map(|(_, segments)| segments).copied().collect();
            let low = self.low_among(&segments, dry_run, &mut found.rebuilt).await;
            for (path, segments) in files {
                let worst = segments.iter().filter_map(|segment| low.get(segment));
                let Some(worst) = worst.min_by_key(|low| low.before) else { continue };
                found.count += 1;
                let now = if dry_run { worst.before } else { worst.after };
                found.unreadable += u64::from(now.is_none_or(|margin| margin < 0));
                if found.files.len() < LISTED_MAX {
                    found.files.push(LowFile {
                        path,
                        margin: worst.before,
                        mended: worst.after,
                        reason: worst.reason.clone(),
                    });
                }
            }
        }
    }

    async fn low_among(
        &self,
        segments: &BTreeSet<SegmentId>,
        dry_run: bool,
        rebuilt: &mut u64,
    ) -> BTreeMap<SegmentId, Low> {
        let asked: Vec<SegmentId> = segments.iter().copied().collect();
        let census = self.engine.census(&asked).await;
        let mut low = BTreeMap::new();
        for (segment, holders) in asked.into_iter().zip(census) {
            let there: BTreeSet<u8> = holders.iter().map(|(shard, _)| *shard).collect();
            let Some(scheme) = self.engine.scheme_of(&segment).await else {
                let reason = Some("nobody who answers has any of it".to_owned());
                low.insert(segment, Low { before: None, after: None, reason });
                continue;
            };
            if there.len() >= scheme.n() {
                continue;
            }
            let before = Some(there.len() as i32 - scheme.k() as i32);
            if dry_run {
                low.insert(segment, Low { before, after: None, reason: None });
                continue;
            }
            let now = match self.engine.repair_now(segment, false, i32::MAX).await {
                Ok(checked) => {
                    let mended = checked.mended.unwrap_or_default();
                    *rebuilt += mended.rebuilt.len() as u64;
                    let placed = mended.rebuilt.iter().map(|(shard, _)| *shard);
                    let there: BTreeSet<u8> = checked.present.into_iter().chain(placed).collect();
                    let after = Some(there.len() as i32 - scheme.k() as i32);
                    let lacks = !mended.waiting.is_empty();
                    let reason = lacks.then(|| "too few failure domains are free".to_owned());
                    Low { before, after, reason }
                }
                Err(error) => Low { before, after: before, reason: Some(error.to_string()) },
            };
            low.insert(segment, now);
        }
        low
    }
}
