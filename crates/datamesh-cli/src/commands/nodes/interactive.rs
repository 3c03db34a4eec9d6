//! `datamesh interactive`.

use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{report, to_stderr};
use crate::{console, wizard};

/// Open a console for one command after another
///
/// All commands are the same there, without `datamesh` in front of them. The console completes commands, flags and
/// names with the Tab key, keeps a history, and shows how the mesh stands. Ctrl-C ends the command that runs and not
/// the console. From a pipe it reads one command a line; the exit code is that of the first that failed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh interactive
  printf 'list\\nstats\\n' | datamesh interactive --json")]
pub(crate) struct InteractiveArgs {
    /// Where the home is not set up yet, that comes first.
    #[arg(skip)]
    asks: bool,
}

impl InteractiveArgs {
    /// That of the program without any arguments.
    pub(crate) fn first() -> Self {
        Self { asks: true }
    }

    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        if self.asks && wizard::is_wanted(context) {
            match wizard::run(context).await {
                Ok(Some(_)) => {}
                Ok(None) => {
                    to_stderr("interrupted");
                    return Ok(Outcome::Interrupted);
                }
                // What is left can be done in the console.
                Err(Stop::Failed(error)) => report(&error, context.global.wants_json()),
                Err(Stop::Closed) => return Ok(Outcome::Done),
            }
        }
        console::run(context).await
    }
}
