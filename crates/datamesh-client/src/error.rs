//! Why an operation of the owner fails.

use datamesh_catalog::CatalogError;
use datamesh_core::stream::StreamError;
use datamesh_core::wire::WireError;
use datamesh_core::{DeviceId, LogId, MeshPath, Scheme, SegmentId};
use datamesh_crypto::compress::CompressError;
use datamesh_crypto::content::SealError;
use datamesh_crypto::frame::FrameError;
use datamesh_engine::{ReadError, WriteError};

use crate::share::SharingError;

/// Why an operation of the owner fails.
///
/// Cheap enough to clone: puts that share a segment share its failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The mesh has too few failure domains for the scheme.
    #[error(
        "the mesh has {domains} failure domains and a put as {scheme} needs at least {needed}; \
         with --allow-degraded it stores with less protection"
    )]
    TooFewDomains {
        /// The scheme.
        scheme: Scheme,
        /// Domains that a commit needs.
        needed: usize,
        /// Domains of members that are not gone.
        domains: usize,
    },
    /// Nothing is stored below a folder.
    #[error("there is nothing below \"{}\"", .folder.as_ref().map_or("", |folder| folder.as_str()))]
    NothingBelow {
        /// The folder; nothing for all files.
        folder: Option<MeshPath>,
    },
    /// No node is known at all.
    #[error("no node of the mesh is known or can be reached")]
    NoNodes,
    /// A segment could not be stored.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A segment could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The catalog failed.
    #[error("the catalog failed")]
    Catalog(#[from] CatalogError),
    /// What was fetched does not open.
    #[error("a frame of segment {segment} cannot be opened")]
    Frame {
        /// The segment.
        segment: SegmentId,
        /// Which frame.
        source: FrameError,
    },
    /// A head or page of the catalog is not what this account published.
    #[error("what the mesh has of log {log} does not fit together")]
    Head {
        /// The log.
        log: LogId,
    },
    /// Too few nodes answer to know whether the catalog of this device is the newest.
    #[error("too few nodes answer to know whether this device's catalog is the newest")]
    MayBeOld,
    /// Another process publishes to this device's log.
    #[error("another copy of this device publishes at the same time")]
    Contended,
    /// The mesh has other operations of this device's log than the device.
    #[error(
        "this device's log {log} has gone another way on the mesh: its files were copied and used twice"
    )]
    Forked {
        /// The log.
        log: LogId,
    },
    /// This device was revoked: nothing that it does counts any more.
    #[error(
        "this device was revoked when epoch {epoch} of the account's catalog began; {}",
        left_behind(*.unpublished, .names)
    )]
    Revoked {
        /// The epoch that began with it.
        epoch: u32,
        /// Changes of this device that were not published and never will be.
        unpublished: u64,
        /// Paths in them, the first few.
        names: Vec<MeshPath>,
    },
    /// A new epoch began without this device.
    #[error(
        "epoch {epoch} of the account's catalog began without this device, which had published \
         nothing before"
    )]
    LeftOut {
        /// The epoch.
        epoch: u32,
    },
    /// The words belong to another account.
    #[error("these are the words of another account")]
    Words,
    /// No device of the account has this id.
    #[error("no device {device} of this account has published anything")]
    NoDevice {
        /// What was asked for.
        device: DeviceId,
    },
    /// The device was revoked before.
    #[error("device {device} was revoked already, when epoch {epoch} began")]
    RevokedBefore {
        /// The device.
        device: DeviceId,
        /// The epoch that began with it.
        epoch: u32,
    },
    /// A device cannot revoke itself.
    #[error("this is device {device} itself, which cannot go on after it was revoked")]
    OwnDevice {
        /// The device.
        device: DeviceId,
    },
    /// More than an epochs record has room for.
    #[error("the account has {count} {what}, and an epoch has room for {bound}")]
    EpochFull {
        /// Of what there is too much.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        bound: usize,
    },
    /// Too few nodes took the record of a new epoch.
    #[error(
        "too few nodes answered while epoch {epoch} was to begin: it may have begun or not, and \
         nothing is lost either way"
    )]
    NotRotated {
        /// The epoch.
        epoch: u32,
    },
    /// Sealed catalog data does not open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Opened catalog data is not what it should be.
    #[error("the manifest cannot be read")]
    Manifest(#[source] WireError),
    /// The manifest of what somebody shares is longer than is read.
    #[error("the manifest of what is shared has {size} bytes, and at most {bound} are read")]
    ManifestLong {
        /// Its length.
        size: u64,
        /// How long it may be.
        bound: u64,
    },
    /// Sharing failed.
    #[error(transparent)]
    Sharing(#[from] SharingError),
    /// A manifest does not fit the segment that it names.
    #[error("the manifest names bytes that segment {segment} does not have")]
    Slice {
        /// The segment.
        segment: SegmentId,
    },
    /// A slice that is compressed does not give back its content.
    #[error("a part of segment {segment} cannot be decompressed")]
    Compressed {
        /// The segment.
        segment: SegmentId,
        /// Why.
        source: CompressError,
    },
    /// The file's hash is not the one of its version.
    #[error("the content of {path} does not have its version's hash")]
    Hash {
        /// The file.
        path: MeshPath,
    },
    /// There is no such file.
    #[error("there is no file \"{name}\"")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// It is a folder, and a file is wanted.
    #[error("\"{name}\" is a folder")]
    Folder {
        /// What was asked for.
        name: String,
    },
    /// The file was deleted.
    #[error("\"{name}\" was deleted")]
    Deleted {
        /// What was asked for.
        name: String,
    },
    /// The version was given up.
    #[error("that version of \"{name}\" was purged; its content is gone")]
    Purged {
        /// What was asked for.
        name: String,
    },
    /// The version is the current one already.
    #[error("that version of \"{name}\" is the current one")]
    Current {
        /// What was asked for.
        name: String,
    },
    /// A file has the name already.
    #[error("there is a file \"{path}\" already")]
    Taken {
        /// The name.
        path: MeshPath,
    },
    /// A folder has the name already.
    #[error("\"{path}\" is a folder")]
    TakenByFolder {
        /// The name.
        path: MeshPath,
    },
    /// The new name is the old one.
    #[error("\"{path}\" has that name")]
    SameName {
        /// The name.
        path: MeshPath,
    },
    /// A folder was to go below itself.
    #[error("\"{to}\" is in \"{path}\" itself")]
    IntoItself {
        /// The folder.
        path: MeshPath,
        /// Where it was to go.
        to: MeshPath,
    },
    /// A name that is no path, as it is too long.
    #[error("the name \"{path}\" is longer than names may be")]
    NameTooLong {
        /// The name.
        path: String,
    },
    /// An older version cannot get another name.
    #[error("\"{name}\" is not the current version of its file")]
    NotCurrent {
        /// What was asked for.
        name: String,
    },
    /// Too few nodes still have a segment that another version was to refer to.
    #[error(
        "{shards} shards of segment {segment} are left on nodes that answer, {needed} are needed"
    )]
    NotRenewed {
        /// The segment.
        segment: SegmentId,
        /// Distinct shards that were renewed.
        shards: u32,
        /// How many a commit needs.
        needed: u32,
    },
    /// There is no such version.
    #[error("\"{name}\" has no version {version}")]
    NoVersion {
        /// What was asked for.
        name: String,
        /// Which version.
        version: u64,
    },
    /// The range does not lie within the file.
    #[error("bytes {start} to {end} are not in \"{name}\", which has {size}")]
    Range {
        /// The file.
        name: String,
        /// First byte.
        start: u64,
        /// One after the last.
        end: u64,
        /// Bytes of the file.
        size: u64,
    },
    /// Tags that cannot be kept.
    #[error("{0}")]
    Tags(&'static str),
    /// A pin that cannot be.
    #[error("{0}")]
    PinTerms(&'static str),
    /// The other side of the operation broke off.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// This process is shutting down.
    #[error("shutting down")]
    Shutdown,
}

/// What a revoked device still has that nobody else has.
fn left_behind(unpublished: u64, names: &[MeshPath]) -> String {
    if unpublished == 0 {
        return "all that it had done before is published".to_owned();
    }
    let mut text = format!(
        "{unpublished} changes that it had not published stay in its own catalog and nowhere else"
    );
    for (number, name) in names.iter().enumerate() {
        text.push_str(if number == 0 { ": " } else { ", " });
        text.push_str(name.as_str());
    }
    text
}

impl From<datamesh_codec::code::CodeError> for ClientError {
    fn from(error: datamesh_codec::code::CodeError) -> Self {
        // The pipeline makes its own buffers, so this cannot be the user's doing.
        Self::Stream(StreamError::new(error))
    }
}
