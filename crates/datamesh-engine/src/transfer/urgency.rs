//! Whether somebody waits for a read now.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Tells a read that begins ahead of its reader when the reader has come to it: only then are slow
/// holders given rivals.
#[derive(Debug, Default)]
pub struct Urgency {
    raised: AtomicBool,
    told: Notify,
}

impl Urgency {
    /// Somebody waits from now on.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    /// Waits until somebody does.
    pub async fn raised(&self) {
        let mut told = pin!(self.told.notified());
        // Before the look, so that what is raised in between is heard.
        told.as_mut().enable();
        if !self.raised.load(Ordering::Acquire) {
            told.await;
        }
    }
}
