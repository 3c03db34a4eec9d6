//! Records: the one unit that a pack is made of.
//!
//! A record is a header of 64 bytes and a body. The header's hash covers the store, the pack, the
//! place in it, the header and the hashed part of the body, under a key derived from the store's
//! secret id. A record that was misdirected by the disk, copied from elsewhere or made up by
//! whoever chose a shard's cells is therefore not a record here. Layout: `docs/specs/pack.md`.

use datamesh_core::wire::{Decode, Encode, Reader, WireError, Writer, decode};
use datamesh_core::{
    Descriptor, Grant, GrantId, Hash, PublicKey, Receipt, SegmentId, StoreTicket, Timestamp, lease,
    record,
};

use crate::identity::StoreId;

/// Records begin at multiples of this many bytes.
pub const RECORD_ALIGNMENT: usize = 64;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 64;

/// First bytes of a header: `DMRC`.
pub const MAGIC: u32 = u32::from_le_bytes(*b"DMRC");

/// Most hashed bytes of a body, but for pack tables. Bounds the work that a damaged region with
/// misleading contents can cause in a scan.
pub const HASHED_BYTES_MAX: usize = 128 * 1024;

/// Most bytes of a body: the cells of the largest shard and their prefix.
pub const BODY_BYTES_MAX: usize = datamesh_core::seam::BODY_BYTES_MAX + HASHED_BYTES_MAX;

/// BLAKE3 derive-key context of the key of record hashes.
const RECORD_KEY_CONTEXT: &str = "datamesh 2026 pack record v1";

/// Newest version of every record kind.
pub const RECORD_VERSION: u8 = 1;

/// What a record is. Numbers are part of the format; a number without a name here is kept and
/// skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A [`ShardMeta`], then the shard's cells, which the record's hash does not cover.
    Shard = 1,
    /// A [`Grant`].
    Grant = 2,
    /// A [`Head`].
    Head = 3,
    /// A [`Renewal`](lease::Renewal).
    Lease = 4,
    /// A [`Release`](lease::Release) without what a [`Tombstone`] adds; read, no longer written.
    Release = 5,
    /// A [`ShardMark`]: the shard is in the trash.
    Trash = 6,
    /// A [`ShardMark`]: the shard is out of the trash again.
    Revive = 7,
    /// A [`ShardMark`]: the shard is gone.
    Removed = 8,
    /// A [`Receipt`].
    Receipt = 9,
    /// A [`Tombstone`].
    Tombstone = 10,
    /// A [`Compacted`].
    Compacted = 11,
    /// A [`ShardMark`]: the shard is in the trash because another node has it now.
    Moved = 12,
    /// A [`SegmentPin`](lease::SegmentPin).
    Pin = 13,
    /// A [`PackHeader`], at the beginning of a pack.
    PackHeader = 240,
    /// The table of a sealed pack's records.
    PackTable = 241,
    /// A [`PackEnd`], in the last block of a sealed pack.
    PackEnd = 242,
}

impl Kind {
    /// The kind with that number.
    pub fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Shard,
            2 => Self::Grant,
            3 => Self::Head,
            4 => Self::Lease,
            5 => Self::Release,
            6 => Self::Trash,
            7 => Self::Revive,
            8 => Self::Removed,
            9 => Self::Receipt,
            10 => Self::Tombstone,
            11 => Self::Compacted,
            12 => Self::Moved,
            13 => Self::Pin,
            240 => Self::PackHeader,
            241 => Self::PackTable,
            242 => Self::PackEnd,
            _ => return None,
        })
    }
}

record! {
    /// What stands before a shard's cells.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ShardMeta {
        /// The segment, as every shard describes it.
        pub descriptor: Descriptor,
        /// Which of its shards.
        pub shard: u8,
        /// The grant key's permission.
        pub ticket: StoreTicket,
        /// The grant that it rests on.
        pub grant: GrantId,
        /// When the shard was stored.
        pub stored_at: Timestamp,
        /// Epoch of the lease that it was stored with.
        pub lease_epoch: u64,
        /// When that lease ends; 0 where leases do not.
        pub lease_expiry: Timestamp,
    }
}

record! {
    /// Body of trash, moved, revive and removed records.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ShardMark {
        /// The segment.
        pub segment: SegmentId,
        /// Which of its shards.
        pub shard: u8,
        /// When it happened.
        pub time: Timestamp,
    }
}

