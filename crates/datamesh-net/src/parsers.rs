//! What a stranger's bytes or a damaged file meet first, as functions of bytes: for the fuzzer, which
//! nothing of this may make panic, hang or allocate without bound.

use std::cell::OnceCell;
use std::time::Duration;

use futures::io::Cursor;
use tokio::runtime::{Builder, Runtime};

use crate::{book, frame};

thread_local! {
    static RUNTIME: OnceCell<Option<Runtime>> = const { OnceCell::new() };
}

/// An exchange's bytes as they come in. Returns whether a whole message was read.
pub fn exchange(bytes: &[u8]) -> bool {
    const STALL: Duration = Duration::from_secs(5);
    let read = async {
        let mut from = Cursor::new(bytes);
        let lengths = frame::read_lengths(&mut from, STALL).await.ok()?;
        frame::read_head(&mut from, lengths.head, STALL).await.ok()?;
        let mut body = vec![0; lengths.body];
        frame::read_full(&mut from, &mut body, STALL).await.ok()
    };
    RUNTIME.with(|runtime| {
        let runtime =
            runtime.get_or_init(|| Builder::new_current_thread().enable_all().build().ok());
        runtime.as_ref().is_some_and(|runtime| runtime.block_on(read).is_some())
    })
}

/// A peer book's bytes, as they are and with the checksum that they ought to have. Returns whether
/// what was read is written and read again as the same.
pub fn peer_book(bytes: &[u8]) -> bool {
    let summed = [bytes, blake3::hash(bytes).as_bytes()].concat();
    book::reads_again(bytes) && book::reads_again(&summed)
}
