//! Operations: every change to what an account owns.
//!
//! A device appends operations to its own log; the account certifies the log's key. An operation
//! names its predecessor's hash, so a log cannot lose or exchange an entry unnoticed. The catalog
//! is the fold of all operations; unknown kinds are kept and passed over, so that an older program
//! loses nothing that a newer one wrote. Layout: `docs/specs/operation.md`.

use bytes::Bytes;

use crate::id::{AccountId, DeviceId, FileId, Hash, LogId, MeshId, VersionId};
use crate::lease::PIN_PRIORITY_MAX;
use crate::path::MeshPath;
use crate::record;
use crate::scheme::Scheme;
use crate::seam::Timestamp;
use crate::share::{Share, Unshare};
use crate::signature::{Context, PublicKey, Signature, SignatureError};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// BLAKE3 derive-key context of operation hashes.
const OPERATION_HASH_CONTEXT: &str = "datamesh 2026 operation v1";

/// Largest encoded body of an operation in bytes.
pub const OPERATION_BODY_BYTES_MAX: usize = 64 * 1024;

/// Files up to this many bytes live inside their operation.
pub const INLINE_BYTES_MAX: usize = 4096;

/// A manifest whose encoding has up to this many bytes lives, sealed, inside its operation; a longer
/// one is stored in segments of its own.
pub const MANIFEST_INLINE_BYTES_MAX: usize = 16 * 1024;

/// Most tags of a file.
pub const TAGS_MAX: usize = 64;

/// Most versions that one operation gives up.
pub const PURGED_MAX: usize = 1024;

/// Longest tag in bytes.
pub const TAG_BYTES_MAX: usize = 128;

/// Longest note of a version in bytes.
pub const NOTE_BYTES_MAX: usize = 4096;

/// Bytes of an [`EncapsulationKey`]: 1184 of ML-KEM-768, 32 of X25519.
pub const ENCAPSULATION_KEY_BYTES: usize = 1216;

/// The public half of an X-Wing key (X25519 and ML-KEM-768), which others wrap keys to.
#[derive(Clone, PartialEq, Eq)]
pub struct EncapsulationKey(pub Box<[u8; ENCAPSULATION_KEY_BYTES]>);

impl std::fmt::Debug for EncapsulationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EncapsulationKey({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

impl Encode for EncapsulationKey {
    fn encode(&self, out: &mut Writer) {
        out.raw(&*self.0);
    }
}

impl Decode for EncapsulationKey {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self(Box::new(from.array()?)))
    }
}

record! {
    /// The account's statement that a device's log key speaks for it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LogCertificate {
        /// The account.
        pub account: AccountId,
        /// The device.
        pub device: DeviceId,
        /// The key that signs the device's operations and heads.
        pub log_key: PublicKey,
        /// The key that what is for this device alone is wrapped to.
        pub encapsulation: EncapsulationKey,
        /// When it was certified.
        pub issued: Timestamp,
        /// The account identity key's signature over the fields above.
        pub signature: Signature,
    }
}

impl LogCertificate {
    /// The bytes that the account signs.
    pub fn signed_part(
        account: &AccountId,
        device: &DeviceId,
        log_key: &PublicKey,
        encapsulation: &EncapsulationKey,
        issued: Timestamp,
    ) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(&account.0).raw(&device.0).raw(&log_key.0).raw(&*encapsulation.0).u64(issued);
        out.into_vec()
    }

    /// Checks the account's signature. An account exists before it enters a mesh, so the mesh id
    /// in these signatures is zero.
    ///
    /// # Errors
    /// [`SignatureError`] where the account did not sign this.
    pub fn verify(&self) -> Result<(), SignatureError> {
        let body = Self::signed_part(
            &self.account,
            &self.device,
            &self.log_key,
            &self.encapsulation,
            self.issued,
        );
        PublicKey::from(self.account).verify(
            Context::LogCertificate,
            &MeshId([0; 32]),
            &body,
            &self.signature,
        )
    }
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The log that it belongs to.
    pub log: LogId,
    /// Place in the log: 1 for the first, then without gaps.
    pub sequence: u64,
    /// Hybrid logical clock: milliseconds in the upper 48 bits, a counter in the lower 16. Later
    /// operations of one account that knew of earlier ones have higher values; ties go by log.
    pub clock: u64,
    /// Hash of the log's operation before; zero for the first.
    pub previous: Hash,
    /// What happened.
    pub change: Change,
    /// The log key's signature over everything above.
    pub signature: Signature,
}

