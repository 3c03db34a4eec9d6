//! The questions.

use std::path::Path;

use datamesh_api::OperationError;
use datamesh_core::Domain;
use datamesh_node::{Home, PRESETS, config};
use dialoguer::{Confirm, Input, Select};

use super::answers::{Account, Answers, Node};
use crate::error::failed;
use crate::output::{size, to_stderr, visible};

/// What a machine can be.
const ROLES: [&str; 5] = [
    "the first node of a mesh of my own",
    "a node of a mesh that I have a ticket for; I store my files there",
    "a node of a mesh that I have a ticket for; only for others",
    "a client of a mesh that I have a ticket for; nothing is held here",
    "a place to get my files back to, from my 24 words",
];

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// Somebody pressed Ctrl-C.
    Interrupted,
    /// It cannot be read.
    Unreadable(OperationError),
}

fn wrong(error: dialoguer::Error) -> NoAnswer {
    match error {
        dialoguer::Error::IO(error) if error.kind() == std::io::ErrorKind::Interrupted => {
            NoAnswer::Interrupted
        }
        error => NoAnswer::Unreadable(failed(format!("the answer cannot be read: {error}"))),
    }
}

fn choice(question: &str, answers: &[String], usual: usize) -> Result<usize, NoAnswer> {
    let select = Select::new().with_prompt(question).items(answers).default(usual);
    select.interact().map_err(wrong)
}

/// Asks for a setting until it is one; empty is always an answer.
fn setting(question: &str, key: &'static str, usual: &str) -> Result<String, NoAnswer> {
    let check = move |text: &String| config::check(key, text.trim());
    let input = Input::<String>::new().with_prompt(question).allow_empty(true);
    let input = if usual.is_empty() { input } else { input.default(usual.to_owned()) };
    input.validate_with(check).interact_text().map(|text| text.trim().to_owned()).map_err(wrong)
}

/// Asks everything. Nothing where it was not agreed to.
pub(super) fn ask(home: &Home) -> Result<Option<Answers>, NoAnswer> {
    to_stderr(&format!(
        "DataMesh keeps files encrypted on machines that need not trust each other.\n\
         This sets up the home {}.\n",
        home.path().display()
    ));
    let role = choice("This machine is to be", &ROLES.map(str::to_owned), 0)?;
    let node = if role < 3 { Some(node(home)?) } else { None };
    let presets: Vec<_> = PRESETS.iter().filter(|preset| preset.name != "custom").collect();
    let told: Vec<String> =
        presets.iter().map(|preset| format!("{}: {}", preset.name, preset.about)).collect();
    let preset = presets[choice("Its network is", &told, 0)?].name.to_owned();
    let ticket = match role {
        1..=3 => Some(
            Input::<String>::new()
                .with_prompt("The ticket, datamesh-invite-…")
                .validate_with(|text: &String| match text.trim() {
                    "" => Err("it is needed: somebody in the mesh makes it by `datamesh invite`"),
                    _ => Ok(()),
                })
                .interact_text()
                .map_err(wrong)?,
        ),
        _ => None,
    };
    let account = match role {
        0 | 1 | 3 => Account::Made,
        2 => Account::None,
        _ => {
            let peer = Input::<String>::new()
                .with_prompt("The address of a node of the mesh, /ip4/…/tcp/…/p2p/…")
                .interact_text()
                .map_err(wrong)?;
            Account::Recovered(Some(peer.trim().to_owned()))
        }
    };
    let answers = Answers { node, account, ticket, preset };
    let program = visible(&program(home));
    to_stderr("\nThis will be done, as by these commands:\n");
    for command in answers.commands() {
        to_stderr(&format!("  {program} {}", visible(&command)));
    }
    if answers.node.is_some() {
        to_stderr(&format!("\nand then, when you want the node to run:\n\n  {program} service"));
    }
    to_stderr("");
    let agreed = Confirm::new().with_prompt("Do it").default(true).interact().map_err(wrong)?;
    Ok(agreed.then_some(answers))
}

/// The program as it must be called for this home.
pub(super) fn program(home: &Home) -> String {
    if Home::default_path().is_some_and(|usual| usual == home.path()) {
        return "datamesh".to_owned();
    }
    let path = home.path().display().to_string();
    let path = shlex::try_quote(&path).map_or_else(|_| path.clone(), Into::into);
    format!("datamesh --home {path}")
}

fn node(home: &Home) -> Result<Node, NoAnswer> {
    let question = match free(home.path()) {
        Some(free) => format!(
            "It offers, of the {} that are free there (like 500GiB; empty for half of it)",
            size(free)
        ),
        None => "It offers (like 500GiB; empty for half of what is free)".to_owned(),
    };
    let storage = setting(&question, "service.storage", "")?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let usual = if host.parse::<Domain>().is_ok() { host } else { "" };
    let question =
        "Its failure domain (like zone-a/host-1: machines with the same one fail together)";
    let domain = setting(question, "service.domain", usual)?;
    let question = "It listens on (empty for any free port)";
    let listen = setting(question, "service.listen", "/ip4/0.0.0.0/tcp/4600")?;
    Ok(Node { storage, listen, domain })
}

/// Bytes that are free where a home is or is going to be.
fn free(home: &Path) -> Option<u64> {
    let there = home.ancestors().find(|folder| folder.exists())?;
    let room = rustix::fs::statvfs(there).ok()?;
    room.f_bavail.checked_mul(room.f_frsize)
}
