//! The demo's mesh: nodes as processes, each with a home of its own in one temporary folder.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datamesh_api::{InviteRequest, JoinRequest, OperationError, Operations, OperationsExt};
use datamesh_core::NodeId;
use datamesh_node::{Home, PasswordSource, init_account, read_status};
use zeroize::Zeroizing;

use crate::error::{Stop, failed};
use crate::output::Output;

/// How long a node may take until it is ready.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How long nodes may take to end by themselves.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Lines of a node's log that an error shows.
const LOG_LINES: usize = 5;

/// What each node offers; more than the demo's files take, and never reserved.
const STORAGE: &str = "64GiB";

struct NodeProcess {
    number: u32,
    home: Home,
    process: Child,
    id: Option<NodeId>,
}

/// A running mesh. Dropping it ends every process and removes every file.
pub(super) struct Mesh {
    nodes: Vec<NodeProcess>,
    password_file: PathBuf,
    /// Dropped after the processes have ended.
    folder: Option<tempfile::TempDir>,
    place: PathBuf,
}

fn io_error(doing: &str, error: &std::io::Error) -> Stop {
    failed(format!("{doing} failed: {error}")).into()
}

/// A password that nobody needs to know.
fn draw_password() -> std::io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; 24]);
    fs::File::open("/dev/urandom")?.read_exact(&mut *bytes)?;
    Ok(Zeroizing::new(blake3::hash(&*bytes).to_hex().to_string()))
}

impl Mesh {
    /// Founds a mesh on loopback and lets `count` nodes in all enter it.
    pub(super) async fn start(count: u32) -> Result<Self, Stop> {
        let folder = tempfile::Builder::new()
            .prefix("datamesh-demo-")
            .tempdir()
            .map_err(|error| io_error("making a temporary folder", &error))?;
        let place = folder.path().to_owned();
        let password = draw_password().map_err(|error| io_error("drawing a password", &error))?;
        let password_file = place.join("password");
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&password_file)
            .and_then(|mut file| std::io::Write::write_all(&mut file, password.as_bytes()));
        written.map_err(|error| io_error("writing the demo's password", &error))?;
        let mut mesh = Self { nodes: Vec::new(), password_file, folder: Some(folder), place };