impl Operation {
    /// Newest version of the layout.
    pub const VERSION: u8 = 1;

    /// The bytes that the log key signs. The mesh id in these signatures is zero, as the catalog
    /// may move between meshes.
    pub fn signed_part(
        log: &LogId,
        sequence: u64,
        clock: u64,
        previous: &Hash,
        change: &Change,
    ) -> Vec<u8> {
        let (kind, body) = change.parts();
        let mut out = Writer::new();
        out.u8(Self::VERSION).raw(&log.0).u64(sequence).u64(clock).raw(&previous.0);
        out.u8(kind).bytes(&body);
        out.into_vec()
    }

    /// The operation's hash, which its successor names.
    pub fn hash(&self) -> Hash {
        Hash::derive(OPERATION_HASH_CONTEXT, &self.to_bytes())
    }

    /// Checks the log key's signature.
    ///
    /// # Errors
    /// [`SignatureError`] where `log_key` did not sign this.
    pub fn verify(&self, log_key: &PublicKey) -> Result<(), SignatureError> {
        let body =
            Self::signed_part(&self.log, self.sequence, self.clock, &self.previous, &self.change);
        log_key.verify(Context::Operation, &MeshId([0; 32]), &body, &self.signature)
    }
}

impl Encode for Operation {
    fn encode(&self, out: &mut Writer) {
        out.raw(&Self::signed_part(
            &self.log,
            self.sequence,
            self.clock,
            &self.previous,
            &self.change,
        ));
        self.signature.encode(out);
    }
}

impl Decode for Operation {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("operation", Self::VERSION)?;
        let log = LogId::decode(from)?;
        let (sequence, clock) = (from.u64()?, from.u64()?);
        let previous = Hash::decode(from)?;
        let kind = from.u8()?;
        let change =
            Change::from_parts(kind, from.bytes("operation body", OPERATION_BODY_BYTES_MAX)?)?;
        Ok(Self { log, sequence, clock, previous, change, signature: Signature::decode(from)? })
    }
}

/// What an operation changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new version of a file, or its first.
    Put(Box<Put>),
    /// A delete marker: the path is gone from listings, its versions stay.
    Delete(Delete),
    /// Versions that are given up: their content is not to be had any more.
    Purge(Purge),
    /// A version's content lies elsewhere now: the same bytes in other segments.
    Rewrite(Box<Rewrite>),
    /// Tags and a note of a version are others now.
    Label(Label),
    /// A file is pinned, or no longer.
    Pin(Pin),
    /// A file is shared.
    Share(Box<Share>),
    /// A share ends.
    Unshare(Unshare),
    /// A kind that this program does not know, kept as it came.
    Unknown {
        /// The kind's number.
        kind: u8,
        /// Its body.
        body: Bytes,
    },
}

impl Change {
    const PUT: u8 = 1;
    const DELETE: u8 = 2;
    const PURGE: u8 = 3;
    const REWRITE: u8 = 4;
    const LABEL: u8 = 5;
    const PIN: u8 = 6;
    const SHARE: u8 = 7;
    const UNSHARE: u8 = 8;

    /// The path at which it puts or deletes; nothing for what leaves all paths as they are.
    pub fn path(&self) -> Option<&MeshPath> {
        match self {
            Self::Put(put) => Some(&put.path),
            Self::Delete(delete) => Some(&delete.path),
            Self::Purge(_)
            | Self::Rewrite(_)
            | Self::Label(_)
            | Self::Pin(_)
            | Self::Share(_)
            | Self::Unshare(_)
            | Self::Unknown { .. } => None,
        }
    }

