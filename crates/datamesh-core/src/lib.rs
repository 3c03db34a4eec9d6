//! The words of DataMesh: what two crates must be able to say to each other.
//!
//! Ids, schemes, descriptors, signed records, wire messages, the catalog's operations, and the
//! seams ([`Transport`], [`Clock`], [`Entropy`], [`Executor`], [`Signer`]) behind which time,
//! chance, network and blocking work live. Nothing here starts a runtime, opens a file, asks a
//! clock or holds a secret.

pub mod advert;
pub mod audit;
pub mod catalog;
pub mod certificate;
pub mod descriptor;
pub mod domain;
pub mod epochs;
pub mod genesis;
pub mod grant;
pub mod head;
pub mod id;
pub mod invite;
pub mod lease;
pub mod message;
pub mod padding;
pub mod path;
pub mod receipt;
pub mod scheme;
pub mod seam;
pub mod share;
pub mod signature;
pub mod stream;
pub mod wire;

pub use advert::Advert;
pub use certificate::NodeCertificate;
pub use descriptor::Descriptor;
pub use domain::Domain;
pub use genesis::Genesis;
pub use grant::{Grant, StoreTicket};
pub use head::Head;
pub use id::{
    AccountId, ContentTag, DeviceId, FileId, GrantId, Hash, LogId, MeshId, NodeId, SegmentId,
    VersionId,
};
pub use invite::InviteTicket;
pub use path::MeshPath;
pub use receipt::Receipt;
pub use scheme::Scheme;
pub use seam::{
    BoxFuture, Clock, Entropy, Executor, Message, Service, Signer, Timestamp, Transport,
    TransportError,
};
pub use signature::{Context, PublicKey, Signature, SignatureError};
