//! Operations that pin files.

use datamesh_api::{
    OperationError, PinReply, PinRequest, PinTerms, PinnedFile, PinnedPath, PinsReply,
};
use datamesh_client::ClientError;

use super::HomeOperations;
use super::files::no_such_name;
use super::patterns::{Meant, Patterns};
use super::term::check_term;
use crate::convert;

fn wrap(error: ClientError) -> OperationError {
    convert::client_error(&error)
}

impl HomeOperations {
    pub(super) async fn do_pin(&self, request: PinRequest) -> Result<PinReply, OperationError> {
        let PinRequest { patterns, priority, term_ms } = request;
        check_term(term_ms).map_err(|error| error.hint("a pin without a duration does not end"))?;
        let patterns = Patterns::read(&patterns)?;
        let client = self.current_client().await?;
        let until = if term_ms == 0 { 0 } else { client.engine().now().saturating_add(term_ms) };
        let terms = priority.map(|priority| datamesh_client::PinTerms { priority, until });
        let catalog = self.whole_catalog().await?;
        let meant = self.blocking(catalog, move |_, catalog| patterns.files(catalog)).await?;
        let Meant { files: paths, unfit } = meant;
        if paths.is_empty() {
            return Err(no_such_name());
        }
        let done = client.pin(paths, terms).await.map_err(wrap)?;
        if done.files.is_empty() {
            return Err(no_such_name());
        }
        let file = |file: datamesh_client::PinnedPath| PinnedPath {
            path: file.path,
            unchanged: file.unchanged,
        };
        Ok(PinReply {
            files: done.files.into_iter().map(file).collect(),
            failed: [convert::failures(done.failed), unfit].concat(),
            segments: done.told.segments,
            told: done.told.told,
            unread: done.told.unread,
            pending: done.pending,
        })
    }

    pub(super) async fn do_pins(&self) -> Result<PinsReply, OperationError> {
        let client = self.current_client().await?;
        let mut pins: Vec<PinnedFile> = client
            .pins()
            .await
            .map_err(wrap)?
            .into_iter()
            .map(|pin| PinnedFile {
                file: pin.file,
                deleted: !pin.current,
                path: pin.path,
                terms: PinTerms { priority: pin.priority, until: pin.until },
                since: pin.created,
            })
            .collect();
        pins.sort_by(|a, b| (&a.path, a.file).cmp(&(&b.path, b.file)));
        Ok(PinsReply { pins })
    }
}