    fn parts(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Put(put) => (Self::PUT, put.to_bytes()),
            Self::Delete(delete) => (Self::DELETE, delete.to_bytes()),
            Self::Purge(purge) => (Self::PURGE, purge.to_bytes()),
            Self::Rewrite(rewrite) => (Self::REWRITE, rewrite.to_bytes()),
            Self::Label(label) => (Self::LABEL, label.to_bytes()),
            Self::Pin(pin) => (Self::PIN, pin.to_bytes()),
            Self::Share(share) => (Self::SHARE, share.to_bytes()),
            Self::Unshare(unshare) => (Self::UNSHARE, unshare.to_bytes()),
            Self::Unknown { kind, body } => (*kind, body.to_vec()),
        }
    }

    fn from_parts(kind: u8, body: &[u8]) -> Result<Self, WireError> {
        match kind {
            0 => Err(WireError::Invalid { field: "operation kind" }),
            Self::PUT => Ok(Self::Put(Box::new(crate::wire::decode(body)?))),
            Self::DELETE => Ok(Self::Delete(crate::wire::decode(body)?)),
            Self::PURGE => Ok(Self::Purge(crate::wire::decode(body)?)),
            Self::REWRITE => Ok(Self::Rewrite(Box::new(crate::wire::decode(body)?))),
            Self::LABEL => Ok(Self::Label(crate::wire::decode(body)?)),
            Self::PIN => Ok(Self::Pin(crate::wire::decode(body)?)),
            Self::SHARE => Ok(Self::Share(Box::new(crate::wire::decode(body)?))),
            Self::UNSHARE => Ok(Self::Unshare(crate::wire::decode(body)?)),
            _ => Ok(Self::Unknown { kind, body: Bytes::copy_from_slice(body) }),
        }
    }
}

/// What kind of entry a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// An empty folder; folders with files in them exist by the files' paths.
    Folder,
}

/// The wrap of a version key, for whoever may open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// How it is wrapped: [`WrappedKey::SYMMETRIC`]; other numbers come with sharing.
    pub suite: u8,
    /// The catalog key's epoch.
    pub epoch: u32,
    /// The wrapped bytes.
    pub bytes: Bytes,
}

impl WrappedKey {
    /// AES-256-GCM under the catalog key of the epoch: nonce (12 bytes), key (32), tag (16).
    pub const SYMMETRIC: u8 = 1;

    /// Largest wrap in bytes: HPKE with X-Wing takes 1168 for a key and its tag.
    pub const BYTES_MAX: usize = 2048;
}

impl Encode for WrappedKey {
    fn encode(&self, out: &mut Writer) {
        out.u8(self.suite).u32(self.epoch).bytes(&self.bytes);
    }
}

impl Decode for WrappedKey {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let (suite, epoch) = (from.u8()?, from.u32()?);
        let bytes = Bytes::copy_from_slice(from.bytes("wrapped key", Self::BYTES_MAX)?);
        Ok(Self { suite, epoch, bytes })
    }
}

/// Where the content of a version is; every form is sealed under the version key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The bytes themselves, sealed.
    Inline(Bytes),
    /// The manifest, sealed.
    Manifest(Bytes),
    /// The manifest of the manifest, sealed: the manifest is stored in segments of its own, in slices
    /// like a file.
    Meta(Bytes),
}

impl Content {
    /// The number that stands for the form in the encoding and in the seal's authenticated data.
    pub fn tag(&self) -> u8 {
        match self {
            Self::Inline(_) => 1,
            Self::Manifest(_) => 2,
            Self::Meta(_) => 3,
        }
    }

    /// The sealed bytes.
    pub fn sealed(&self) -> &Bytes {
        match self {
            Self::Inline(bytes) | Self::Manifest(bytes) | Self::Meta(bytes) => bytes,
        }
    }
}

impl Encode for Content {
    fn encode(&self, out: &mut Writer) {
        out.u8(self.tag()).bytes(self.sealed());
    }
}

impl Decode for Content {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let tag = from.u8()?;
        let sealed = Bytes::copy_from_slice(from.bytes("content", MANIFEST_INLINE_BYTES_MAX + 64)?);
        match tag {
            1 => Ok(Self::Inline(sealed)),
            2 => Ok(Self::Manifest(sealed)),
            3 => Ok(Self::Meta(sealed)),
            _ => Err(WireError::Invalid { field: "content" }),
        }
    }
}

/// How safely a version was stored when it was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protection {
    /// The scheme of its segments.
    pub scheme: Scheme,
    /// Written with `--allow-degraded`: several shards of a segment may share a failure domain.
    pub degraded: bool,
    /// Shards above k that the worst segment had at the acknowledgement; m where nothing is owed.
    pub margin: u8,
}

impl Encode for Protection {
    fn encode(&self, out: &mut Writer) {
        out.u8(self.scheme.k() as u8).u8(self.scheme.m() as u8);
        out.flag(self.degraded).u8(self.margin);
    }
}

impl Decode for Protection {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let scheme = Scheme::new(from.u8()?, from.u8()?)
            .map_err(|_| WireError::Invalid { field: "scheme" })?;
        Ok(Self { scheme, degraded: from.flag("degraded")?, margin: from.u8()? })
    }
}

