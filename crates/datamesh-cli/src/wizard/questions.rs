//! The questions.

use std::path::Path;

use datamesh_api::OperationError;
use datamesh_core::Domain;
use datamesh_core::invite::InviteTicket;
use datamesh_node::{Home, PRESETS, config};
use dialoguer::{Confirm, Input, Select};

use super::answers::{Account, Answers, Node};
use crate::error::failed;
use crate::output::{size, to_stderr, visible};

/// The least that a node is asked to offer here, in bytes: some packs.
const STORAGE_MIN: u64 = 1 << 30;

/// What a machine can be; short, as the menu is drawn again at each key and must not be wrapped.
const ROLES: [&str; 5] = [
    "first node of a mesh of my own",
    "node of another's mesh, for me too",
    "node of another's mesh, for others",
    "client of another's mesh",
    "recovery of my account",
];

/// What these are.
const ROLES_TOLD: &str = "\
This machine can be the first node of a mesh; a node of a mesh that you have a
ticket for, which stores your files too or is for others alone; a client, where
nothing of others is held; or where you get your files back from your 24 words.";

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
    to_stderr(&format!("{ROLES_TOLD}\n"));
    let role = choice("This machine is to be", &ROLES.map(str::to_owned), 0)?;
    let node = if role < 3 { Some(node(home)?) } else { None };
    let presets: Vec<_> = PRESETS.iter().filter(|preset| preset.name != "custom").collect();
    to_stderr("");
    for preset in &presets {
        to_stderr(&format!("{}: {}", preset.name, preset.about));
    }
    let names: Vec<String> = presets.iter().map(|preset| preset.name.to_owned()).collect();
    let preset = presets[choice("Its network is", &names, 0)?].name.to_owned();
    let ticket = match role {
        1..=3 => Some(
            Input::<String>::new()
                .with_prompt("The ticket")
                .validate_with(|text: &String| check_ticket(text))
                .interact_text()
                .map_err(wrong)?,
        ),
        _ => None,
    };
    let account = match role {
        0 | 1 | 3 => Account::Made,
        2 => Account::None,
        _ => {
            to_stderr("\nAn address looks like /ip4/203.0.113.5/tcp/4600.");
            let peer = Input::<String>::new()
                .with_prompt("The address of a node")
                .validate_with(|text: &String| {
                    datamesh_node::check_dial(text.trim()).map_err(|error| error.to_string())
                })
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
    let agreed = Confirm::new().with_prompt("Do it?").default(true).interact().map_err(wrong)?;
    Ok(agreed.then_some(answers))
}

fn check_ticket(text: &str) -> Result<(), String> {
    let read = text.trim().parse::<InviteTicket>();
    read.map(drop)
        .map_err(|error| format!("{error}; somebody in the mesh makes it by `datamesh invite`"))
}

/// Asks for a ticket in place of one that was of no use. Nothing where there is none.
pub(super) fn other_ticket() -> Result<Option<String>, NoAnswer> {
    let text = Input::<String>::new()
        .with_prompt("Another ticket, or empty to do it later")
        .allow_empty(true)
        .validate_with(|text: &String| match text.trim() {
            "" => Ok(()),
            text => check_ticket(text),
        })
        .interact_text()
        .map_err(wrong)?;
    Ok((!text.trim().is_empty()).then_some(text))
}

/// The program as it must be called for this home.
pub(super) fn program(home: &Home) -> String {
    if Home::default_path().is_some_and(|usual| usual == home.path()) {
        return "datamesh".to_owned();
    }
    crate::output::for_home(home.path())
}

fn node(home: &Home) -> Result<Node, NoAnswer> {
    let free = free(home.path());
    let room =
        free.map_or_else(String::new, |free| format!(", of the {} that are free", size(free)));
    to_stderr(&format!("\nWhat it offers to the mesh{room}: like 500GiB. Empty for half of it."));
    let storage = storage(free)?;
    to_stderr("\nMachines that fail together have the same failure domain: like zone-a/host-1.");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let usual = if host.parse::<Domain>().is_ok() { host } else { "" };
    let domain = setting("Its failure domain", "service.domain", usual)?;
    to_stderr("\nWhere others reach it. With 0 for the port it takes any that is free.");
    let listen = setting("It listens on", "service.listen", "/ip4/0.0.0.0/tcp/4600")?;
    Ok(Node { storage, listen, domain })
}

/// Asks what a node offers until it can be: not more than there is.
fn storage(free: Option<u64>) -> Result<String, NoAnswer> {
    let check = move |text: &String| {
        let text = text.trim();
        if text.is_empty() {
            return Ok(());
        }
        config::check("service.storage", text)?;
        let bytes = crate::values::size(text)?;
        match free {
            Some(free) if bytes > free => Err(format!("only {} are free there", size(free))),
            _ if bytes < STORAGE_MIN => Err(format!("less than {} is no use", size(STORAGE_MIN))),
            _ => Ok(()),
        }
    };
    let input = Input::<String>::new().with_prompt("It offers").allow_empty(true);
    input.validate_with(check).interact_text().map(|text| text.trim().to_owned()).map_err(wrong)
}

/// Bytes that are free where a home is or is going to be.
fn free(home: &Path) -> Option<u64> {
    let there = home.ancestors().find(|folder| folder.exists())?;
    let room = rustix::fs::statvfs(there).ok()?;
    room.f_bavail.checked_mul(room.f_frsize)
}