        let home = mesh.home(1);
        let made = tokio::task::spawn_blocking(move || init_account(&home, &password)).await;
        made.map_err(|error| failed(format!("making the account broke off: {error}")))??;
        mesh.spawn(1)?;
        mesh.ready(1).await?;
        let founder = mesh.connect().await?;
        let invite = InviteRequest {
            uses: count,
            expires_ms: 3600 * 1000,
            node: true,
            account: false,
            bytes_per_node: 0,
        };
        let ticket = founder.invite(invite).await?.ticket;
        for number in 2..=count {
            let joining = datamesh_node::connect(&mesh.home(number), mesh.password()).await?;
            joining.join(JoinRequest { ticket: ticket.clone() }).await?;
            // The command's end gives the home to the service.
            drop(joining);
            mesh.spawn(number)?;
        }
        for number in 2..=count {
            mesh.ready(number).await?;
        }
        Ok(mesh)
    }

    fn home(&self, number: u32) -> Home {
        Home::at(self.place.join(format!("n{number}")))
    }

    fn password(&self) -> PasswordSource {
        let file = self.password_file.clone();
        Arc::new(move || {
            let text = fs::read_to_string(&file)
                .map_err(|error| failed(format!("the demo's password is gone: {error}")))?;
            Ok(Zeroizing::new(text))
        })
    }

    fn log(&self, number: u32) -> PathBuf {
        self.place.join(format!("n{number}.log"))
    }

    /// Starts the process of a node.
    fn spawn(&mut self, number: u32) -> Result<(), Stop> {
        let home = self.home(number);
        let spawned = (|| {
            let log = fs::File::create(self.log(number))?;
            Command::new(std::env::current_exe()?)
                .arg("--home")
                .arg(home.path())
                .args(["service", "--listen", "/ip4/127.0.0.1/tcp/0", "--storage", STORAGE])
                .args(["--operator", "demo", "--domain", &format!("demo/host-{number}")])
                .env("DATAMESH_PASSWORD_FILE", &self.password_file)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                // Interrupting the demo must not end its nodes before it does.
                .process_group(0)
                .spawn()
        })();
        let process = spawned.map_err(|error| io_error("starting a node", &error))?;
        self.nodes.push(NodeProcess { number, home, process, id: None });
        Ok(())
    }

    /// Waits until a node has written that it is ready.
    async fn ready(&mut self, number: u32) -> Result<(), Stop> {
        let end = Instant::now() + START_PATIENCE;
        loop {
            let tail = self.log_tail(number);
            let Some(node) = self.nodes.iter_mut().find(|node| node.number == number) else {
                return Err(failed(format!("node {number} was not started")).into());
            };
            if let Some(status) = read_status(&node.home) {
                node.id = Some(status.peer_id);
                return Ok(());
            }
            let ended = node.process.try_wait().ok().flatten();
            if let Some(code) = ended {
                return Err(failed(format!("node {number} ended with {code}\n{tail}")).into());
            }
            if Instant::now() >= end {
                return Err(failed(format!("node {number} did not get ready\n{tail}")).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The last lines of a node's log.
    fn log_tail(&self, number: u32) -> String {
        let text = fs::read_to_string(self.log(number)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// An error of an operation, with what the node that did it wrote last.
    pub(super) fn explain(&self, mut error: OperationError) -> OperationError {
        let tail = self.log_tail(1);
        if !tail.is_empty() {
            error.message = format!("{}\nnode 1 wrote last:\n{tail}", error.message);
        }
        error
    }

    /// The operations of node 1, which is also the client.
    pub(super) async fn connect(&self) -> Result<Arc<dyn Operations>, Stop> {
        Ok(datamesh_node::connect(&self.home(1), self.password()).await?)
    }

    /// The temporary folder.
    pub(super) fn folder(&self) -> &Path {
        &self.place
    }

    /// The node that is also the client.
    pub(super) fn own_node(&self) -> NodeId {
        self.nodes.first().and_then(|node| node.id).unwrap_or(NodeId([0; 32]))
    }

    /// Kills a node with SIGKILL and destroys its home, so that it cannot come back.
    pub(super) fn kill(&mut self, id: &NodeId) -> Result<(), Stop> {
        let Some(place) = self.nodes.iter().position(|node| node.id.as_ref() == Some(id)) else {
            return Err(failed(format!("node {id} is not one of the demo's")).into());
        };
        let mut node = self.nodes.remove(place);
        let killed = node.process.kill().and_then(|()| node.process.wait());
        killed.map_err(|error| io_error("killing a node", &error))?;
        fs::remove_dir_all(node.home.path())
            .map_err(|error| io_error("destroying a node's home", &error))
    }

    /// Leaves everything running and says how to talk to it.
    pub(super) fn keep(mut self, output: &Output) -> Result<(), Stop> {
        let nodes = std::mem::take(&mut self.nodes);
        if let Some(folder) = self.folder.take() {
            // From here on nobody removes it but the user.
            drop(folder.keep());
        }
        let pids: Vec<String> = nodes.iter().map(|node| node.process.id().to_string()).collect();
        if output.is_json() {
            return Ok(());
        }
        output.line(format!(
            "kept      the mesh runs on; talk to it with\n  \
             export DATAMESH_HOME={home} DATAMESH_PASSWORD_FILE={password}\n  \
             datamesh list -r\n\
             and end it with\n  \
             kill {pids} && rm -r {folder}",
            home = self.place.join("n1").display(),
            password = self.password_file.display(),
            pids = pids.join(" "),
            folder = self.place.display(),
        ))
    }

    /// Ends every process and removes every file.
    pub(super) async fn stop(mut self) {
        for node in &self.nodes {
            let pid =
                i32::try_from(node.process.id()).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid
                && let Err(error) =
                    rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            {
                tracing::debug!(%error, "a node had ended already");
            }
        }
        let end = Instant::now() + STOP_PATIENCE;
        while Instant::now() < end
            && self.nodes.iter_mut().any(|node| matches!(node.process.try_wait(), Ok(None)))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // What has ended already cannot be killed, and need not be.
            drop(node.process.kill());
            drop(node.process.wait());
        }
    }
}
