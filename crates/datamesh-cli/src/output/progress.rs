//! Progress of a transfer, drawn on standard error where that is a terminal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datamesh_api::{EventFn, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Output;

/// How often the line is drawn anew while nothing happens.
const TICK: Duration = Duration::from_millis(120);

/// A transfer under way.
pub(crate) struct Transfer {
    bar: ProgressBar,
    files: Arc<std::sync::atomic::AtomicU64>,
    started: Instant,
}

impl Transfer {
    /// Begins; `size` is what there is to move, where that is known.
    pub(crate) fn begin(output: &Output, what: &str, size: Option<u64>) -> Self {
        let draw = output.draws_progress();
        let target = if draw { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(size, target);
        bar.set_style(style(size.is_some()));
        bar.set_message(what.to_owned());
        Self { bar, files: Arc::default(), started: Instant::now() }
    }

    /// Who is to be told of progress.
    pub(crate) fn events(&self) -> EventFn {
        let (bar, files) = (self.bar.clone(), Arc::clone(&self.files));
        let begun = std::sync::Once::new();
        Arc::new(move |progress: Progress| {
            // Not before the first bytes: until then somebody may be asked for a password.
            begun.call_once(|| bar.enable_steady_tick(TICK));
            bar.set_position(progress.bytes);
            if files.swap(progress.files, std::sync::atomic::Ordering::Relaxed) != progress.files {
                bar.set_prefix(super::plural(progress.files, "file"));
            }
        })
    }

    /// Who is to be told of the length where it is known only on the way.
    pub(crate) fn length(&self) -> impl Fn(u64) + Send + Sync + use<> {
        let bar = self.bar.clone();
        move |bytes| {
            bar.set_style(style(true));
            bar.set_length(bytes);
        }
    }

    /// Takes the line away. Returns how long it took.
    pub(crate) fn end(self) -> Duration {
        self.bar.finish_and_clear();
        self.started.elapsed()
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(bounded: bool) -> ProgressStyle {
    let template = if bounded {
        "{msg} {bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left"
    } else {
        "{spinner} {msg} {prefix} {bytes}  {bytes_per_sec}  {elapsed}"
    };
    // The templates are written here; a mistake in one costs its look alone.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
