//! SIGHUP: the settings are read again, and what can change while the node runs does.

use std::collections::BTreeMap;
use std::sync::Arc;

use datamesh_api::OperationError;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::supervisor::{State, tell};
use crate::config::{self, Config};
use crate::home::Home;
use crate::workers::{BandwidthWorker, Limits};

/// Settings that count at once; a dot at the end stands for all that begin so.
const AT_ONCE: [&str; 2] = ["bandwidth.", "repair.rate"];

/// Whether a running service takes up a change of this setting at SIGHUP; else at its next start.
pub fn counts_at_once(key: &str) -> bool {
    AT_ONCE.iter().any(|begin| key.starts_with(begin))
}

/// Catches SIGHUP from now on. Nothing where that cannot be.
pub(super) fn catch() -> Option<Signal> {
    signal(SignalKind::hangup())
        .inspect_err(|error| {
            tracing::warn!(%error, "SIGHUP cannot be caught: settings are not read again");
        })
        .ok()
}

/// Reads the settings again at each SIGHUP until `stop`.
pub(super) async fn run(
    home: Home,
    mut hangup: Signal,
    limits: Arc<BandwidthWorker>,
    stop: CancellationToken,
) {
    let mut before = values(&home).unwrap_or_default();
    while stop.run_until_cancelled(hangup.recv()).await.flatten().is_some() {
        tell(State::Reloading);
        match read(&home) {
            Ok((config, after)) => {
                let plan = config.bandwidth.clone();
                limits.change(Limits { plan, repair_rate: config.repair_rate });
                for (key, value) in &after {
                    if before.get(key) == Some(value) {
                        continue;
                    }
                    let counts =
                        if counts_at_once(key) { "at once" } else { "from the next start on" };
                    tracing::info!(key, value, counts, "a setting changed");
                }
                tracing::info!("the settings were read again");
                before = after;
            }
            Err(error) => {
                let error = &error.message;
                tracing::error!(%error, "the settings are wrong: those from before stay");
            }
        }
        tell(State::Ready);
    }
}

type Values = BTreeMap<&'static str, String>;

fn values(home: &Home) -> Result<Values, OperationError> {
    Ok(config::show(home)?.into_iter().map(|setting| (setting.key, setting.value)).collect())
}

fn read(home: &Home) -> Result<(Config, Values), OperationError> {
    Ok((config::load(home)?, values(home)?))
}
