//! Why sharing fails.

use datamesh_core::Timestamp;
use datamesh_crypto::ShareError;

/// Why a file cannot be shared or what is shared cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SharingError {
    /// A folder was to be shared.
    #[error("\"{name}\" is a folder, and only files can be shared")]
    Folder {
        /// What was asked for.
        name: String,
    },
    /// It would end before it begins.
    #[error("the share would have expired already")]
    ExpiryPast,
    /// The key of the person belongs to another mesh.
    #[error("the key of the person belongs to another mesh")]
    OtherMesh,
    /// The slot of the person's key is empty.
    #[error("the mesh has nothing of this person yet")]
    NoContact,
    /// No share of the account begins with these digits.
    #[error("no share of this account begins with \"{name}\"")]
    NoShare {
        /// What was asked for.
        name: String,
    },
    /// Several do.
    #[error("more than one share begins with \"{name}\"")]
    Ambiguous {
        /// What was asked for.
        name: String,
    },
    /// The share was revoked.
    #[error("the share was revoked by its owner")]
    Revoked,
    /// The share has expired.
    #[error("the share has expired")]
    Expired {
        /// When.
        expiry: Timestamp,
    },
    /// Nothing is there.
    #[error("the mesh has no such share: it was not published yet, or has expired")]
    Gone,
    /// Too few nodes answer to know that it was not revoked.
    #[error("too few nodes answer to know whether the share is as it was")]
    MayBeOld,
    /// It does not open.
    #[error(transparent)]
    Share(#[from] ShareError),
}
