//! Operations on the account's keys.

use datamesh_api::{DeviceInfo, KeysReply, OperationError};

use super::HomeOperations;

impl HomeOperations {
    pub(super) async fn do_keys(&self) -> Result<KeysReply, OperationError> {
        let client = self.client().await?;
        let keys = client.keys();
        let (device, current) = (keys.device(), client.catalog().owner().log);
        let found = client.device_logs().await;
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
            })
            .collect();
        Ok(KeysReply {
            account: keys.account(),
            device,
            epochs: keys.epochs(),
            logs,
            may_be_old: found.may_be_old,
        })
    }
}
