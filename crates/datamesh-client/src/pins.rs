//! Pins: files whose versions nobody sweeps, and whose segments are mended before others.
//!
//! A pin is an operation of the catalog, so that all devices of the account know it. The holders of the
//! file's segments are told by the lease keys of these; that may be done by any device, again and again, and
//! what a holder was not told costs nothing but its place in the queue of repair.
//!
//! Of a segment that several pinned files share the highest priority counts. What holders were told is
//! remembered in memory alone, for a day: after that, and after each start, they are told once more.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_catalog::{Append, Entry, OPERATIONS_MAX, PinnedFile, Version};
use datamesh_core::catalog::{Change, Pin, Put};
use datamesh_core::lease::PIN_PRIORITY_MAX;
use datamesh_core::message::LEASES_MAX;
use datamesh_core::{BoxFuture, FileId, LogId, MeshPath, SegmentId, Timestamp, VersionId};
use futures::stream::{self, StreamExt};

use crate::client::Client;
use crate::error::ClientError;
use crate::pipeline::EntryFailure;
use crate::points;

/// Versions of a path that are read at a time.
const PAGE: usize = 256;

/// Segments whose descriptors are asked for at once.
const DESCRIBED_AT_ONCE: usize = 16;

/// For how long holders are told of a pin that was taken away or ended, in milliseconds: a node that was
/// away for longer tends to a segment a little earlier than others, and nothing more.
const ENDED_FOR_MS: u64 = 30 * 24 * 3600 * 1000;

/// For how long it is believed that holders know what they were told.
const TOLD_FOR_MS: u64 = 24 * 3600 * 1000;

/// Versions of which it is remembered.
const TOLD_MAX: usize = 1 << 18;

/// How a file is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinTerms {
    /// 1 to [`PIN_PRIORITY_MAX`].
    pub priority: u8,
    /// When the pin ends; 0 where it does not.
    pub until: Timestamp,
}

/// A file whose pin changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedPath {
    /// The file.
    pub path: MeshPath,
    /// It is as it was.
    pub unchanged: bool,
}

/// What came of pinning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pinned {
    /// The files, in the order given.
    pub files: Vec<PinnedPath>,
    /// Paths where no file is.
    pub failed: Vec<EntryFailure>,
    /// Operations that no quorum has yet.
    pub pending: u64,
    /// What holders know.
    pub told: PinsTold,
}

/// What the holders of pinned files' segments were told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PinsTold {
    /// Segments.
    pub segments: u64,
    /// Those of which enough holders for a commit know it, or somebody what was said later.
    pub told: u64,
    /// Versions whose segments are not known, because their manifest cannot be read now.
    pub unread: u64,
}

/// The operation that says where a version's content is, if not its put.
type Moved = Option<(LogId, u64)>;

/// What is remembered of what was told: for each version the epoch of its file's pin and where its content
/// was then.
#[derive(Debug, Default)]
pub(crate) struct ToldPins {
    since: Timestamp,
    versions: BTreeMap<VersionId, (u64, Moved)>,
}

impl ToldPins {
    fn has(&self, version: &PinnedVersion) -> bool {
        self.versions.get(&version.put.version) == Some(&(version.wish.epoch, version.moved))
    }

    fn note(&mut self, version: &PinnedVersion) {
        if self.versions.len() < TOLD_MAX {
            self.versions.insert(version.put.version, (version.wish.epoch, version.moved));
        }
    }
}

/// A version of a pinned file.
struct PinnedVersion {
    wish: Wish,
    put: Box<Put>,
    moved: Moved,
}

/// What is said of a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    priority: u8,
    /// No end is the latest.
    until: Timestamp,
    epoch: u64,
}

impl Wish {
    fn of(pin: &PinnedFile, now: Timestamp) -> Self {
        let priority = pin.priority(now);
        let until = match (priority, pin.until) {
            (0, _) => 0,
            (_, 0) => Timestamp::MAX,
            (_, until) => until,
        };
        Self { priority, until, epoch: pin.epoch(now) }
    }

    /// The higher wish counts, and is newer than both.
    fn join(self, other: Self) -> Self {
        let (best, epoch) = (self.max(other), self.epoch.max(other.epoch));
        Self { epoch, ..best }
    }

