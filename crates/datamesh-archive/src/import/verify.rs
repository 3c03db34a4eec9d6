//! Reads back what was stored.

use bytes::Bytes;
use datamesh_api::{GetRequest, Operations};
use datamesh_core::stream::{EntryHead, Sink, StreamError};
use datamesh_core::{BoxFuture, Hash, VersionId};

/// Hashes what comes and keeps nothing.
#[derive(Default)]
struct Hashing {
    hasher: blake3::Hasher,
    whole: bool,
}

impl Sink for Hashing {
    fn begin(&mut self, _: EntryHead) -> BoxFuture<'_, Result<u64, StreamError>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), StreamError>> {
        self.hasher.update(&bytes);
        Box::pin(std::future::ready(Ok(())))
    }

    fn end(&mut self, failure: Option<String>) -> BoxFuture<'_, Result<(), StreamError>> {
        self.whole = failure.is_none();
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Fetches a version and compares it.
///
/// # Errors
/// What is wrong with it.
pub(super) async fn verify(
    operations: &dyn Operations,
    version: VersionId,
    expected: Hash,
) -> Result<(), String> {
    let request = GetRequest::File { name: version.to_string(), version: None, range: None };
    let mut sink = Hashing::default();
    let fetched = operations.get(request, &mut sink, std::sync::Arc::new(|_| {})).await;
    fetched.map_err(|error| format!("it was stored and cannot be read back: {}", error.message))?;
    if !sink.whole {
        return Err("it was stored and did not come back whole".to_owned());
    }
    match Hash(*sink.hasher.finalize().as_bytes()) == expected {
        true => Ok(()),
        false => Err("it was stored and came back with other content".to_owned()),
    }
}
