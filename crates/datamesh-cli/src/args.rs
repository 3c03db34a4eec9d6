//! What the user typed.

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use datamesh_api::OperationError;
use tracing_appender::rolling::RollingFileAppender;

use crate::commands::archives::{ExportArgs, ImportArgs};
use crate::commands::batch::{BatchGetArgs, BatchPutArgs, BatchTagArgs};
use crate::commands::configuration::{
    AdvancedArgs, ConfigArgs, DoctorArgs, GenerateCompletionArgs, QuickHelpArgs,
};
use crate::commands::demo::DemoArgs;
use crate::commands::discovery::{PopularArgs, RecentArgs, SearchArgs};
use crate::commands::files::{
    DuplicateArgs, GetArgs, InfoArgs, ListArgs, PinArgs, PutArgs, RemoveArgs, RenameArgs,
    ShareArgs, SyncArgs, UnpinArgs, VersionsArgs,
};
use crate::commands::maintenance::{BenchmarkArgs, CleanupArgs, OptimizeArgs, RepairArgs};
use crate::commands::network::{
    BandwidthArgs, DiscoverArgs, DistributionArgs, HealthArgs, NetworkArgs, NetworksArgs,
    PeersArgs, StatsArgs,
};
use crate::commands::nodes::{
    BootstrapArgs, InitArgs, InteractiveArgs, InviteArgs, JoinArgs, RecoverArgs, ServiceArgs,
};
use crate::commands::security::{AuditArgs, KeysArgs, SecurityArgs, TransportArgs};
use crate::context::{Context, GlobalArgs};
use crate::error::{Outcome, Stop};

/// Encrypted, self-healing file storage on machines that need not trust each other
#[derive(Debug, Parser)]
#[command(
    name = "datamesh",
    version,
    after_help = "\
Try it on this machine:
  datamesh demo

Without a command on a terminal: questions that set this home up, where it is not yet, and then a console.

Exit codes:
  0 done   1 failed   2 wrong usage   3 not found   4 partly done   5 network too small or unreachable"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// One command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(visible_alias = "upload")]
    Put(PutArgs),
    #[command(visible_alias = "download")]
    Get(GetArgs),
    #[command(visible_alias = "ls")]
    List(ListArgs),
    #[command(visible_alias = "show")]
    Info(InfoArgs),
    Versions(VersionsArgs),
    #[command(visible_alias = "rm")]
    Remove(RemoveArgs),
    Duplicate(DuplicateArgs),
    Rename(RenameArgs),
    Share(ShareArgs),
    Sync(SyncArgs),
    Export(ExportArgs),
    Import(ImportArgs),
    #[command(visible_alias = "find")]
    Search(SearchArgs),
    Recent(RecentArgs),
    Popular(PopularArgs),
    BatchPut(BatchPutArgs),
    BatchGet(BatchGetArgs),
    BatchTag(BatchTagArgs),
    Pin(PinArgs),
    Unpin(UnpinArgs),
    Cleanup(CleanupArgs),
    Optimize(OptimizeArgs),
    Benchmark(BenchmarkArgs),
    Init(InitArgs),
    Recover(RecoverArgs),
    Service(ServiceArgs),
    #[command(visible_alias = "console")]
    Interactive(InteractiveArgs),
    Invite(InviteArgs),
    Join(JoinArgs),
    Bootstrap(BootstrapArgs),
    Keys(KeysArgs),
    Audit(AuditArgs),
    Security(SecurityArgs),
    Transport(TransportArgs),
    Peers(PeersArgs),
    Stats(StatsArgs),
    Health(HealthArgs),
    Distribution(DistributionArgs),
    Discover(DiscoverArgs),
    Network(NetworkArgs),
    Bandwidth(BandwidthArgs),
    Networks(NetworksArgs),
    Repair(RepairArgs),
    Config(ConfigArgs),
    Advanced(AdvancedArgs),
    Doctor(DoctorArgs),
    Demo(DemoArgs),
    GenerateCompletion(GenerateCompletionArgs),
    QuickHelp(QuickHelpArgs),
}

