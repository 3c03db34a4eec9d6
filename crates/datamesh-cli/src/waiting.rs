//! Work that waits for somebody else: a person who types, or the other end of a pipe.

use datamesh_api::OperationError;

use crate::error::failed;

/// Does such work beside the command's own thread, so that a signal ends the command all the same.
///
/// # Errors
/// [`OperationError`] where the work panicked.
pub(crate) async fn waiting<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OperationError> {
    tokio::task::spawn_blocking(work).await.map_err(failed)
}
