//! Operations on the account's keys.

use datamesh_api::{
    DeviceInfo, EpochInfo, ErrorKind, KeysReply, KeysRequest, OperationError, RekeyReply,
    RotateReply, RotateRequest,
};
use datamesh_client::{CaughtUp, Client};
use datamesh_core::DeviceId;
use datamesh_crypto::Words;

use super::HomeOperations;
use super::collect::rewritten;
use crate::convert;

impl HomeOperations {
    pub(super) async fn do_keys(&self, request: KeysRequest) -> Result<KeysReply, OperationError> {
        let client = self.client().await?;
        let caught = if request.whole {
            client.catch_up_if_due().await.map_err(|error| convert::client_error(&error))?
        } else {
            client.catch_up_lately().await;
            CaughtUp::default()
        };
        let keys = client.keys();
        let (device, current) = (keys.device(), client.catalog().owner().log);
        let found = client.device_logs().await.map_err(|error| convert::client_error(&error))?;
        let epochs = client.epochs();
        let revoked = |device: &DeviceId| {
            let mut entries = epochs.iter().flat_map(|epochs| &epochs.revoked);
            entries.find(|entry| entry.device == *device).map(|entry| entry.epoch)
        };
        let logs = found
            .logs
            .into_iter()
            .map(|log| DeviceInfo {
                device: log.device,
                this: log.device == device,
                issued: log.issued,
                log: log.log,
                current: log.log == current,
                operations: log.operations,
                revoked: revoked(&log.device),
            })
            .collect();
        Ok(KeysReply {
            account: keys.account(),
            device,
            epochs: keys.epochs(),
            epoch: epochs
                .as_ref()
                .map(|epochs| EpochInfo { number: epochs.epoch, began: epochs.began }),
            logs,
            may_be_old: found.may_be_old || caught.may_be_old,
        })
    }

    pub(super) async fn do_rotate(
        &self,
        request: RotateRequest,
    ) -> Result<RotateReply, OperationError> {
        let words = Words::parse(request.words.as_str())
            .map_err(|error| OperationError::usage(error.to_string()))?;
        let client = self.whole_client().await?;
        let devices = devices_named(client, &request.revoke).await?;
        let rotated = client.rotate(&words, &devices).await;
        let rotated = rotated.map_err(|error| convert::client_error(&error))?;
        Ok(RotateReply {
            epoch: rotated.epoch,
            revoked: rotated.revoked,
            devices: rotated.devices,
            pending: rotated.pending,
        })
    }

    pub(super) async fn do_rekey(&self) -> Result<RekeyReply, OperationError> {
        let client = self.whole_client().await?;
        let done = client.rekey().await.map_err(|error| convert::client_error(&error))?;
        Ok(RekeyReply {
            epoch: done.epoch,
            versions: done.versions,
            bytes: done.bytes,
            rewritten: rewritten(done.rewritten),
            logs: done.logs,
        })
    }
}

/// The devices whose ids begin with these digits, each once.
async fn devices_named(client: &Client, names: &[String]) -> Result<Vec<DeviceId>, OperationError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let found = client.device_logs().await.map_err(|error| convert::client_error(&error))?;
    let mut known: Vec<DeviceId> = found.logs.iter().map(|log| log.device).collect();
    known.dedup();
    let mut devices = Vec::new();
    for name in names {
        let digits = name.to_ascii_lowercase();
        let begins =
            |device: &&DeviceId| !digits.is_empty() && device.to_string().starts_with(&digits);
        let mut matching = known.iter().filter(begins);
        let (first, more) = (matching.next(), matching.next());
        let (kind, message) = match (first, more) {
            (Some(device), None) => {
                if !devices.contains(device) {
                    devices.push(*device);
                }
                continue;
            }
            (Some(_), Some(_)) => {
                (ErrorKind::Usage, format!("more than one device begins with \"{name}\""))
            }
            (None, _) => (
                ErrorKind::NotFound,
                format!(
                    "no device of this account that has published anything begins with \"{name}\""
                ),
            ),
        };
        return Err(OperationError::new(kind, message).hint("see them with: datamesh keys list"));
    }
    Ok(devices)
}
