//! Blocking and computing away from the tasks.

use std::future::Future;

use datamesh_core::Executor;
use datamesh_core::seam::Moment;
use tokio::sync::oneshot;

/// Runs `work` on the executor and waits for what it returns; nothing where the executor is
/// shutting down and dropped the work.
pub async fn block<T: Send + 'static>(
    executor: &dyn Executor,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    executor.block(Box::new(move || {
        // The caller may have given up waiting; then the result is nobody's.
        drop(sender.send(work()));
    }));
    receiver.await.ok()
}

/// Takes a step towards something durable, and tells the executor before and after.
pub async fn step<T>(
    executor: &dyn Executor,
    point: &'static str,
    work: impl Future<Output = T>,
) -> T {
    if let Some(end) = executor.reached(point, Moment::Before) {
        end.await;
    }
    let done = work.await;
    if let Some(end) = executor.reached(point, Moment::After) {
        end.await;
    }
    done
}
