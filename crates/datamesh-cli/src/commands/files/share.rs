//! `datamesh share`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use datamesh_api::{
    OperationError, OperationsExt, SecretText, ShareInfo, ShareRequest, ShareStanding, ShareTarget,
    SharesRequest, UnshareRequest,
};

use super::qr::Qr;
use crate::completion::{self, mesh_names};
use crate::context::Context;
use crate::error::{Outcome, Stop, failed, usage};
use crate::output::{Output, Table, columns, is_plain, time, visible};
use crate::password::Password;
use crate::values::duration;
use crate::waiting::waiting;
use crate::writing::{PRIVATE, check_place, write_file};

/// Digits of a share's id that are shown.
const DIGITS: usize = 8;

/// Share a file with a person or by a link, list shares, and revoke them
///
/// Whoever it is shared with can read the file as it is now and every later version, until the share is
/// revoked or has expired, and nothing else: no other file, no older version, no name of a folder. A link
/// opens with `datamesh get` on any machine that reaches the mesh, without an account.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  datamesh share report.pdf --link                       whoever has the line can read it
  datamesh share report.pdf --link --password --expires 7d
  datamesh share report.pdf --link --qr-code             as a QR code on the terminal
  datamesh share report.pdf --link --qr-file report.png  as a picture, or as .svg
  datamesh share report.pdf --with datamesh-contact-3fK…
  datamesh share list
  datamesh share revoke 5d1f02a9
  datamesh share --link -- list                          a file of the name \"list\"

A link is the key to the file: hand it on as you would the file. What others fetched before a share was \
revoked, or the keys of the version that it showed, cannot be taken back; later versions they do not see.

A file that is deleted ends its shares, for good. The key of a person is what that person's
`datamesh keys recipient` prints."
)]
pub(crate) struct ShareArgs {
    #[command(subcommand)]
    command: Option<ShareCommand>,

    /// Share with this person
    #[arg(long, value_name = "KEY", conflicts_with_all = ["link", "password", "link_password_file"])]
    with: Option<String>,

    /// Share with whoever has the link that is printed
    #[arg(long)]
    link: bool,

    /// When the share ends by itself: 12h, 7d [default: never]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,

    /// The link opens with a password only, which is asked for
    #[arg(long, requires = "link")]
    password: bool,

    /// The same, and this file's first line is the password
    #[arg(long, value_name = "FILE", requires = "link")]
    link_password_file: Option<PathBuf>,

    /// How often it may be fetched; refused as long as there is no gateway that could count
    #[arg(long, value_name = "N")]
    max_downloads: Option<u64>,

    /// Draw the link as a QR code
    #[arg(long)]
    qr_code: bool,

    /// Write the link as a QR code to a file that is not there yet: .png or .svg
    #[arg(long, value_name = "FILE")]
    qr_file: Option<PathBuf>,

    /// A file of the account, or the beginning of its id
    #[arg(required = true, add = mesh_names())]
    name: Option<String>,
}

#[derive(Debug, Subcommand)]
enum ShareCommand {
    /// List shares: what, with whom, and how they stand
    List {
        /// Show the links and codes too
        #[arg(long)]
        links: bool,
        /// Only those of this file
        #[arg(add = mesh_names())]
        name: Option<String>,
    },
    /// Revoke shares, for good
    ///
    /// Nodes give nothing more out from then on, and no later version is published. What somebody has fetched
    /// stays fetched, and whoever opened the share can have kept the keys of the version that it showed: with
    /// them the version can be read as long as its segments are stored.
    Revoke {
        /// Ids of shares or their first digits, as `share list` shows them
        #[arg(required = true, add = completion::shares())]
        shares: Vec<String>,
    },
}

impl ShareArgs {
    pub(crate) async fn run(mut self, context: &Context) -> Result<Outcome, Stop> {
        match self.command.take() {
            Some(ShareCommand::List { links, name }) => list(context, links, name).await,
            Some(ShareCommand::Revoke { shares }) => revoke(context, shares).await,
            None => self.share(context).await,
        }
    }