    /// As holders are told it.
    fn terms(&self) -> (u8, Timestamp) {
        (self.priority, if self.until == Timestamp::MAX { 0 } else { self.until })
    }
}

impl Client {
    /// Pins the files at these paths, or with no terms pins them no longer. Holders are told before this
    /// returns, as far as they answer.
    ///
    /// # Errors
    /// [`ClientError::PinTerms`] for a priority that there is not, or an end that has passed; those of the
    /// catalog.
    pub fn pin(
        &self,
        paths: Vec<MeshPath>,
        terms: Option<PinTerms>,
    ) -> BoxFuture<'_, Result<Pinned, ClientError>> {
        Box::pin(async move {
            let now = self.engine.now();
            if let Some(terms) = terms {
                if !(1..=PIN_PRIORITY_MAX).contains(&terms.priority) {
                    return Err(ClientError::PinTerms("a priority is a number from 1 to 10"));
                }
                if terms.until != 0 && terms.until <= now {
                    return Err(ClientError::PinTerms("the pin would have ended already"));
                }
            }
            let mut pinned = Pinned::default();
            for batch in paths.chunks(OPERATIONS_MAX) {
                let asked = batch.to_vec();
                let found = self
                    .catalog_call(move |catalog| {
                        let known = |path: &MeshPath| {
                            let there = catalog.summary(path)?.map(|there| there.file);
                            let pin = there.map(|file| catalog.pin_of(file)).transpose()?;
                            Ok(there.map(|file| (file, pin.flatten())))
                        };
                        asked.iter().map(known).collect::<Result<Vec<_>, _>>()
                    })
                    .await?;
                let mut changes = Vec::new();
                for (path, found) in batch.iter().zip(found) {
                    let Some((file, pin)) = found else {
                        let reason = "there is no such file".to_owned();
                        pinned.failed.push(EntryFailure { path: path.clone(), reason });
                        continue;
                    };
                    let counts = pin.filter(|pin| pin.priority(now) > 0);
                    let counts =
                        counts.map(|pin| PinTerms { priority: pin.priority, until: pin.until });
                    let unchanged = counts == terms;
                    if !unchanged {
                        let (priority, until) =
                            terms.map_or((0, 0), |terms| (terms.priority, terms.until));
                        changes.push(Change::Pin(Pin { file, created: now, priority, until }));
                    }
                    pinned.files.push(PinnedPath { path: path.clone(), unchanged });
                }
                if !changes.is_empty() {
                    self.append(points::PIN_COMMIT, Append { changes, ..Append::default() })
                        .await?;
                }
            }
            pinned.pending = self.publish().await?.pending;
            pinned.told = self.tell_pins().await?;
            Ok(pinned)
        })
    }

    /// The files that are pinned now.
    ///
    /// # Errors
    /// Those of reading the catalog.
    pub fn pins(&self) -> BoxFuture<'_, Result<Vec<PinnedFile>, ClientError>> {
        Box::pin(async move {
            let now = self.engine.now();
            let mut pins = self.catalog_call(|catalog| catalog.pins()).await?;
            pins.retain(|pin| pin.priority(now) > 0);
            Ok(pins)
        })
    }

    /// Those of the files that are pinned now.
    pub(crate) async fn pinned_among(
        &self,
        files: Vec<FileId>,
    ) -> Result<BTreeSet<FileId>, ClientError> {
        let now = self.engine.now();
        self.catalog_call(move |catalog| {
            let mut pinned = BTreeSet::new();
            for file in files {
                if catalog.pin_of(file)?.is_some_and(|pin| pin.priority(now) > 0) {
                    pinned.insert(file);
                }
            }
            Ok(pinned)
        })
        .await
    }

    /// Tells holders what is pinned, where they were not told, in this process and lately: of new versions
    /// and of content that has moved, too.
    ///
    /// # Errors
    /// Those of reading the catalog.
    pub fn tell_pins(&self) -> BoxFuture<'_, Result<PinsTold, ClientError>> {
        Box::pin(async move {
            let mut known = self.publication.pins.lock().await;
            let now = self.engine.now();
            if now.abs_diff(known.since) > TOLD_FOR_MS {
                *known = ToldPins { since: now, ..ToldPins::default() };
            }
            let versions = self.pinned_versions(now).await?;
            let mut told = PinsTold::default();
            if versions.iter().all(|version| known.has(version)) {
                return Ok(told);
            }
            // Of a segment that several refer to all of them count, those too that were told already.
            let mut wishes: BTreeMap<SegmentId, (Wish, bool)> = BTreeMap::new();
            let mut named = Vec::with_capacity(versions.len());
            for version in &versions {
                let segments = match self.segments_of(version.put.sealed()).await {
                    Ok(segments) => segments,
                    Err(error) => {
                        tracing::debug!(%error, "the segments of a pinned version are not known");
                        told.unread += 1;
                        continue;
                    }
                };
                for segment in &segments {
                    let (joined, new) = wishes.entry(*segment).or_default();
                    *joined = joined.join(version.wish);
                    *new |= !known.has(version);
                }
                named.push((version, segments));
            }
            let new = wishes.into_iter().filter(|(_, (_, new))| *new);
            let new: Vec<(SegmentId, Wish)> =
                new.map(|(segment, (wish, _))| (segment, wish)).collect();
            let reached = self.tell_wishes(&new).await;
            told.segments = new.len() as u64;
            told.told = reached.values().filter(|reached| **reached).count() as u64;
            for (version, segments) in named {
                if segments.iter().all(|segment| reached.get(segment) != Some(&false)) {
                    known.note(version);
                }
            }
            Ok(told)
        })
    }

    /// The versions of files that are pinned, or were until lately.
    async fn pinned_versions(&self, now: Timestamp) -> Result<Vec<PinnedVersion>, ClientError> {
        let mut pins = self.catalog_call(|catalog| catalog.pins()).await?;
        pins.retain(|pin| {
            let ended = if pin.priority == 0 { pin.created } else { pin.until };
            pin.priority(now) > 0 || now.saturating_sub(ended) < ENDED_FOR_MS
        });
        let mut versions = Vec::new();
        for pin in pins {
            versions.extend(self.versions_of(&pin, now).await?);
        }
        Ok(versions)
    }

    /// The versions of a pinned file that are not purged.
    async fn versions_of(
        &self,
        pin: &PinnedFile,
        now: Timestamp,
    ) -> Result<Vec<PinnedVersion>, ClientError> {
        let Some(path) = pin.path.clone() else { return Ok(Vec::new()) };
        let (file, wish) = (pin.file, Wish::of(pin, now));
        self.catalog_call(move |catalog| {
            let (mut found, mut after) = (Vec::new(), 0);
            loop {
                let page = catalog.versions(&path, after, PAGE)?;
                after += page.len() as u64;
                if page.is_empty() {
                    return Ok(found);
                }
                let ids: Vec<VersionId> = page.iter().map(Version::id).collect();
                for (version, moved) in page.into_iter().zip(catalog.rewritten(&ids)?) {
                    let Entry::Put(put) = version.entry else { continue };
                    if !version.purged && put.file == file {
                        found.push(PinnedVersion { wish, put, moved });
                    }
                }
            }
        })
        .await
    }

    /// Tells holders; says for each segment whether enough of them know it now.
    async fn tell_wishes(&self, wishes: &[(SegmentId, Wish)]) -> BTreeMap<SegmentId, bool> {
        let mut reached = BTreeMap::new();
        for batch in wishes.chunks(LEASES_MAX) {
            let described = stream::iter(batch.to_vec()).map(|(segment, wish)| async move {
                (segment, wish, self.engine.descriptor_of(&segment).await)
            });
            let mut described = described.buffered(DESCRIBED_AT_ONCE);
            let (mesh, mut pins, mut needed) = (self.engine.mesh(), Vec::new(), Vec::new());
            while let Some((segment, wish, descriptor)) = described.next().await {
                let Some(descriptor) = descriptor else {
                    reached.insert(segment, false);
                    continue;
                };
                pins.push(self.keys.pin_segment(&mesh, &descriptor, wish.epoch, wish.terms()));
                needed.push((segment, descriptor.scheme.commit_min() as u32));
            }
            let told = self.engine.pin(&pins).await;
            for ((segment, needed), told) in needed.into_iter().zip(told) {
                // Who is ahead heard of an end that is too long ago to be told, or of what this device does
                // not know yet: saying it again changes nothing.
                reached.insert(segment, told.shards() >= needed || told.behind.is_some());
            }
        }
        reached
    }
}
