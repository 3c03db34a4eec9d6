//! The head of a log: the one mutable thing that nodes keep for an account.
//!
//! A head says how far a log has come and has its newest operations. Nodes see a pseudonym, which is
//! a public key, a log id, a revision, and sealed bytes; they keep the head of the highest revision
//! that the pseudonym's key signed. What is sealed is a [`HeadBody`]; older operations lie in
//! [pages](Page), sealed objects in segments of their own, which the body names. Layout:
//! `docs/specs/head.md`.

use bytes::Bytes;

use crate::catalog::{LogCertificate, Operation};
use crate::grant::Grant;
use crate::id::{Hash, LogId, MeshId, SegmentId};
use crate::record;
use crate::seam::Timestamp;
use crate::signature::{Context, PublicKey, Signature, SignatureError};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// Most sealed bytes of a head, so that it fits a control message with its frame.
pub const HEAD_SEALED_BYTES_MAX: usize = 60 * 1024;

/// Most bytes of operations that a head has in itself.
pub const HEAD_INLINE_BYTES_MAX: usize = 32 * 1024;

/// Most pages that a head names itself; it names more by a [`Body::index`](HeadBody::index).
pub const HEAD_PAGES_MAX: usize = 64;

/// Most other logs that a head tells of.
pub const HEAD_SEEN_MAX: usize = 128;

/// Most operations of a page or a head.
pub const PAGE_OPERATIONS_MAX: usize = 1 << 16;

/// Most pages that an index names.
pub const INDEX_PAGES_MAX: usize = 1 << 16;

/// BLAKE3 derive-key context of a head's hash.
const HEAD_HASH_CONTEXT: &str = "datamesh 2026 head v1";

/// An account as nodes see it: the public half of a key that follows from the account's words and
/// the mesh, and from which neither can be told.
pub type Pseudonym = PublicKey;

/// The head of a log, as nodes keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Whose log it is; its key signed.
    pub account: Pseudonym,
    /// The log.
    pub log: LogId,
    /// 1 for the first head of the log, then one more for each.
    pub revision: u64,
    /// From when on nodes neither take it nor give it out; 0 for never.
    pub expiry: Timestamp,
    /// The log has ended: there is nothing sealed in this, and nothing comes after it that counts.
    /// Nodes give it out in place of what was before.
    pub ended: bool,
    /// The sealed [`HeadBody`], at most [`HEAD_SEALED_BYTES_MAX`]; empty where the log has ended.
    pub sealed: Bytes,
    /// The pseudonym's signature over everything above.
    pub signature: Signature,
}

impl Head {
    /// Newest version of the layout.
    pub const VERSION: u8 = 2;

    /// The version of heads that neither expire nor have ended: they are written as ever, so that nodes
    /// of before take them.
    const VERSION_LASTING: u8 = 1;

    /// The bytes that the pseudonym's key signs, of a head that neither expires nor has ended.
    pub fn signed_part(account: &Pseudonym, log: &LogId, revision: u64, sealed: &[u8]) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(Self::VERSION_LASTING).raw(&account.0).raw(&log.0).u64(revision).bytes(sealed);
        out.into_vec()
    }

    /// The bytes that the pseudonym's key signs: every field but the signature.
    pub fn signed(&self) -> Vec<u8> {
        if self.expiry == 0 && !self.ended {
            return Self::signed_part(&self.account, &self.log, self.revision, &self.sealed);
        }
        let mut out = Writer::new();
        out.u8(Self::VERSION).raw(&self.account.0).raw(&self.log.0).u64(self.revision);
        out.u64(self.expiry).flag(self.ended).bytes(&self.sealed);
        out.into_vec()
    }

    /// Whether it has expired by this time.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expiry != 0 && self.expiry <= now
    }

    /// The head's hash: two heads of one revision are the same if their hashes are.
    pub fn hash(&self) -> Hash {
        Hash::derive(HEAD_HASH_CONTEXT, &self.to_bytes())
    }

    /// Checks the pseudonym's signature.
    ///
    /// # Errors
    /// [`SignatureError`] where its key did not sign this in this mesh.
    pub fn verify(&self, mesh: &MeshId) -> Result<(), SignatureError> {
        self.account.verify(Context::Head, mesh, &self.signed(), &self.signature)
    }
}

impl Encode for Head {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.signed());
        self.signature.encode(out);
    }
}

impl Decode for Head {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let version = from.version("head", Self::VERSION)?;
        let (account, log) = (PublicKey::decode(from)?, LogId::decode(from)?);
        let revision = from.u64()?;
        if revision == 0 {
            return Err(WireError::Invalid { field: "revision" });
        }
        let (expiry, ended) = match version {
            Self::VERSION_LASTING => (0, false),
            _ => (from.u64()?, from.flag("end of a log")?),
        };
        // One that neither expires nor has ended has the layout of version 1 and no other.
        if version != Self::VERSION_LASTING && expiry == 0 && !ended {
            return Err(WireError::Invalid { field: "expiry" });
        }
        let bound = if ended { 0 } else { HEAD_SEALED_BYTES_MAX };
        let sealed = Bytes::copy_from_slice(from.bytes("sealed head", bound)?);
        let signature = Signature::decode(from)?;
        Ok(Self { account, log, revision, expiry, ended, sealed, signature })
    }
}

