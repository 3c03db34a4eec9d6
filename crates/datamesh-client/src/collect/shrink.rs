//! Compression of content that is read seldom: with more effort than a put can take.
//!
//! Content that shrinks by an eighth or more is sealed anew (`reseal`), all other stays where it is. What a
//! run found not to shrink the next one tries again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datamesh_core::{BoxFuture, FileId, Timestamp, VersionId};
use datamesh_crypto::Slice;
use datamesh_engine::{Urgency, block};

use super::reseal::{Kind, Reseal, is_lone, is_worth};
use super::rewrite::{Rewritten, kind_of};
use crate::client::Client;
use crate::error::ClientError;
use crate::pipeline::Compress;
use crate::pipeline::segment::Forge;
use crate::pipeline::slices::{Fetch, Opening};

/// Slices with fewer bytes of ciphertext are left alone.
const SLICE_BYTES_MIN: u32 = 4096;

/// Slices that are read to tell what compression would give.
const SAMPLES: usize = 16;

/// What to compress.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShrinkOptions {
    /// Files that were read lately: they are left alone.
    pub read_lately: BTreeSet<FileId>,
    /// Versions that were made after this are left alone.
    pub made_before: Timestamp,
    /// Only look, and try some of it.
    pub dry_run: bool,
}

/// What was compressed, or tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shrunk {
    /// Versions that are read seldom.
    pub versions: u64,
    /// Bytes of ciphertext of their slices.
    pub bytes: u64,
    /// Of a dry run: slices that were read and compressed.
    pub sampled: u64,
    /// Bytes of ciphertext of these.
    pub sampled_bytes: u64,
    /// Bytes that those of them which shrink would have less.
    pub sampled_saved: u64,
    /// What came of it.
    pub rewritten: Rewritten,
}

fn is_wanted(slice: &Slice) -> bool {
    slice.length >= SLICE_BYTES_MIN
}

impl Client {
    /// Compresses content that is read seldom, where that makes it smaller by an eighth.
    ///
    /// # Errors
    /// [`ClientError::MayBeOld`] where this device may not know the newest; where a slice cannot be read or
    /// stored. What was committed by then stays.
    pub fn shrink<'a>(
        &'a self,
        options: &'a ShrinkOptions,
    ) -> BoxFuture<'a, Result<Shrunk, ClientError>> {
        Box::pin(async move {
            let _moving = self.publication.moving.lock().await;
            self.know_newest().await?;
            let mut shrunk = Shrunk::default();
            let mut chosen: BTreeMap<Kind, Vec<(VersionId, u64)>> = BTreeMap::new();
            self.each_live(|put, manifest| {
                let lately = put.created > options.made_before;
                let Some(kind) = kind_of(put) else { return };
                if lately || options.read_lately.contains(&put.file) {
                    return;
                }
                let slices = manifest.slices.iter().filter(|slice| is_wanted(slice));
                let (bytes, plain) = slices.fold((0, 0), |(bytes, plain), slice| {
                    (bytes + u64::from(slice.length), plain + u64::from(slice.plain_length))
                });
                if bytes > 0 {
                    shrunk.versions += 1;
                    shrunk.bytes += bytes;
                    chosen.entry(kind).or_default().push((put.version, plain));
                }
            })
            .await?;
            if options.dry_run {
                self.sample(&chosen, &mut shrunk).await?;
                return Ok(shrunk);
            }
            let reseal = Reseal { wanted: &is_wanted, smaller: true };
            shrunk.rewritten = self.reseal(chosen, reseal).await?;
            Ok(shrunk)
        })
    }

    /// Reads some slices, spread over all the versions, and compresses them.
    async fn sample(
        &self,
        chosen: &BTreeMap<Kind, Vec<(VersionId, u64)>>,
        shrunk: &mut Shrunk,
    ) -> Result<(), ClientError> {
        let versions: Vec<(Kind, VersionId)> = chosen
            .iter()
            .flat_map(|(kind, versions)| versions.iter().map(|(version, _)| (*kind, *version)))
            .collect();
        let (opening, urgent) = (Opening::of(self), Arc::new(Urgency::default()));
        let count = versions.len().min(SAMPLES);
        for number in 0..count {
            let (kind, version) = versions[number * versions.len() / count];
            let Some((_, manifest)) = self.live_version(version).await? else { continue };
            let slices: Vec<&Slice> =
                manifest.slices.iter().filter(|slice| is_wanted(slice)).collect();
            // Another place in each version: the ends of files are not like their middles.
            let Some(slice) = slices.get(number * slices.len() / count) else { continue };
            let all = 0..slice.plain_length as usize;
            let plain = opening.slice(slice, all, &Fetch::Alone, &urgent).await?.plain;
            let forge = Forge::new(self, kind.1, Compress::Rest);
            let alone = is_lone(slice);
            let tried = block(self.executor(), move || match alone {
                true => Ok(forge.frame_of(&plain).map(|frame| frame.len())),
                false => forge.small(&plain).map(|sealed| Some(sealed.frames.len())),
            });
            let length = tried.await.ok_or(ClientError::Shutdown)??;
            shrunk.sampled += 1;
            shrunk.sampled_bytes += u64::from(slice.length);
            if let Some(length) = length.filter(|length| is_worth(slice, *length)) {
                shrunk.sampled_saved += u64::from(slice.length) - length as u64;
            }
        }
        Ok(())
    }
}