/// Body of a head record: the newest head of a log, kept for its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The account's pseudonym.
    pub account: [u8; 32],
    /// The log.
    pub log: [u8; 16],
    /// The highest counts.
    pub revision: u64,
    /// The head itself, which the store does not read.
    pub head: Vec<u8>,
}

impl Encode for Head {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.account).raw(&self.log).u64(self.revision).raw(&self.head);
    }
}

impl Decode for Head {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let (account, log, revision) = (from.array()?, from.array()?, from.u64()?);
        Ok(Self { account, log, revision, head: from.take(from.remaining())?.to_vec() })
    }
}

record! {
    /// Body of a lease record: the owner's signed renewal.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Lease {
        /// The renewal.
        pub renewal: lease::Renewal,
        /// When it came here.
        pub time: Timestamp,
    }
}

record! {
    /// Body of a tombstone record: the owner's signed end of a segment's lease, kept after its shards
    /// are gone, for nodes that were away meanwhile.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Tombstone {
        /// The release.
        pub release: lease::Release,
        /// The key that signed it, which the shards' descriptor named.
        pub lease_key: PublicKey,
        /// When it came here.
        pub time: Timestamp,
    }
}

record! {
    /// Body of the record that says that a pack was given back: what was live in it is elsewhere.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Compacted {
        /// The pack's number.
        pub pack: u32,
    }
}

record! {
    /// Body of the record at the beginning of a pack.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PackHeader {
        /// The pack's number.
        pub pack: u32,
    }
}

record! {
    /// Body of the record in the last block of a sealed pack.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PackEnd {
        /// Offset of the table's record in units of [`RECORD_ALIGNMENT`].
        pub table: u32,
    }
}

/// The first 32 bytes of a record; its hash follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Number of the [`Kind`].
    pub kind: u8,
    /// Version of the body's layout.
    pub version: u8,
    /// Store-wide number of the record.
    pub sequence: u64,
    /// Bytes of the body.
    pub length: u32,
    /// Bytes of the body, from its start, that the hash covers.
    pub hashed: u32,
}

impl Header {
    fn fields(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out[..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4] = self.kind;
        out[5] = self.version;
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..20].copy_from_slice(&self.length.to_le_bytes());
        out[20..24].copy_from_slice(&self.hashed.to_le_bytes());
        out
    }

    /// Reads a header and its hash, which is not checked here.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Self, [u8; 32])> {
        let mut from = Reader::new(bytes);
        if from.u32().ok()? != MAGIC {
            return None;
        }
        let (kind, version, reserved) = (from.u8().ok()?, from.u8().ok()?, from.u16().ok()?);
        let (sequence, length) = (from.u64().ok()?, from.u32().ok()?);
        let (hashed, reserved_too) = (from.u32().ok()?, from.u64().ok()?);
        if reserved != 0 || reserved_too != 0 || version == 0 || hashed > length {
            return None;
        }
        Some((Self { kind, version, sequence, length, hashed }, from.array().ok()?))
    }

    /// Bytes from this record's start to the next record's.
    pub(crate) fn span(&self) -> u64 {
        (HEADER_BYTES as u64 + u64::from(self.length)).next_multiple_of(RECORD_ALIGNMENT as u64)
    }

    /// Bytes from this record's start to the first slot behind what its hash covers.
    pub(crate) fn hashed_span(&self) -> u64 {
        (HEADER_BYTES as u64 + u64::from(self.hashed)).next_multiple_of(RECORD_ALIGNMENT as u64)
    }
}

/// Makes and checks the hashes of one store's records.
#[derive(Clone)]
pub(crate) struct RecordKey([u8; 32]);

impl std::fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordKey(…)")
    }
}

impl RecordKey {
    pub(crate) fn of(store: &StoreId) -> Self {
        Self(blake3::derive_key(RECORD_KEY_CONTEXT, &store.0))
    }

    /// The hash of a record at `offset` of `pack`.
    pub(crate) fn hash(&self, pack: u32, offset: u64, header: &Header, hashed: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&pack.to_le_bytes()).update(&offset.to_le_bytes());
        hasher.update(&header.fields()).update(&[0; 32]).update(hashed);
        *hasher.finalize().as_bytes()
    }
}

/// A record that is ready but for its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draft<'a> {
    pub(crate) kind: u8,
    pub(crate) version: u8,
    pub(crate) sequence: u64,
    pub(crate) hashed: &'a [u8],
    pub(crate) rest: &'a [u8],
}

