//! Nodes as processes of this program, and their end.
//!
//! Promised: when a [`Mesh`] is dropped, however that comes about, its processes are killed and
//! waited for and its folder is removed, unless it was kept.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datamesh_api::{InviteRequest, OperationError, Operations, OperationsExt};
use datamesh_core::NodeId;
use datamesh_node::{Home, PasswordSource, read_status};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::Shards;
use super::summary::{Kept, Placed};
use crate::error::failed;
use crate::output::{to_stderr, visible};

/// How long a node may take to be ready.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// How often a process is looked at.
const POLL: Duration = Duration::from_millis(10);

/// A node ends by itself after this time, should the demonstration be killed so that it cannot.
const NODE_LIFETIME: &str = "2h";

/// Bytes of a log's end that are shown when its node fails.
const LOG_TAIL_BYTES: u64 = 4096;

/// One node.
struct Node {
    name: String,
    domain: String,
    home: Home,
    child: Option<Child>,
    id: Option<NodeId>,
}

/// All nodes; the first one's home also has the account.
pub(super) struct Mesh {
    nodes: Vec<Node>,
    password_file: PathBuf,
    password: Zeroizing<String>,
    /// After the nodes, so that the folder is removed when they are dead.
    folder: Option<TempDir>,
    path: PathBuf,
}

impl Mesh {
    /// Makes the folder; nothing runs yet.
    pub(super) fn prepare(nodes: usize) -> Result<Self, OperationError> {
        let unmade =
            |error: io::Error| failed(format!("the temporary folder cannot be made: {error}"));
        let folder = tempfile::Builder::new().prefix("datamesh-demo-").tempdir().map_err(unmade)?;
        let path = folder.path().to_owned();
        let password = random_password().map_err(unmade)?;
        let password_file = path.join("password");
        write_private(&password_file, &password).map_err(unmade)?;
        let nodes = (1..=nodes)
            .map(|number| {
                let name = format!("node-{number}");
                let home = Home::at(path.join(&name));
                Node { name, domain: format!("demo/host-{number}"), home, child: None, id: None }
            })
            .collect();
        Ok(Self { nodes, password_file, password, folder: Some(folder), path })
    }

    /// The folder with all homes.
    pub(super) fn folder(&self) -> &Path {
        &self.path
    }

    /// How many nodes.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Makes the account, founds the mesh, and brings all nodes into it.
    pub(super) async fn start(&mut self, storage: u64, keep: bool) -> Result<(), OperationError> {
        let words = self.path.join("words").display().to_string();
        self.run(0, &["init", "--non-interactive", "--words-out", &words]).await?;
        self.serve(0, storage, keep)?;
        self.ready(0).await?;
        let invite = InviteRequest {
            uses: u32::try_from(self.nodes.len()).unwrap_or(u32::MAX),
            expires_ms: 3_600_000,
            node: true,
            account: true,
            bytes_per_node: u64::MAX,
        };
        let operations = self.connect().await?;
        let ticket = operations.invite(invite).await?.ticket;
        let file = self.path.join("ticket");
        write_private(&file, &ticket)
            .map_err(|error| failed(format!("the ticket cannot be written: {error}")))?;
        for at in 1..self.nodes.len() {
            self.run(at, &["join", &format!("@{}", file.display())]).await?;
            self.serve(at, storage, keep)?;
        }
        for at in 1..self.nodes.len() {
            self.ready(at).await?;
        }
        Ok(())
    }

    fn first(&self) -> Result<&Node, OperationError> {
        self.nodes.first().ok_or_else(|| failed("there are no nodes"))
    }

    fn node(&mut self, at: usize) -> Result<&mut Node, OperationError> {
        self.nodes.get_mut(at).ok_or_else(|| failed(format!("there is no node {at}")))
    }

