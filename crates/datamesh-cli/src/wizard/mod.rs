//! Questions to whoever starts the program for the first time; the answers become settings, an account, and
//! membership in a mesh.
//!
//! Nothing is done before all was asked and agreed to. All of it can be done by commands too, and the wizard says
//! by which.

mod answers;
mod questions;

use datamesh_api::ErrorKind;
use datamesh_node::config;

use crate::commands::nodes::{InitArgs, JoinArgs, RecoverArgs};
use crate::context::Context;
use crate::error::{Outcome, Stop, failed};
use crate::output::{draws_on, report, visible};
use crate::signals::Signals;
use crate::waiting::waiting;

use answers::{Account, Answers};
use questions::NoAnswer;

/// How often a password may be chosen that cannot be taken.
const TRIES: u32 = 5;

/// Whether there is somebody to ask and something to set up: a terminal, and a home without account and mesh.
pub(crate) fn is_wanted(context: &Context) -> bool {
    has_somebody()
        && !datamesh_node::has_account(&context.home)
        && !datamesh_node::has_mesh(&context.home)
}

/// Whether somebody can be asked.
pub(crate) fn has_somebody() -> bool {
    draws_on(&std::io::stderr())
}

/// Asks, and does what was agreed to. Nothing where somebody interrupted it.
///
/// # Errors
/// [`Stop`] where a step fails; what was done before it stays, and what is left can be done by its command.
pub(crate) async fn run(context: &Context) -> Result<Option<Outcome>, Stop> {
    let home = context.home.clone();
    let answers = match waiting(move || questions::ask(&home)).await? {
        Ok(answers) => answers,
        Err(NoAnswer::Interrupted) => return Ok(None),
        Err(NoAnswer::Unreadable(error)) => return Err(error.into()),
    };
    let Some(answers) = answers else {
        context
            .output
            .note("nothing was done; `datamesh` asks again, `datamesh --help` tells the commands");
        return Ok(Some(Outcome::Done));
    };
    let mut signals = Signals::catch()?;
    tokio::select! {
        done = do_all(context, answers) => done.map(|()| Some(Outcome::Done)),
        _ = signals.wait() => Ok(None),
    }
}

async fn do_all(context: &Context, answers: Answers) -> Result<(), Stop> {
    let output = &context.output;
    for (key, value) in answers.settings() {
        config::set(&context.home, key, &value)?;
    }
    let file = config::file(&context.home);
    let text = std::fs::read_to_string(&file).map_err(failed)?;
    output.note(format!("\n{}:\n", file.display()));
    for line in text.lines() {
        output.note(visible(line));
    }
    output.note("");
    match &answers.account {
        Account::Made => make_account(context).await?,
        Account::Recovered(peer) => drop(RecoverArgs::asking(peer.clone()).run(context).await?),
        Account::None => {}
    }
    let program = visible(&questions::program(&context.home));
    if let Some(ticket) = answers.ticket
        && !enter(context, ticket).await?
    {
        output.warn(format!(
            "the rest is done, and the mesh is yet to be entered: `{program} join TICKET`"
        ));
        return Ok(());
    }
    if answers.node.is_some() {
        output.note(format!(
            "`{program} service` runs the node, in another terminal or as a service of the system",
        ));
    }
    Ok(())
}

/// Enters the mesh, with another ticket where one was of no use; or not, where there is no other.
async fn enter(context: &Context, mut ticket: String) -> Result<bool, Stop> {
    loop {
        match JoinArgs::with(ticket).run(context).await {
            Err(Stop::Failed(error)) => report(&error, context.global.wants_json()),
            done => return done.map(|_| true),
        }
        match waiting(questions::other_ticket).await? {
            Ok(Some(other)) => ticket = other,
            Ok(None) | Err(NoAnswer::Interrupted) => return Ok(false),
            Err(NoAnswer::Unreadable(error)) => return Err(error.into()),
        }
    }
}

/// Makes the account, with another question where the answer to one cannot be taken.
async fn make_account(context: &Context) -> Result<(), Stop> {
    for _ in 1..TRIES {
        match InitArgs::asking().run(context).await {
            Err(Stop::Failed(error)) if error.kind == ErrorKind::Usage => {
                report(&error, context.global.wants_json());
            }
            done => return done.map(drop),
        }
    }
    InitArgs::asking().run(context).await.map(drop)
}
