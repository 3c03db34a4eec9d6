//! Requests about sharing files and what comes of them.

use datamesh_core::{FileId, MeshPath, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

/// A link, or the password of one, on its way to whoever needs it. Not shown where a request is, and wiped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// Text as it was given; whether it is what it should be is seen where it is used.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText")
    }
}

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// With whom a file is to be shared.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ShareTarget {
    /// Whoever has the link.
    Link {
        /// And knows this, where there is one.
        password: Option<SecretText>,
    },
    /// A person, by the key that the person hands out.
    Person {
        /// The key as text.
        recipient: String,
    },
}

/// Share a file: its current version and every later one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShareRequest {
    /// A path, or the beginning of an id.
    pub name: String,
    /// With whom.
    pub to: ShareTarget,
    /// After how many milliseconds the share ends by itself; 0 for never.
    pub expires_ms: u64,
}

/// How a share stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareStanding {
    /// A quorum of nodes shows the newest version.
    Current,
    /// Too few nodes have taken what is newest yet.
    Pending,
    /// It was ended, and too few nodes have taken that yet.
    Ending,
    /// It was ended, and a quorum of nodes says so.
    Revoked,
    /// Its time is over.
    Expired,
}

/// A share.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShareInfo {
    /// Its id: 64 hexadecimal digits, of which the first few name it.
    pub share: String,
    /// The file's name now; nothing where it was deleted.
    pub path: Option<MeshPath>,
    /// The file.
    pub file: FileId,
    /// When it was made.
    #[serde(with = "crate::moment")]
    pub created: Timestamp,
    /// When it ends by itself; unknown for never.
    #[serde(with = "crate::moment")]
    pub expires: Timestamp,
    /// The key of the person whom it is for; nothing for a link.
    pub person: Option<String>,
    /// It opens with a password only.
    pub password: bool,
    /// How it stands.
    pub state: ShareStanding,
    /// The link or, for a person, the code; nothing where nobody asked for it.
    pub link: Option<SecretText>,
}

/// What was shared.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShareReply {
    /// The share, with its link.
    pub share: ShareInfo,
}

/// List shares.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SharesRequest {
    /// Only those of this file.
    pub name: Option<String>,
    /// Tell the links too.
    pub links: bool,
}

/// The account's shares.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SharesReply {
    /// In the order of their making.
    pub shares: Vec<ShareInfo>,
}

/// End shares.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnshareRequest {
    /// Ids or beginnings of ids, of at least four digits.
    pub shares: Vec<String>,
}

/// What was ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct UnshareReply {
    /// The shares; what too few nodes have taken yet says so by its state.
    pub shares: Vec<ShareInfo>,
}

/// Tell the key by which others share with this account, and let nodes show what it stands for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RecipientRequest {}

/// The account's key for others to share with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecipientReply {
    /// The key as text.
    pub recipient: String,
    /// A quorum of nodes shows what it stands for: others can share with it from now on.
    pub published: bool,
}