/// A new version of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The file.
    pub file: FileId,
    /// The version.
    pub version: VersionId,
    /// The version that the writer knew as the current one of the path; zeros for none. Two versions
    /// that replace the same one were made without knowledge of each other.
    pub replaces: VersionId,
    /// Its name.
    pub path: MeshPath,
    /// File or folder.
    pub kind: EntryKind,
    /// POSIX permission bits as they were at the source; 0 where unknown.
    pub mode: u32,
    /// When the source was last changed; 0 where unknown.
    pub modified: Timestamp,
    /// When the version was made, by the device's clock.
    pub created: Timestamp,
    /// Bytes of plaintext.
    pub size: u64,
    /// BLAKE3 of the plaintext.
    pub hash: Hash,
    /// Its tags, none empty, in the order of their bytes, each once.
    pub tags: Vec<String>,
    /// How safely it was stored; nothing for inline content and folders, which live in the catalog.
    pub protection: Option<Protection>,
    /// The version key, wrapped.
    pub key: WrappedKey,
    /// The sealed content or manifest.
    pub content: Content,
}

impl Encode for Put {
    fn encode(&self, out: &mut Writer) {
        self.file.encode(out);
        self.version.encode(out);
        self.replaces.encode(out);
        self.path.encode(out);
        out.u8(match self.kind {
            EntryKind::File => 1,
            EntryKind::Folder => 2,
        });
        out.u32(self.mode).u64(self.modified).u64(self.created).u64(self.size).raw(&self.hash.0);
        out.texts(&self.tags);
        out.flag(self.protection.is_some());
        if let Some(protection) = &self.protection {
            protection.encode(out);
        }
        self.key.encode(out);
        self.content.encode(out);
    }
}

impl Decode for Put {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let (file, version) = (FileId::decode(from)?, VersionId::decode(from)?);
        let replaces = VersionId::decode(from)?;
        let path = MeshPath::decode(from)?;
        let kind = match from.u8()? {
            1 => EntryKind::File,
            2 => EntryKind::Folder,
            _ => return Err(WireError::Invalid { field: "entry kind" }),
        };
        let (mode, modified, created, size) = (from.u32()?, from.u64()?, from.u64()?, from.u64()?);
        let hash = Hash::decode(from)?;
        let tags = decode_tags(from)?;
        let protection =
            if from.flag("protection")? { Some(Protection::decode(from)?) } else { None };
        Ok(Self {
            file,
            version,
            replaces,
            path,
            kind,
            mode,
            modified,
            created,
            size,
            hash,
            tags,
            protection,
            key: WrappedKey::decode(from)?,
            content: Content::decode(from)?,
        })
    }
}

/// Tags as every record has them: none empty, in the order of their bytes, each once.
fn decode_tags(from: &mut Reader<'_>) -> Result<Vec<String>, WireError> {
    let tags = from.texts("tags", TAGS_MAX, TAG_BYTES_MAX)?;
    let in_order = tags.windows(2).all(|pair| pair[0] < pair[1]);
    if !in_order || tags.first().is_some_and(String::is_empty) {
        return Err(WireError::Invalid { field: "tags" });
    }
    Ok(tags)
}

/// A delete marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// The file.
    pub file: FileId,
    /// The marker's own version id, so that versions list it.
    pub version: VersionId,
    /// The version that is deleted.
    pub replaces: VersionId,
    /// The name that is deleted.
    pub path: MeshPath,
    /// When, by the device's clock.
    pub created: Timestamp,
}

impl Encode for Delete {
    fn encode(&self, out: &mut Writer) {
        self.file.encode(out);
        self.version.encode(out);
        self.replaces.encode(out);
        self.path.encode(out);
        out.u64(self.created);
    }
}

impl Decode for Delete {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            file: FileId::decode(from)?,
            version: VersionId::decode(from)?,
            replaces: VersionId::decode(from)?,
            path: MeshPath::decode(from)?,
            created: from.u64()?,
        })
    }
}

/// Gives versions up. Their operations stay in the logs, as the chain needs them; what they refer to
/// may be released once this is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    /// The versions, at most [`PURGED_MAX`], at least one, in the order of their ids, each once.
    pub versions: Vec<VersionId>,
    /// When, by the device's clock.
    pub created: Timestamp,
}

impl Encode for Purge {
    fn encode(&self, out: &mut Writer) {
        out.list(&self.versions).u64(self.created);
    }
}