    async fn share(self, context: &Context) -> Result<Outcome, Stop> {
        let output = &context.output;
        self.check(output)?;
        let Some(name) = self.name.clone() else { return Err(usage("no file is named").into()) };
        let to = match &self.with {
            Some(recipient) => ShareTarget::Person { recipient: recipient.clone() },
            None => ShareTarget::Link { password: self.chosen().await? },
        };
        let expires_ms = match self.expires {
            Some(term) => u64::try_from(term.as_millis()).unwrap_or(u64::MAX),
            None => 0,
        };
        let operations = context.connect().await?;
        let reply = operations.share(ShareRequest { name, to, expires_ms }).await?;
        let share = &reply.share;
        if output.is_for_programs() {
            output.answer(share)?;
        } else {
            told_share(output, share)?;
        }
        if let Some(link) = &share.link {
            if self.qr_code {
                show_qr(output, link)?;
            }
            if let Some(file) = &self.qr_file {
                write_qr(file, link)?;
                output.note(format!("wrote \"{}\"", file.display()));
            }
        }
        Ok(outcome(output, std::slice::from_ref(share)))
    }

    /// Refuses what cannot be done before anything is asked or made.
    fn check(&self, output: &Output) -> Result<(), OperationError> {
        if self.max_downloads.is_some() {
            return Err(usage(
                "nobody could count downloads: nodes are asked for shards, and cannot tell a download",
            )
            .hint("leave --max-downloads away; --expires ends a share by itself"));
        }
        if self.with.is_none() && !self.link {
            return Err(usage("with whom is it to be shared?")
                .hint("say --link, or --with and the key of a person"));
        }
        if self.expires.is_some_and(|term| term.as_millis() == 0) {
            return Err(usage("the share would have expired already"));
        }
        if self.qr_code && output.is_for_programs() {
            return Err(usage("a QR code on standard output is nothing for a program")
                .hint("write it to a file: --qr-file FILE.png"));
        }
        match &self.qr_file {
            Some(file) if picture(file).is_none() => {
                Err(usage(format!("\"{}\" names no picture", file.display()))
                    .hint("end the name with .png or .svg"))
            }
            Some(file) => check_place(file),
            None => Ok(()),
        }
    }

    /// The password for the link, where it is to have one.
    async fn chosen(&self) -> Result<Option<SecretText>, Stop> {
        if !self.password && self.link_password_file.is_none() {
            return Ok(None);
        }
        let password = Password::of_link(self.link_password_file.clone());
        let password = waiting(move || password.choose()).await??;
        Ok(Some(SecretText::new(password.to_string())))
    }
}

/// How a picture is written.
#[derive(Clone, Copy)]
enum Picture {
    Png,
    Svg,
}

fn picture(file: &Path) -> Option<Picture> {
    match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "png" => Some(Picture::Png),
        "svg" => Some(Picture::Svg),
        _ => None,
    }
}

/// Shows a code on the terminal, if that has room: one that is wrapped cannot be read.
fn show_qr(output: &Output, link: &SecretText) -> Result<(), Stop> {
    let code = Qr::of(link.as_str())?;
    let room = crate::output::width().map_or(usize::MAX, usize::from);
    if code.columns() > room {
        output.warn(format!(
            "the QR code needs a terminal of {} columns, and this one has {room}: --qr-file FILE.png",
            code.columns()
        ));
        return Ok(());
    }
    output.raw(&code.text(std::io::stdout().is_terminal() && !is_plain()))
}

/// Writes a code to a file that only its owner may read: it is the link.
fn write_qr(path: &Path, link: &SecretText) -> Result<(), OperationError> {
    let code = Qr::of(link.as_str())?;
    let bytes = match picture(path) {
        Some(Picture::Png) => code.png().map_err(failed)?,
        _ => code.svg().into_bytes(),
    };
    write_file(path, PRIVATE, &bytes).map_err(|error| {
        error.hint("the file is shared; its link is shown by: datamesh share list --links")
    })
}

