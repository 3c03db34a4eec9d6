//! Another scheme for what is stored: files from when the mesh was smaller, degraded ones, or those that
//! the owner names are coded anew.
//!
//! The ciphertext stays as it is and no slice is sealed again; a segment gets other shards, and so
//! another id. Versions are rewritten in batches, each of which is committed before its old segments
//! are released. One that breaks off goes on with the versions that are left the next time.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_core::catalog::Put;
use datamesh_core::{BoxFuture, MeshPath, Scheme, SegmentId, VersionId};
use datamesh_crypto::{Manifest, Slice};
use datamesh_engine::{Spread, Urgency};
use futures::stream::{self, StreamExt};

use super::rewrite::{Made, Moves, Rewritten, kind_of};
use crate::client::Client;
use crate::error::ClientError;

/// Segments that are coded anew before their versions are committed, unless one version has more.
const BATCH_SEGMENTS: usize = 64;

/// Segments read, coded and sent at once.
const AT_ONCE: usize = 4;

/// What to code anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReschemeOptions {
    /// Paths; all files where there are none.
    pub names: Vec<String>,
    /// The scheme; the one that suits the mesh now where there is none.
    pub scheme: Option<Scheme>,
    /// Only tell what would be done.
    pub dry_run: bool,
}

/// What was coded anew, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reschemed {
    /// The scheme.
    pub scheme: Scheme,
    /// Versions that are stored with another, or degraded.
    pub versions: u64,
    /// Their segments.
    pub segments: u64,
    /// Bytes of ciphertext in these.
    pub bytes: u64,
    /// Bytes that their shards take now, without what lies around them on the disks.
    pub stored_before: u64,
    /// Bytes that they take in the new scheme.
    pub stored_after: u64,
    /// What came of it.
    pub rewritten: Rewritten,
}

/// A version and its segments.
struct Chosen {
    version: VersionId,
    segments: BTreeSet<SegmentId>,
}

/// What was coded anew so far.
#[derive(Default)]
struct Coded {
    /// By the segment before: the one now, and shards above k.
    segments: BTreeMap<SegmentId, (SegmentId, u8)>,
}

impl Client {
    /// Codes versions anew.
    ///
    /// # Errors
    /// [`ClientError::TooFewDomains`] where the mesh is too small for the scheme; where a segment
    /// cannot be read or stored. What was committed by then stays.
    pub fn rescheme<'a>(
        &'a self,
        options: &'a ReschemeOptions,
    ) -> BoxFuture<'a, Result<Reschemed, ClientError>> {
        Box::pin(async move {
            let _moving = self.publication.moving.lock().await;
            self.know_newest().await?;
            let (scheme, spread) = self.protection(options.scheme, false)?;
            let mut paths: BTreeSet<MeshPath> = BTreeSet::new();
            for name in &options.names {
                paths.insert(self.path_of(name).await?);
            }
            let mut chosen: Vec<Chosen> = Vec::new();
            self.each_live(|put: &Put, manifest: &Manifest| {
                let named = paths.is_empty() || paths.contains(&put.path);
                if named && kind_of(put).is_some_and(|kind| kind != (scheme, spread)) {
                    let segments = manifest.slices.iter().map(|slice| slice.segment).collect();
                    chosen.push(Chosen { version: put.version, segments });
                }
            })
            .await?;
            let mut done = Reschemed {
                scheme,
                versions: chosen.len() as u64,
                segments: 0,
                bytes: 0,
                stored_before: 0,
                stored_after: 0,
                rewritten: Rewritten::default(),
            };
            self.weigh(&chosen, &mut done).await;
            if options.dry_run {
                return Ok(done);
            }
            let mut coded = Coded::default();
            let mut rest = chosen.into_iter().peekable();
            while let Some(first) = rest.next() {
                let (mut versions, mut segments) =
                    (BTreeSet::from([first.version]), first.segments);
                while segments.len() < BATCH_SEGMENTS {
                    let Some(next) = rest.next() else { break };
                    versions.insert(next.version);
                    segments.extend(next.segments);
                }
                let rewritten =
                    self.code_anew((scheme, spread), &versions, segments, &mut coded).await?;
                let pending = rewritten.pending;
                done.rewritten.add(rewritten);
                if pending > 0 {
                    break;
                }
            }
            Ok(done)
        })
    }

    /// Adds up what the segments take and would take.
    async fn weigh(&self, chosen: &[Chosen], done: &mut Reschemed) {
        let segments: BTreeSet<SegmentId> =
            chosen.iter().flat_map(|chosen| &chosen.segments).copied().collect();
        done.segments = segments.len() as u64;
        let described = segments
            .into_iter()
            .map(|segment| async move { self.engine.descriptor_of(&segment).await });
        let mut described = stream::iter(described).buffer_unordered(AT_ONCE);
        while let Some(descriptor) = described.next().await {
            let Some(descriptor) = descriptor else { continue };
            let length = u64::from(descriptor.length);
            done.bytes += length;
            done.stored_before += descriptor.shard_length() as u64 * descriptor.scheme.n() as u64;
            let layout = datamesh_codec::Layout::suited(done.scheme, length as usize);
            done.stored_after += layout.shard_length() as u64 * done.scheme.n() as u64;
        }
    }

    /// Codes the segments of these versions anew and rewrites the versions.
    async fn code_anew(
        &self,
        kind: (Scheme, Spread),
        versions: &BTreeSet<VersionId>,
        segments: BTreeSet<SegmentId>,
        coded: &mut Coded,
    ) -> Result<Rewritten, ClientError> {
        let sender = self.resender(kind.1);
        let mut moves = Moves { kind: Some(kind), ..Moves::default() };
        let (fresh, known): (Vec<_>, Vec<_>) =
            segments.into_iter().partition(|segment| !coded.segments.contains_key(segment));
        for before in known {
            // Coded for an earlier batch, whose versions refer to it.
            if let Some((now, margin)) = coded.segments.get(&before) {
                moves.referred.insert(*now);
                let made = Made { margin: *margin, owed: Vec::new(), sending: None };
                moves.made.insert(*now, made);
            }
        }
        let (mut made, mut made_bytes) = (0, 0);
        let sending = &sender;
        let coding = fresh.into_iter().map(|before| async move {
            let read = self.engine.read_segment(&before, &Urgency::default()).await?;
            let ciphertext = read.gather(0..read.descriptor.length as usize);
            let bytes = ciphertext.len() as u64;
            let (now, made) = self.store_again(sending, kind.0, ciphertext).await?;
            Ok::<_, ClientError>((before, now, made, bytes))
        });
        let mut coding = stream::iter(coding).buffer_unordered(AT_ONCE);
        while let Some(done) = coding.next().await {
            let (before, now, segment, bytes) = done?;
            made += 1;
            made_bytes += bytes;
            coded.segments.insert(before, (now, segment.margin));
            moves.made.insert(now, segment);
        }
        drop(coding);
        for version in versions {
            let Some((_, manifest)) = self.live_version(*version).await? else { continue };
            for slice in manifest.slices {
                let Some((now, _)) = coded.segments.get(&slice.segment) else { continue };
                let moved = Slice { segment: *now, ..slice.clone() };
                moves.slices.insert((slice.segment, slice.offset), moved);
            }
        }
        let mut rewritten = self.rewrite(versions, moves, &sender).await?;
        (rewritten.made, rewritten.made_bytes) = (made, made_bytes);
        Ok(rewritten)
    }
}
