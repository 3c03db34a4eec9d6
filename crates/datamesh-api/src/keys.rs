//! What is asked of an account's keys.

use datamesh_core::{AccountId, DeviceId, LogId, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use crate::collect::RewriteReply;

/// List the account's devices.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KeysRequest {
    /// Take in all that the devices did first, however long that takes; else as much as comes without waiting for
    /// nodes that do not answer.
    pub whole: bool,
}

/// A log of the account and the device that writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// The device.
    pub device: DeviceId,
    /// It is this one.
    pub this: bool,
    /// When the account certified it, in milliseconds since 1970.
    #[serde(with = "crate::moment")]
    pub issued: Timestamp,
    /// The log.
    pub log: LogId,
    /// The device adds to this log now; known of this device only.
    pub current: bool,
    /// Operations that it has published in the log.
    pub operations: u64,
    /// The epoch with which the device was revoked.
    pub revoked: Option<u32>,
}

/// A catalog epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochInfo {
    /// Its number.
    pub number: u32,
    /// When it began, in milliseconds since 1970.
    #[serde(with = "crate::moment")]
    pub began: Timestamp,
}

/// The account and its devices.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeysReply {
    /// The account.
    pub account: AccountId,
    /// This device.
    pub device: DeviceId,
    /// The catalog epochs that this device has the keys of.
    pub epochs: Vec<u32>,
    /// The epoch that counts, as far as this device knows, and when it began; nothing while the
    /// first lasts.
    pub epoch: Option<EpochInfo>,
    /// Logs by device. A device that has published nothing is not here.
    pub logs: Vec<DeviceInfo>,
    /// Too few nodes answered to know that these are all.
    pub may_be_old: bool,
}

/// The account's words on their way to whoever needs them. Not shown where a request is, and wiped.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WordsText(String);

impl WordsText {
    /// Words as they were given; whether they are any is seen where they are used.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for WordsText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WordsText")
    }
}

impl Drop for WordsText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Begin a new epoch of the account's catalog.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RotateRequest {
    /// The account's words.
    pub words: WordsText,
    /// Devices that are out of it from then on: ids or beginnings of ids.
    pub revoke: Vec<String>,
}

/// An epoch began.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RotateReply {
    /// The epoch.
    pub epoch: u32,
    /// Devices that were revoked with it.
    pub revoked: Vec<DeviceId>,
    /// Devices that go on.
    pub devices: Vec<DeviceId>,
    /// Operations of this device that no quorum of the mesh has yet.
    pub pending: u64,
}

/// Seal everything anew that was sealed in an epoch before the newest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RekeyRequest {}

/// What was sealed anew.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RekeyReply {
    /// The epoch whose keys everything has now, unless `versions` says that some are left.
    pub epoch: u32,
    /// Versions that had content under earlier keys.
    pub versions: u64,
    /// Bytes of that content.
    pub bytes: u64,
    /// What came of it: fewer versions than above are rewritten where the mesh is away.
    pub rewritten: RewriteReply,
    /// Logs whose pages were stored anew.
    pub logs: u64,
}
