//! What is asked of an account's keys.

use datamesh_core::{AccountId, DeviceId, LogId, Timestamp};
use serde::{Deserialize, Serialize};

/// List the account's devices.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KeysRequest {}

/// A log of the account and the device that writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// The device.
    pub device: DeviceId,
    /// It is this one.
    pub this: bool,
    /// When the account certified it, in milliseconds since 1970.
    pub issued: Timestamp,
    /// The log.
    pub log: LogId,
    /// The device adds to this log now; known of this device only.
    pub current: bool,
    /// Operations that it has published in the log.
    pub operations: u64,
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
    /// Logs by device. A device that has published nothing is not here.
    pub logs: Vec<DeviceInfo>,
    /// Too few nodes answered to know that these are all.
    pub may_be_old: bool,
}
