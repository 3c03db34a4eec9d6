//! `datamesh service`.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use datamesh_api::OperationError;
use datamesh_core::Domain;
use datamesh_node::ServiceOptions;

use crate::context::Context;
use tracing_appender::rolling::{RollingFileAppender, Rotation};

use crate::error::{Outcome, Stop, failed};
use crate::values::{offer, some_duration};

/// Run this home's node until it is told to stop
///
/// In a home that has an account and has joined no mesh, this founds one. In a home that has joined,
/// the first start redeems the ticket; domain and operator are certified then and changing them
/// later needs the issuer. Whoever founds a mesh chooses once whether its leases end: then the files of an
/// account of which no device renews them for so long are lost 37 days after that. The node is ready when status.json is in its home. Logs go to standard
/// error; SIGTERM and SIGINT stop it in order, a second one at once; SIGHUP reads the settings again, of which
/// bandwidth and repair.rate count at once. A service manager that asks (systemd, Type=notify) is told when it is ready.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh --home node1 service --listen /ip4/0.0.0.0/tcp/4600 --storage 500GiB \\
      --domain zone-a/host-1 --operator op-1
  datamesh --home node2 service --listen /ip4/127.0.0.1/tcp/0 --storage 8GiB
  datamesh service --log-folder /var/log/datamesh --log-keep 30")]
pub(crate) struct ServiceArgs {
    /// Where to listen, as a multiaddress; may be given several times. A chosen port 0 is
    /// remembered and used again
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<String>,

    /// Most bytes that the store may take, at least 16MiB
    #[arg(long, value_name = "SIZE", value_parser = offer)]
    storage: Option<u64>,

    /// The failure domain, from large to small: machines with the same one fail together
    #[arg(long, value_name = "ZONE/HOST")]
    domain: Option<Domain>,

    /// Who answers for this node
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,

    /// When this founds a mesh: days after which a lease ends that no device of its account renews, at
    /// most 3650; 0, the default, never
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(..=3650))]
    lease_days: Option<u32>,

    /// Stop after this time
    #[arg(long, value_name = "TIME", value_parser = some_duration)]
    timeout: Option<Duration>,

    /// Write the log to files datamesh.DATE.log in this folder instead of to standard error
    #[arg(long, value_name = "FOLDER")]
    log_folder: Option<PathBuf>,

    /// When another log file is begun
    #[arg(long, value_enum, default_value = "daily", requires = "log_folder")]
    log_rotation: LogRotation,

    /// Log files that are kept there; older ones are removed
    #[arg(long, value_name = "N", default_value_t = 14, requires = "log_folder", value_parser = clap::value_parser!(u16).range(1..=1000))]
    log_keep: u16,

    /// Leave the mesh: take nothing new, copy every shard to other nodes, and end when each of them
    /// has proved what it holds. Nothing is removed here
    #[arg(long)]
    drain: bool,
}

/// When another log file is begun.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogRotation {
    Hourly,
    Daily,
    Never,
}

impl ServiceArgs {
    /// Where the log goes; nothing for standard error.
    ///
    /// # Errors
    /// [`OperationError`] where no such file can be written.
    pub(crate) fn log(&self) -> Result<Option<RollingFileAppender>, OperationError> {
        let Some(folder) = &self.log_folder else { return Ok(None) };
        let rotation = match self.log_rotation {
            LogRotation::Hourly => Rotation::HOURLY,
            LogRotation::Daily => Rotation::DAILY,
            LogRotation::Never => Rotation::NEVER,
        };
        // Before the library looks for older files there, and says on standard error that it cannot.
        std::fs::create_dir_all(folder).map_err(|error| {
            failed(format!("no log can be written in \"{}\": {error}", folder.display()))
        })?;
        // What is removed later is found by its name: with a part that somebody chose it could be
        // somebody's file.
        let log = RollingFileAppender::builder().rotation(rotation);
        let log = log.filename_prefix("datamesh").filename_suffix("log");
        let log = log.max_log_files(usize::from(self.log_keep)).build(folder);
        log.map(Some).map_err(|error| {
            failed(format!("no log can be written in \"{}\": {error}", folder.display()))
        })
    }

    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let options = ServiceOptions {
            listen: self.listen,
            storage: self.storage,
            domain: self.domain,
            operator: self.operator,
            password: context.password.source_if_any(),
            lease_days: self.lease_days,
            timeout: self.timeout,
            drain: self.drain,
        };
        datamesh_node::run_service(&context.home, options).await?;
        Ok(Outcome::Done)
    }
}