/// The command tree. What a command of a command has no examples for of its own are those of the command above
/// that begin as it does.
pub(crate) fn tree() -> clap::Command {
    Args::command().mut_subcommands(|command| {
        let name = command.get_name().to_owned();
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        command.mut_subcommands(|below| {
            let begin = format!("  datamesh {name} {}", below.get_name());
            let fits = |line: &&str| {
                line.strip_prefix(&begin)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            };
            let lines: Vec<&str> = examples.lines().filter(fits).collect();
            if lines.is_empty() || below.get_after_help().is_some() {
                return below;
            }
            below.after_help(format!("Examples:\n{}", lines.join("\n")))
        })
    })
}

impl Args {
    /// The arguments of this process.
    ///
    /// # Errors
    /// Where they are none, or ask for help.
    pub(crate) fn of_process() -> Result<Self, clap::Error> {
        Self::from_arg_matches(&tree().try_get_matches()?)
    }
}

impl Command {
    /// The command runs until it is stopped and ends by itself when a signal asks it to.
    pub(crate) fn handles_signals(&self) -> bool {
        match self {
            Self::Service(_) | Self::Interactive(_) => true,
            Self::Sync(args) => args.watches(),
            Self::Health(args) => args.watches(),
            _ => false,
        }
    }

    /// Its log is what it has to say, so that it says more than warnings.
    pub(crate) fn is_service(&self) -> bool {
        matches!(self, Self::Service(_))
    }

    /// The file that its log goes to; nothing for standard error.
    ///
    /// # Errors
    /// [`OperationError`] where it cannot be written.
    pub(crate) fn log(&self) -> Result<Option<RollingFileAppender>, OperationError> {
        match self {
            Self::Service(args) => args.log(),
            _ => Ok(None),
        }
    }

    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        match self {
            Self::Put(args) => args.run(context).await,
            Self::Get(args) => args.run(context).await,
            Self::List(args) => args.run(context).await,
            Self::Info(args) => args.run(context).await,
            Self::Versions(args) => args.run(context).await,
            Self::Remove(args) => args.run(context).await,
            Self::Duplicate(args) => args.run(context).await,
            Self::Rename(args) => args.run(context).await,
            Self::Share(args) => args.run(context).await,
            Self::Search(args) => args.run(context).await,
            Self::Recent(args) => args.run(context).await,
            Self::Popular(args) => args.run(context).await,
            Self::BatchPut(args) => args.run(context).await,
            Self::BatchGet(args) => args.run(context).await,
            Self::BatchTag(args) => args.run(context).await,
            Self::Pin(args) => args.run(context).await,
            Self::Unpin(args) => args.run(context).await,
            Self::Network(args) => args.run(context).await,
            Self::Bandwidth(args) => args.run(context).await,
            Self::Sync(args) => args.run(context).await,
            Self::Export(args) => args.run(context).await,
            Self::Import(args) => args.run(context).await,
            Self::Cleanup(args) => args.run(context).await,
            Self::Optimize(args) => args.run(context).await,
            Self::Benchmark(args) => args.run(context).await,
            Self::Advanced(args) => args.run(context).await,
            Self::Init(args) => args.run(context).await,
            Self::Recover(args) => args.run(context).await,
            Self::Service(args) => args.run(context).await,
            // A console runs commands, so that its future would hold itself.
            Self::Interactive(args) => Box::pin(args.run(context)).await,
            Self::Invite(args) => args.run(context).await,
            Self::Join(args) => args.run(context).await,
            Self::Bootstrap(args) => args.run(context).await,
            Self::Keys(args) => args.run(context).await,
            Self::Security(args) => args.run(context).await,
            Self::Transport(args) => args.run(context).await,
            Self::Discover(args) => args.run(context).await,
            Self::Networks(args) => args.run(context),
            Self::Audit(args) => args.run(context),
            Self::Peers(args) => args.run(context).await,
            Self::Stats(args) => args.run(context).await,
            Self::Health(args) => args.run(context).await,
            Self::Distribution(args) => args.run(context).await,
            Self::Repair(args) => args.run(context).await,
            Self::Config(args) => args.run(context),
            Self::Doctor(args) => args.run(context).await,
            Self::Demo(args) => args.run(context).await,
            Self::GenerateCompletion(args) => args.run(context),
            Self::QuickHelp(args) => args.run(context),
        }
    }
}
