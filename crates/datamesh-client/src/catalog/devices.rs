//! The account's devices, as their heads on the mesh tell.

use datamesh_core::{BoxFuture, DeviceId, LogId, Timestamp};

use crate::client::Client;
use crate::error::ClientError;

/// A log of the account and who writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceLog {
    /// The device.
    pub device: DeviceId,
    /// When the account certified it.
    pub issued: Timestamp,
    /// The log.
    pub log: LogId,
    /// Its operations.
    pub operations: u64,
}

/// All logs of the account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceLogs {
    /// The logs, by device and then by log.
    pub logs: Vec<DeviceLog>,
    /// Too few nodes answered to know that these are all.
    pub may_be_old: bool,
}

impl Client {
    /// Asks the mesh for all logs of the account. Heads that do not open are passed over.
    ///
    /// # Errors
    /// [`ClientError::Seal`] for keys without any epoch, which cannot be.
    pub fn device_logs(&self) -> BoxFuture<'_, Result<DeviceLogs, ClientError>> {
        Box::pin(async move {
            let account = self.keys.pseudonym(&self.engine.mesh())?;
            let read = self.engine.read_heads(&account, &[]).await;
            let mut logs: Vec<DeviceLog> = read
                .heads
                .values()
                .filter_map(|head| {
                    let body = self.keys.open_head(head).ok()?;
                    Some(DeviceLog {
                        device: body.certificate.device,
                        issued: body.certificate.issued,
                        log: head.log,
                        operations: body.sequence,
                    })
                })
                .collect();
            logs.sort_by_key(|log| (log.device, log.log));
            Ok(DeviceLogs { logs, may_be_old: !read.reached() })
        })
    }
}
