//! Connecting to a home's socket, and making sure whose it is.

use std::path::Path;

use datamesh_api::{ErrorKind, OperationError};
use tokio::net::UnixStream;

use crate::home::{Home, read_status};

/// The user id of the system's administrator, who can read everything here anyway.
const ROOT: u32 = 0;

/// A connection to the daemon of a home; nothing where none answers.
///
/// # Errors
/// [`ErrorKind::Failed`] where another user's process answers in its place: nothing is sent to it.
pub(crate) async fn reach_daemon(home: &Home) -> Result<Option<UnixStream>, OperationError> {
    let Some(status) = read_status(home) else { return Ok(None) };
    let own = rustix::process::getuid().as_raw();
    reach(&status.socket, &[own, ROOT]).await.map_err(|error| {
        error.hint(format!(
            "nothing was sent to it; if the service of this home does not run, remove {} and try \
             again",
            home.file("status.json").display()
        ))
    })
}

/// A connection to `socket` if one of `trusted` listens there; nothing where nobody does.
pub(crate) async fn reach(
    socket: &Path,
    trusted: &[u32],
) -> Result<Option<UnixStream>, OperationError> {
    let Ok(stream) = UnixStream::connect(socket).await else { return Ok(None) };
    // The system keeps who called listen(), whatever the socket's file says since.
    let message = match stream.peer_cred() {
        Ok(peer) if trusted.contains(&peer.uid()) => return Ok(Some(stream)),
        Ok(peer) => format!(
            "{} is not the daemon of this home: user {} listens there",
            socket.display(),
            peer.uid()
        ),
        Err(error) => {
            format!("the system does not say who listens on {}: {error}", socket.display())
        }
    };
    Err(OperationError::new(ErrorKind::Failed, message))
}
