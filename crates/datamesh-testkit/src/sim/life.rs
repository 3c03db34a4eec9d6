//! A node between its start and its death: the tasks that end with it.

use std::collections::BTreeMap;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use datamesh_core::BoxFuture;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::run::Failure;
use crate::numbers::panic_text;

/// One life of a node. It ends once; a revived node has another.
#[derive(Default)]
pub(crate) struct Life {
    state: Mutex<State>,
    end: Notify,
}

#[derive(Default)]
struct State {
    ended: bool,
    next: u64,
    tasks: BTreeMap<u64, Arc<Slot>>,
}

/// Where a task lies while it is not polled, so that the life's end can drop it.
struct Slot {
    task: Mutex<Task>,
    abort: Mutex<Option<AbortHandle>>,
}

enum Task {
    Waiting(BoxFuture<'static, ()>),
    Running,
    Ended,
}

impl Life {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) {
        let mut end = pin!(self.end.notified());
        end.as_mut().enable();
        if !self.has_ended() {
            end.await;
        }
    }

    /// Starts a task that runs until the life ends; drops it unseen where that already happened.
    /// A panic in it becomes the run's failure.
    pub(crate) fn spawn(self: &Arc<Self>, failure: &Arc<Failure>, task: BoxFuture<'static, ()>) {
        let slot =
            Arc::new(Slot { task: Mutex::new(Task::Waiting(task)), abort: Mutex::new(None) });
        let id = {
            let mut state = self.state();
            if state.ended {
                return;
            }
            let id = state.next;
            state.next += 1;
            state.tasks.insert(id, Arc::clone(&slot));
            id
        };
        let run = Run {
            life: Arc::clone(self),
            failure: Arc::clone(failure),
            id,
            slot: Arc::clone(&slot),
        };
        #[expect(clippy::disallowed_methods, reason = "this is the executor of the simulation")]
        let handle = tokio::spawn(run);
        *slot.abort.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle.abort_handle());
    }

    /// Ends the life. All its tasks are dropped, oldest first, before this returns; one that is
    /// being polled, as soon as that returns.
    pub(crate) fn finish(&self) {
        let tasks = {
            let mut state = self.state();
            state.ended = true;
            mem::take(&mut state.tasks)
        };
        self.end.notify_waiters();
        for slot in tasks.into_values() {
            // Taken out of the lock first: dropping a task runs the code of the simulated node.
            let task = slot.replace(Task::Ended);
            drop(task);
            let abort = slot.abort.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(abort) = abort {
                abort.abort();
            }
        }
    }
}

impl Slot {
    fn replace(&self, by: Task) -> Task {
        mem::replace(&mut *self.task.lock().unwrap_or_else(PoisonError::into_inner), by)
    }
}

/// A task on the runtime.
struct Run {
    life: Arc<Life>,
    failure: Arc<Failure>,
    id: u64,
    slot: Arc<Slot>,
}

impl Future for Run {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Task::Waiting(mut task) = self.slot.replace(Task::Running) else {
            self.slot.replace(Task::Ended);
            return Poll::Ready(());
        };
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
            Ok(Poll::Pending) => {
                let mut state = self.slot.task.lock().unwrap_or_else(PoisonError::into_inner);
                if matches!(*state, Task::Running) {
                    *state = Task::Waiting(task);
                    return Poll::Pending;
                }
            }
            Ok(Poll::Ready(())) => {}
            Err(panic) => self.failure.set(panic_text(&*panic)),
        }
        self.slot.replace(Task::Ended);
        self.life.state().tasks.remove(&self.id);
        Poll::Ready(())
    }
}