record! {
    /// Where a sealed object lies: a page of operations, or an index of pages.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct ObjectPlace {
        /// The segment, which holds nothing else.
        pub segment: SegmentId,
        /// Bytes of the sealed object; the rest of the segment is padding.
        pub length: u32,
    }
}

record! {
    /// A page of a log.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct PagePlace {
        /// Where it lies.
        pub place: ObjectPlace,
        /// Sequence of its first operation.
        pub first: u64,
        /// Sequence of its last operation.
        pub last: u64,
    }
}

record! {
    /// What a writer knew of another log.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Seen {
        /// The log.
        pub log: LogId,
        /// Sequence of its last operation that the writer had.
        pub sequence: u64,
        /// That operation's hash.
        pub hash: Hash,
    }
}

/// What is sealed in a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadBody {
    /// The device that writes the log, certified by the account.
    pub certificate: LogCertificate,
    /// The account's permission to store in this mesh, so that its words alone bring it back.
    pub grant: Option<Grant>,
    /// The log is closed: its writer took another, because this one had two heads of one revision.
    pub closed: bool,
    /// Sequence of the last operation; 0 before the first.
    pub sequence: u64,
    /// That operation's hash; zero before the first.
    pub hash: Hash,
    /// Older pages than those below, where there are many.
    pub index: Option<ObjectPlace>,
    /// Pages in the order of the log, behind one another; at most [`HEAD_PAGES_MAX`].
    pub pages: Vec<PagePlace>,
    /// The operations after the last page, in order.
    pub operations: Vec<Operation>,
    /// What the writer knew of other logs, at most [`HEAD_SEEN_MAX`].
    pub seen: Vec<Seen>,
}

impl HeadBody {
    /// Newest version of the layout.
    pub const VERSION: u8 = 1;
}

fn encode_operations(operations: &[Operation], out: &mut Writer) {
    out.u32(operations.len() as u32);
    for operation in operations {
        operation.encode(out);
    }
}

fn decode_operations(from: &mut Reader<'_>) -> Result<Vec<Operation>, WireError> {
    let length = from.u32()? as usize;
    if length > PAGE_OPERATIONS_MAX {
        return Err(WireError::Bound { field: "operations", length, bound: PAGE_OPERATIONS_MAX });
    }
    // Grows as operations are really there.
    (0..length).map(|_| Operation::decode(from)).collect()
}

impl Encode for HeadBody {
    fn encode(&self, out: &mut Writer) {
        out.u8(Self::VERSION);
        self.certificate.encode(out);
        out.flag(self.grant.is_some());
        if let Some(grant) = &self.grant {
            grant.encode(out);
        }
        out.flag(self.closed).u64(self.sequence).raw(&self.hash.0);
        out.flag(self.index.is_some());
        if let Some(index) = &self.index {
            index.encode(out);
        }
        out.list(&self.pages);
        encode_operations(&self.operations, out);
        out.list(&self.seen);
    }
}

impl Decode for HeadBody {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("head body", Self::VERSION)?;
        let certificate = LogCertificate::decode(from)?;
        let grant = if from.flag("grant")? { Some(Grant::decode(from)?) } else { None };
        let (closed, sequence) = (from.flag("closed")?, from.u64()?);
        let hash = Hash::decode(from)?;
        let index = if from.flag("index")? { Some(ObjectPlace::decode(from)?) } else { None };
        Ok(Self {
            certificate,
            grant,
            closed,
            sequence,
            hash,
            index,
            pages: from.list("pages", HEAD_PAGES_MAX)?,
            operations: decode_operations(from)?,
            seen: from.list("logs seen", HEAD_SEEN_MAX)?,
        })
    }
}

/// Operations of a log that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The operations in order.
    pub operations: Vec<Operation>,
}

impl Page {
    /// Newest version of the layout.
    pub const VERSION: u8 = 1;
}

impl Encode for Page {
    fn encode(&self, out: &mut Writer) {
        out.u8(Self::VERSION);
        encode_operations(&self.operations, out);
    }
}

impl Decode for Page {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("page", Self::VERSION)?;
        Ok(Self { operations: decode_operations(from)? })
    }
}

/// The older pages of a long log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageIndex {
    /// The pages in the order of the log, at most [`INDEX_PAGES_MAX`].
    pub pages: Vec<PagePlace>,
}

impl PageIndex {
    /// Newest version of the layout.
    pub const VERSION: u8 = 1;
}

impl Encode for PageIndex {
    fn encode(&self, out: &mut Writer) {
        out.u8(Self::VERSION).u32(self.pages.len() as u32);
        for page in &self.pages {
            page.encode(out);
        }
    }
}

impl Decode for PageIndex {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("index of pages", Self::VERSION)?;
        let length = from.u32()? as usize;
        if length > INDEX_PAGES_MAX {
            return Err(WireError::Bound { field: "pages", length, bound: INDEX_PAGES_MAX });
        }
        let pages = (0..length).map(|_| PagePlace::decode(from)).collect::<Result<_, _>>()?;
        Ok(Self { pages })
    }
}