/// The first digits of a share's id.
pub(super) fn id(share: &ShareInfo) -> &str {
    share.share.get(..DIGITS).unwrap_or(&share.share)
}

/// With whom.
pub(super) fn with(share: &ShareInfo) -> String {
    match (&share.person, share.password) {
        (Some(person), _) => person.clone(),
        (None, true) => "link with password".to_owned(),
        (None, false) => "link".to_owned(),
    }
}

/// How it stands, in a few words.
pub(super) fn standing(share: &ShareInfo) -> String {
    match share.state {
        ShareStanding::Current if share.expires != 0 => format!("until {}", time(share.expires)),
        ShareStanding::Current => "shared".to_owned(),
        ShareStanding::Pending => "not on enough nodes yet".to_owned(),
        ShareStanding::Ending => "revoked, not on enough nodes yet".to_owned(),
        ShareStanding::Revoked => "revoked".to_owned(),
        ShareStanding::Expired => "expired".to_owned(),
    }
}

/// Tells of a fresh share: its link alone on standard output.
pub(super) fn told_share(output: &Output, share: &ShareInfo) -> Result<(), Stop> {
    if output.is_for_programs() {
        return Ok(());
    }
    if let Some(link) = &share.link {
        output.line(link.as_str())?;
    }
    let name = share.path.as_ref().map_or("", |path| path.as_str());
    let who = match (&share.person, share.password) {
        (Some(_), _) => {
            "only the person whose key was given can open it, with \"datamesh get CODE\""
        }
        (None, true) => {
            "whoever has the line and knows the password can open it with \"datamesh get LINK\""
        }
        (None, false) => "whoever has the line can open it with \"datamesh get LINK\"",
    };
    let name = visible(name);
    output.note(format!("shared {name} as {}, {}: {who}", id(share), standing(share)));
    Ok(())
}

/// The exit code: some nodes are still to be told, or not.
fn outcome(output: &Output, shares: &[ShareInfo]) -> Outcome {
    let told =
        |share: &&ShareInfo| matches!(share.state, ShareStanding::Pending | ShareStanding::Ending);
    let left = shares.iter().filter(told).count();
    if left == 0 {
        return Outcome::Done;
    }
    output.warn(
        "too few nodes answered: they are told by this account's next command, or by its service",
    );
    Outcome::Partial
}

async fn list(context: &Context, links: bool, name: Option<String>) -> Result<Outcome, Stop> {
    let operations = context.connect().await?;
    let reply = operations.shares(SharesRequest { name, links }).await?;
    let output = &context.output;
    if output.is_for_programs() {
        output.answer_rows(&reply, "/shares", columns::SHARES)?;
        return Ok(Outcome::Done);
    }
    if reply.shares.is_empty() {
        output.note("nothing is shared");
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(&["ID", "FILE", "WITH", "STATE", "MADE"]);
    for share in &reply.shares {
        let name = share.path.as_ref().map_or("(deleted)", |path| path.as_str());
        table.row([
            id(share).to_owned(),
            visible(name).to_string(),
            with(share),
            standing(share),
            time(share.created),
        ]);
    }
    output.table(&table)?;
    for share in reply.shares.iter().filter(|_| links) {
        if let Some(link) = &share.link {
            output.line(format!("{}  {}", id(share), link.as_str()))?;
        }
    }
    Ok(Outcome::Done)
}

async fn revoke(context: &Context, shares: Vec<String>) -> Result<Outcome, Stop> {
    let operations = context.connect().await?;
    let reply = operations.unshare(UnshareRequest { shares }).await?;
    let output = &context.output;
    if output.is_for_programs() {
        output.answer_rows(&reply, "/shares", columns::SHARES)?;
    } else {
        for share in &reply.shares {
            let name = share.path.as_ref().map_or("(deleted)", |path| path.as_str());
            output.line(format!("{} {}  {}", standing(share), id(share), visible(name)))?;
        }
    }
    output.note(
        "what was fetched before, and the keys of the version that was shown, cannot be taken back",
    );
    Ok(outcome(output, &reply.shares))
}