impl Decode for Purge {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let versions: Vec<VersionId> = from.list("purged versions", PURGED_MAX)?;
        if versions.is_empty() || !versions.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(WireError::Invalid { field: "purged versions" });
        }
        Ok(Self { versions, created: from.u64()? })
    }
}

/// Says where the content of a version lies now, in place of what its put, or an earlier one of these,
/// said. The bytes of the file are the same. Of several for one version the one with the highest clock
/// counts, and of equal clocks the one of the highest log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// The version.
    pub version: VersionId,
    /// When, by the device's clock.
    pub created: Timestamp,
    /// How safely it is stored now.
    pub protection: Protection,
    /// The key that its manifest is sealed under now, wrapped.
    pub key: WrappedKey,
    /// The sealed manifest; never inline content.
    pub content: Content,
}

impl Encode for Rewrite {
    fn encode(&self, out: &mut Writer) {
        self.version.encode(out);
        out.u64(self.created);
        self.protection.encode(out);
        self.key.encode(out);
        self.content.encode(out);
    }
}

impl Decode for Rewrite {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let (version, created) = (VersionId::decode(from)?, from.u64()?);
        let protection = Protection::decode(from)?;
        let (key, content) = (WrappedKey::decode(from)?, Content::decode(from)?);
        if matches!(content, Content::Inline(_)) {
            return Err(WireError::Invalid { field: "rewritten content" });
        }
        Ok(Self { version, created, protection, key, content })
    }
}

/// Changes the tags of a version, and its note. All labels of a version count, in the order of their
/// clocks and then of their logs, so that what two devices add without knowledge of each other is both there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The version.
    pub version: VersionId,
    /// When, by the device's clock.
    pub created: Timestamp,
    /// Tags that it has from now on, in the order of their bytes, each once. Of those beyond the
    /// [`TAGS_MAX`] of a version the last are passed over.
    pub add: Vec<String>,
    /// Tags that it has no longer, likewise; taken away before the others are added.
    pub remove: Vec<String>,
    /// Its note from now on, at most [`NOTE_BYTES_MAX`], empty for none; nothing where that stays.
    pub note: Option<String>,
}

impl Encode for Label {
    fn encode(&self, out: &mut Writer) {
        self.version.encode(out);
        out.u64(self.created).texts(&self.add).texts(&self.remove).flag(self.note.is_some());
        if let Some(note) = &self.note {
            out.text(note);
        }
    }
}

impl Decode for Label {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let (version, created) = (VersionId::decode(from)?, from.u64()?);
        let (add, remove) = (decode_tags(from)?, decode_tags(from)?);
        let noted = from.flag("note")?;
        let note = if noted { Some(from.text("note", NOTE_BYTES_MAX)?) } else { None };
        Ok(Self { version, created, add, remove, note })
    }
}

/// Pins a file, with all its versions, or ends that. Of several for one file the one with the highest
/// clock counts, and of equal clocks the one of the highest log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// The file.
    pub file: FileId,
    /// When, by the device's clock.
    pub created: Timestamp,
    /// 1 to [`PIN_PRIORITY_MAX`]; 0 for a file that is pinned no longer.
    pub priority: u8,
    /// When the pin ends, by the clock of whoever looks; 0 where it does not.
    pub until: Timestamp,
}

impl Encode for Pin {
    fn encode(&self, out: &mut Writer) {
        self.file.encode(out);
        out.u64(self.created).u8(self.priority).u64(self.until);
    }
}

impl Decode for Pin {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let (file, created) = (FileId::decode(from)?, from.u64()?);
        let (priority, until) = (from.u8()?, from.u64()?);
        if priority > PIN_PRIORITY_MAX || (priority == 0 && until != 0) {
            return Err(WireError::Invalid { field: "pin" });
        }
        Ok(Self { file, created, priority, until })
    }
}

/// The sealed content of a version, by its put or a rewrite.
#[derive(Debug, Clone, Copy)]
pub struct SealedContent<'a> {
    /// The version.
    pub version: &'a VersionId,
    /// The key, wrapped.
    pub key: &'a WrappedKey,
    /// The content.
    pub content: &'a Content,
}

impl Put {
    /// What its content opens with.
    pub fn sealed(&self) -> SealedContent<'_> {
        SealedContent { version: &self.version, key: &self.key, content: &self.content }
    }
}

impl Rewrite {
    /// What its content opens with.
    pub fn sealed(&self) -> SealedContent<'_> {
        SealedContent { version: &self.version, key: &self.key, content: &self.content }
    }
}