impl<'a> Draft<'a> {
    /// A record about the pack itself, which takes no sequence: it is no part of the fold.
    pub(crate) fn internal(kind: Kind, body: &'a [u8]) -> Self {
        Self { kind: kind as u8, version: RECORD_VERSION, sequence: 0, hashed: body, rest: &[] }
    }

    pub(crate) fn header(&self) -> Header {
        Header {
            kind: self.kind,
            version: self.version,
            sequence: self.sequence,
            length: (self.hashed.len() + self.rest.len()) as u32,
            hashed: self.hashed.len() as u32,
        }
    }

    /// The header's bytes at that place.
    pub(crate) fn seal(&self, key: &RecordKey, pack: u32, offset: u64) -> [u8; HEADER_BYTES] {
        let header = self.header();
        let mut out = [0; HEADER_BYTES];
        out[..32].copy_from_slice(&header.fields());
        out[32..].copy_from_slice(&key.hash(pack, offset, &header, self.hashed));
        out
    }
}

/// The bytes of one record of any kind, for whoever writes packs without a store: tests, and tools
/// that repair one. `hashed` and `rest` are the two parts of the body.
pub fn encode_record(
    store: &StoreId,
    (pack, offset): (u32, u64),
    (kind, version): (u8, u8),
    sequence: u64,
    hashed: &[u8],
    rest: &[u8],
) -> Vec<u8> {
    let length = (hashed.len() + rest.len()) as u32;
    let header = Header { kind, version, sequence, length, hashed: hashed.len() as u32 };
    let mut out = header.fields().to_vec();
    out.extend_from_slice(&RecordKey::of(store).hash(pack, offset, &header, hashed));
    out.extend_from_slice(hashed);
    out.extend_from_slice(rest);
    out.resize(out.len().next_multiple_of(RECORD_ALIGNMENT), 0);
    out
}

/// What the fold needs of a record: the same from a scan, a table or a write just done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Offset in the pack in units of [`RECORD_ALIGNMENT`].
    pub at: u32,
    /// Number of the [`Kind`].
    pub kind: u8,
    /// Version of the body's layout.
    pub version: u8,
    /// Shard number, where the record is about one.
    pub shard: u8,
    /// The record is a shard whose cells do not have their root.
    pub damaged: bool,
    /// The record's sequence.
    pub sequence: u64,
    /// Bytes of the body.
    pub length: u32,
    /// Bytes of the body that the record's hash covers.
    pub hashed: u32,
    /// Segment, grant or account pseudonym.
    pub key: [u8; 32],
    /// Grant of a shard; log of a head, zero-filled; lease key of a tombstone; priority of a pin,
    /// zero-filled.
    pub other: [u8; 32],
    /// Epoch of a lease or a pin, revision of a head.
    pub epoch: u64,
    /// End of a lease, a receipt or a pin; time of a mark or a tombstone.
    pub time: Timestamp,
}

/// Bytes of an encoded [`Row`].
pub const ROW_BYTES: usize = 104;

/// Flag of a damaged row.
const FLAG_DAMAGED: u8 = 1;

impl Row {
    /// Reads what the fold needs from the hashed part of a body. A record of an unknown kind or
    /// version, or one that this program cannot read, becomes a row that the fold passes over.
    pub(crate) fn of(at: u32, header: &Header, hashed: &[u8]) -> Self {
        let mut row = Self {
            at,
            kind: header.kind,
            version: header.version,
            shard: 0,
            damaged: false,
            sequence: header.sequence,
            length: header.length,
            hashed: header.hashed,
            key: [0; 32],
            other: [0; 32],
            epoch: 0,
            time: 0,
        };
        if let (Some(kind), RECORD_VERSION) = (Kind::of(header.kind), header.version) {
            // The hash says that this store wrote the body, so one that cannot be read is a later
            // program's: kept like an unknown kind.
            if row.summarise(kind, hashed).is_err() {
                row.version = 0;
            }
        }
        row
    }