    /// Starts a command in a node's home. Everything that writes in the folder is such a process,
    /// so that nothing writes there any more when all are killed.
    fn spawn(&mut self, at: usize, arguments: &[&str]) -> Result<(), OperationError> {
        let password_file = self.password_file.clone();
        let node = self.node(at)?;
        let unstarted =
            |error: io::Error| failed(format!("{} cannot be started: {error}", node.name));
        let program = std::env::current_exe().map_err(unstarted)?;
        let log = log_file(&node.home);
        let log = OpenOptions::new().create(true).append(true).open(log).map_err(unstarted)?;
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            // What the user set for meshes of their own is not for this one.
            if name.as_encoded_bytes().starts_with(b"DATAMESH_") {
                command.env_remove(name);
            }
        }
        command
            .arg("--home")
            .arg(node.home.path())
            .arg("--password-file")
            .arg(password_file)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for the demonstration, which then ends its nodes itself.
            .process_group(0);
        node.child = Some(command.spawn().map_err(unstarted)?);
        Ok(())
    }

    /// Runs a command in a node's home to its end.
    async fn run(&mut self, at: usize, arguments: &[&str]) -> Result<(), OperationError> {
        self.spawn(at, arguments)?;
        let end = Instant::now() + READY_PATIENCE;
        loop {
            let node = self.node(at)?;
            let Some(child) = &mut node.child else { return Ok(()) };
            let what = arguments.first().copied().unwrap_or_default();
            match child.try_wait().map_err(failed)? {
                Some(status) if status.success() => {
                    node.child = None;
                    return Ok(());
                }
                Some(status) => {
                    return Err(failed(format!("{what} for {} failed: {status}", node.name)));
                }
                None if Instant::now() >= end => {
                    let seconds = READY_PATIENCE.as_secs();
                    let name = &node.name;
                    return Err(failed(format!("{what} for {name} took more than {seconds} s")));
                }
                None => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Starts a node's service.
    fn serve(&mut self, at: usize, storage: u64, keep: bool) -> Result<(), OperationError> {
        let (domain, storage) = (self.node(at)?.domain.clone(), storage.to_string());
        let mut arguments = vec!["service", "--listen", "/ip4/127.0.0.1/tcp/0"];
        arguments.extend(["--operator", "demo", "--domain", &domain, "--storage", &storage]);
        if !keep {
            arguments.extend(["--timeout", NODE_LIFETIME]);
        }
        self.spawn(at, &arguments)
    }

    /// Waits until a node is ready.
    async fn ready(&mut self, at: usize) -> Result<(), OperationError> {
        let end = Instant::now() + READY_PATIENCE;
        loop {
            let node = self.node(at)?;
            if let Some(status) = read_status(&node.home) {
                node.id = Some(status.peer_id);
                return Ok(());
            }
            let ended = match &mut node.child {
                Some(child) => child.try_wait().map_err(failed)?,
                None => None,
            };
            let name = node.name.clone();
            if let Some(status) = ended {
                return Err(failed(format!("{name} ended at its start: {status}")));
            }
            if Instant::now() >= end {
                let seconds = READY_PATIENCE.as_secs();
                return Err(failed(format!("{name} is not ready after {seconds} s")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The operations of the first node's home.
    pub(super) async fn connect(&self) -> Result<Arc<dyn Operations>, OperationError> {
        let password = self.password.clone();
        let source: PasswordSource = Arc::new(move || Ok(password.clone()));
        datamesh_node::connect(&self.first()?.home, source, false).await
    }

    /// Shows the ends of the logs of nodes that died by themselves; where none did, of the node
    /// through which everything is asked, if it has one.
    pub(super) fn show_logs(&mut self) {
        let ended = |node: &mut Node| {
            node.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))))
        };
        let mut concerned: Vec<usize> = Vec::new();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            if ended(node) {
                concerned.push(at);
            }
        }
        if concerned.is_empty() {
            concerned.push(0);
        }
        for node in concerned.into_iter().filter_map(|at| self.nodes.get(at)) {
            if node.child.is_some() {
                node.show_log();
            }
        }
    }
}

impl Node {
    fn show_log(&self) {
        let tail = tail(&log_file(&self.home)).unwrap_or_else(|error| error.to_string());
        to_stderr(&format!("the end of the log of {}:", self.name));
        for line in tail.lines() {
            to_stderr(&format!("    {}", visible(line)));
        }
    }
}

impl Mesh {
    /// The nodes with the most shards, but not the first, through which everything is asked.
    pub(super) fn most_loaded(&self, shards: &Shards, count: usize) -> Vec<NodeId> {
        let mut nodes: Vec<(usize, NodeId)> = self
            .nodes
            .iter()
            .skip(1)
            .filter_map(|node| node.id)
            .map(|id| (shards.get(&id).map_or(0, BTreeSet::len), id))
            .collect();
        nodes.sort_by(|a, b| b.cmp(a));
        nodes.into_iter().take(count).map(|(_, id)| id).collect()
    }

    /// Kills a node and removes all that it had. Returns its name.
    pub(super) fn lose(&mut self, id: NodeId) -> io::Result<String> {
        let node = self.nodes.iter_mut().find(|node| node.id == Some(id));
        let node = node.ok_or_else(|| io::Error::other("there is no such node"))?;
        if let Some(mut child) = node.child.take() {
            child.kill()?;
            child.wait()?;
        }
        remove_socket(&node.home);
        std::fs::remove_dir_all(node.home.path())?;
        Ok(format!("{} ({})", node.name, node.domain))
    }

    /// All nodes with what they held.
    pub(super) fn describe(&self, shards: &Shards, lost: &[NodeId]) -> Vec<Placed> {
        let placed = |node: &Node| {
            let id = node.id?;
            Some(Placed {
                node: id,
                name: node.name.clone(),
                domain: node.domain.clone(),
                shards: shards.get(&id).map_or(0, BTreeSet::len) as u64,
                killed: lost.contains(&id),
            })
        };
        self.nodes.iter().filter_map(placed).collect()
    }

    /// Lets the nodes live on.
    pub(super) fn keep(&mut self) -> Kept {
        let folder = match self.folder.take() {
            Some(folder) => folder.keep(),
            None => self.path.clone(),
        };
        let home = folder.join("node-1");
        let pids = self.nodes.iter_mut().filter_map(|node| Some(node.child.take()?.id())).collect();
        Kept { folder, home, password_file: self.password_file.clone(), pids }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().filter_map(|node| node.child.as_mut()) {
            if let Err(error) = child.kill() {
                tracing::warn!(%error, pid = child.id(), "a node cannot be killed");
            }
        }
        for mut child in self.nodes.iter_mut().filter_map(|node| node.child.take()) {
            if let Err(error) = child.wait() {
                tracing::warn!(%error, pid = child.id(), "a node cannot be waited for");
            }
        }
        if self.folder.is_some() {
            self.nodes.iter().for_each(|node| remove_socket(&node.home));
        }
        if let Some(folder) = self.folder.take()
            && let Err(error) = folder.close()
        {
            to_stderr(&format!("the folder {} stays behind: {error}", self.path.display()));
        }
    }
}

/// Removes the socket of a killed node where the home's path was too long to have it inside.
fn remove_socket(home: &Home) {
    if let Some(status) = read_status(home)
        && !status.socket.starts_with(home.path())
    {
        // It is a leftover of no consequence where this fails.
        drop(std::fs::remove_file(&status.socket));
        drop(status.socket.parent().map(std::fs::remove_dir));
    }
}

fn log_file(home: &Home) -> PathBuf {
    home.path().with_extension("log")
}

/// 128 random bits in hexadecimal.
fn random_password() -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; 16]);
    File::open("/dev/urandom")?.read_exact(&mut *bytes)?;
    Ok(Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(file, "{text}")
}

fn tail(file: &Path) -> io::Result<String> {
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
