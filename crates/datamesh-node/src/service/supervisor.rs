//! What the system's service manager is told, where it asks (systemd, `Type=notify`).

use sd_notify::NotifyState;

/// How the service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It answers.
    Ready,
    /// It reads its settings again.
    Reloading,
    /// It is ending.
    Stopping,
}

/// Tells it. Nobody asks where there is no `NOTIFY_SOCKET`.
pub(super) fn tell(state: State) {
    let told = match state {
        State::Ready => sd_notify::notify(&[NotifyState::Ready]),
        State::Reloading => match NotifyState::monotonic_usec_now() {
            Ok(now) => sd_notify::notify(&[NotifyState::Reloading, now]),
            Err(error) => Err(error),
        },
        State::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
    };
    if let Err(error) = told {
        tracing::warn!(%error, ?state, "the service manager cannot be told");
    }
}