    fn summarise(&mut self, kind: Kind, hashed: &[u8]) -> Result<(), WireError> {
        match kind {
            Kind::Shard => {
                let meta: ShardMeta = decode(hashed)?;
                self.key = meta.descriptor.id().0;
                self.shard = meta.shard;
                self.other = meta.grant.0;
                (self.epoch, self.time) = (meta.lease_epoch, meta.lease_expiry);
                let cells = self.length - self.hashed;
                if usize::from(meta.shard) >= meta.descriptor.scheme.n()
                    || cells as usize != meta.descriptor.shard_length()
                {
                    return Err(WireError::Invalid { field: "shard" });
                }
            }
            Kind::Grant => self.key = decode::<Grant>(hashed)?.id().0,
            Kind::Head => {
                let head: Head = decode(hashed)?;
                self.key = head.account;
                self.other[..16].copy_from_slice(&head.log);
                self.epoch = head.revision;
            }
            Kind::Lease => {
                let Lease { renewal, .. } = decode(hashed)?;
                self.key = renewal.segment.0;
                (self.epoch, self.time) = (renewal.epoch, renewal.expiry);
            }
            Kind::Release => {
                let release: lease::Release = decode(hashed)?;
                (self.key, self.epoch) = (release.segment.0, release.epoch);
            }
            Kind::Trash | Kind::Moved | Kind::Revive | Kind::Removed => {
                let mark: ShardMark = decode(hashed)?;
                (self.key, self.shard, self.time) = (mark.segment.0, mark.shard, mark.time);
            }
            Kind::Receipt => {
                let receipt: Receipt = decode(hashed)?;
                (self.key, self.shard, self.time) =
                    (receipt.segment.0, receipt.shard, receipt.expiry);
            }
            Kind::Tombstone => {
                let tombstone: Tombstone = decode(hashed)?;
                self.key = tombstone.release.segment.0;
                self.other = tombstone.lease_key.0;
                (self.epoch, self.time) = (tombstone.release.epoch, tombstone.time);
            }
            Kind::Pin => {
                let pin: lease::SegmentPin = decode(hashed)?;
                (self.key, self.other[0]) = (pin.segment.0, pin.priority);
                (self.epoch, self.time) = (pin.epoch, pin.until);
            }
            Kind::Compacted => {
                decode::<Compacted>(hashed)?;
            }
            Kind::PackHeader | Kind::PackTable | Kind::PackEnd => {}
        }
        Ok(())
    }

    /// The kind, where this program knows what the record says.
    pub(crate) fn known(&self) -> Option<Kind> {
        if self.version == RECORD_VERSION { Kind::of(self.kind) } else { None }
    }

    /// Offset of the record in bytes.
    pub(crate) fn offset(&self) -> u64 {
        u64::from(self.at) * RECORD_ALIGNMENT as u64
    }

    /// Bytes of the record.
    pub(crate) fn record_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.length)
    }
}

impl Encode for Row {
    fn encode(&self, out: &mut Writer) {
        out.u32(self.at).u8(self.kind).u8(self.version).u8(self.shard);
        out.u8(if self.damaged { FLAG_DAMAGED } else { 0 });
        out.u64(self.sequence).u32(self.length).u32(self.hashed);
        out.raw(&self.key).raw(&self.other).u64(self.epoch).u64(self.time);
    }
}

impl Decode for Row {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            at: from.u32()?,
            kind: from.u8()?,
            version: from.u8()?,
            shard: from.u8()?,
            damaged: match from.u8()? {
                0 => false,
                FLAG_DAMAGED => true,
                _ => return Err(WireError::Invalid { field: "row flags" }),
            },
            sequence: from.u64()?,
            length: from.u32()?,
            hashed: from.u32()?,
            key: from.array()?,
            other: from.array()?,
            epoch: from.u64()?,
            time: from.u64()?,
        })
    }
}

/// The root that a shard's cells must have.
pub(crate) fn root_of(meta: &ShardMeta) -> Option<Hash> {
    meta.descriptor.roots.get(usize::from(meta.shard)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_fixed_size() {
        let header = Header { kind: 77, version: 1, sequence: 1, length: 2, hashed: 2 };
        assert_eq!(Row::of(9, &header, &[0; 2]).to_bytes().len(), ROW_BYTES);
    }

    #[test]
    fn a_hash_holds_for_one_store_one_pack_one_place() {
        let draft = Draft {
            kind: Kind::Lease as u8,
            version: RECORD_VERSION,
            sequence: 5,
            hashed: b"body",
            rest: b"",
        };
        let key = RecordKey::of(&StoreId([1; 16]));
        let here = draft.seal(&key, 3, 4096);
        assert_eq!(here, draft.seal(&key, 3, 4096));
        assert_ne!(here, draft.seal(&key, 3, 8192));
        assert_ne!(here, draft.seal(&key, 4, 4096));
        assert_ne!(here, draft.seal(&RecordKey::of(&StoreId([2; 16])), 3, 4096));
        assert_ne!(here, Draft { sequence: 6, ..draft }.seal(&key, 3, 4096));
    }
}
