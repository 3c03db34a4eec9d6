//! Meshes of real processes: the program under test on this machine's loopback, in a folder that
//! goes when the mesh is dropped.
//!
//! Everything here stops with a panic at the first surprise, which is what a test wants.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and processes live in real time"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a node may take to be ready on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The password of every keystore in such a mesh.
pub const PASSWORD: &str = "correct horse battery";

/// What a node offers where nothing else is asked for.
const STORAGE: &str = "4GiB";

/// A folder with homes, and the nodes that run in them. Dropping it ends every process.
///
/// Home `n0` has the account that founded the mesh, and its node is number 0.
#[derive(Debug)]
pub struct Mesh {
    program: PathBuf,
    storage: String,
    listen: Vec<String>,
    settings: Vec<(String, String)>,
    nodes: Vec<Option<Child>>,
    /// After the nodes, so that they are dead when it goes.
    folder: tempfile::TempDir,
}

/// One home of a mesh; it says nothing about whether the mesh is still there.
#[derive(Debug, Clone)]
pub struct Home {
    program: PathBuf,
    path: PathBuf,
    password: PathBuf,
}

impl Home {
    /// A command in this home, which may still be changed.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(&self.program);
        command
            .arg("--home")
            .arg(&self.path)
            .args(arguments)
            .env("DATAMESH_PASSWORD_FILE", &self.password);
        command
    }
}

/// What a command wrote and returned.
#[derive(Debug)]
pub struct Done {
    /// The exit code, or -1 for a command that a signal ended.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Done {
    /// The same, if the command ended well.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// The same, if the command ended with this code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}\nout: {}\nerr: {}", self.out, self.err))
    }
}

/// Waits until something is so, which `what` names where it never is.
#[track_caller]
pub fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "it did not come to this: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// `program`, without what the surroundings of the test say and with nothing to read.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"DATAMESH_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

impl Mesh {
    /// An empty folder with a password file.
    pub fn empty(program: impl Into<PathBuf>) -> Self {
        Self::inside(&std::env::temp_dir(), program)
    }

    /// The same, in a folder made inside `parent`.
    pub fn inside(parent: &Path, program: impl Into<PathBuf>) -> Self {
        let folder = tempfile::Builder::new().prefix("datamesh-").tempdir_in(parent).unwrap();
        std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
        Self {
            program: program.into(),
            storage: STORAGE.to_owned(),
            listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
            settings: Vec::new(),
            nodes: Vec::new(),
            folder,
        }
    }

    /// Founds a mesh of `count` nodes, each in a failure domain of its own.
    pub fn of(program: impl Into<PathBuf>, count: usize) -> Self {
        let mut mesh = Self::empty(program);
        mesh.found(count);
        mesh
    }

    /// What each node that is started from now on offers.
    pub fn offer(&mut self, storage: &str) {
        storage.clone_into(&mut self.storage);
    }

    /// Where each node that is started from now on listens: only for nodes in namespaces.
    pub fn listen(&mut self, addresses: &[&str]) {
        self.listen = addresses.iter().map(|&address| address.to_owned()).collect();
    }

    /// Lets nodes that are started from now on have this setting.
    pub fn set(&mut self, key: &str, value: &str) {
        let name = format!("DATAMESH_{}", key.to_uppercase().replace('.', "_"));
        self.settings.push((name, value.to_owned()));
    }

    /// Starts `count` nodes, each in a failure domain of its own, and waits until the first knows
    /// them all.
    pub fn found(&mut self, count: usize) {
        self.init("n0");
        self.start(0, &["--domain", "zone-0/host-0"]);
        let ticket = self.run("n0", &["invite"]).ok().out.trim().to_owned();
        for i in 1..count {
            let home = format!("n{i}");
            self.run(&home, &["join", &ticket]).ok();
            self.start(i, &["--domain", &format!("zone-{i}/host-{i}")]);
        }
        self.members(count);
    }

    /// Waits until the first node knows so many.
    #[track_caller]
    pub fn members(&self, count: usize) {
        let end = Instant::now() + PATIENCE;
        while self.run("n0", &["peers", "--json"]).ok().json().as_array().unwrap().len() < count {
            assert!(Instant::now() < end, "the nodes did not find each other");
        }
    }

    /// A path in the mesh's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes an account in a home.
    pub fn init(&self, home: &str) {
        let words = self.path(&format!("{home}.words"));
        let words = words.to_str().unwrap();
        self.run(home, &["init", "--non-interactive", "--words-out", words]).ok();
    }

    /// A home of the mesh, for use on another thread.
    pub fn home(&self, name: &str) -> Home {
        let (program, password) = (self.program.clone(), self.path("password"));
        Home { program, path: self.path(name), password }
    }

    /// Makes a home with an account alone, which may store in the mesh: its commands do everything
    /// in their own process.
    #[track_caller]
    pub fn client(&self, home: &str) {
        let ticket = self.run("n0", &["invite", "--account-only"]).ok().out.trim().to_owned();
        self.init(home);
        self.run(home, &["join", &ticket]).ok();
    }

    /// The packs of a node's store, the newest last.
    #[track_caller]
    pub fn packs(&self, number: usize) -> Vec<PathBuf> {
        let store = self.path(&format!("n{number}")).join("node/store");
        let files = std::fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
        let mut packs: Vec<PathBuf> =
            files.filter(|path| path.extension().is_some_and(|end| end == "dmp")).collect();
        packs.sort();
        packs
    }

    /// Bytes in the packs of a node.
    #[track_caller]
    pub fn packed(&self, number: usize) -> u64 {
        self.packs(number).iter().map(|pack| std::fs::metadata(pack).unwrap().len()).sum()
    }

    /// A command in a home, which may still be changed.
    pub fn command(&self, home: &str, arguments: &[&str]) -> Command {
        self.home(home).command(arguments)
    }

    /// Runs a command in a home to its end.
    pub fn run(&self, home: &str, arguments: &[&str]) -> Done {
        self.command(home, arguments).output().unwrap().into()
    }

    /// Runs a command in a home with this on its standard input.
    pub fn pipe(&self, home: &str, arguments: &[&str], input: &[u8]) -> Done {
        let mut command = self.command(home, arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that ends before it has read all says why itself.
        drop(stdin.write_all(input));
        drop(stdin);
        child.wait_with_output().unwrap().into()
    }

    /// What a command that ends well writes.
    #[track_caller]
    pub fn bytes(&self, home: &str, arguments: &[&str]) -> Vec<u8> {
        let output = self.command(home, arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// The command that runs node `number` in its home.
    pub fn service(&self, number: usize, arguments: &[&str]) -> Command {
        let home = format!("n{number}");
        let mut command = self.command(&home, &["service"]);
        for address in &self.listen {
            command.args(["--listen", address]);
        }
        command.args(["--storage", &self.storage]).args(arguments);
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts node `number` in its home and waits until it is ready.
    #[track_caller]
    pub fn start(&mut self, number: usize, arguments: &[&str]) {
        let command = self.service(number, arguments);
        self.start_as(number, command);
    }

    /// Starts node `number` by a command that ends up as its process, and waits until it is ready.
    #[track_caller]
    pub fn start_as(&mut self, number: usize, mut command: Command) {
        let home = format!("n{number}");
        let log = std::fs::File::create(self.path(&format!("{home}.log"))).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        // What an earlier process left there, if it was killed.
        drop(std::fs::remove_file(self.path(&home).join("status.json")));
        let mut child = command.spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        while !self.path(&home).join("status.json").exists() {
            let log = || std::fs::read_to_string(self.path(&format!("{home}.log"))).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "node {number} ended: {}", log());
            assert!(Instant::now() < end, "node {number} is not ready: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.nodes.resize_with(self.nodes.len().max(number + 1), || None);
        self.nodes[number] = Some(child);
    }

    /// Kills a node with SIGKILL.
    #[track_caller]
    pub fn kill(&mut self, number: usize) {
        let mut child = self.nodes[number].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The number of the node with this id.
    #[track_caller]
    pub fn number_of(&self, id: &str) -> usize {
        (0..self.nodes.len())
            .find(|i| {
                let status = self.path(&format!("n{i}")).join("status.json");
                std::fs::read_to_string(status).is_ok_and(|text| text.contains(id))
            })
            .unwrap()
    }

    /// The id of the node with this number, which has been ready once.
    #[track_caller]
    pub fn id_of(&self, number: usize) -> String {
        let status = std::fs::read(self.path(&format!("n{number}")).join("status.json")).unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
        status["peer_id"].as_str().unwrap().to_owned()
    }

    /// The nodes that hold the shards of a file's segment, in the order of the shards.
    #[track_caller]
    pub fn holders(&self, name: &str, segment: usize) -> Vec<usize> {
        self.holders_of("n0", name, segment)
    }

    /// The same for a file of another home's account.
    #[track_caller]
    pub fn holders_of(&self, home: &str, name: &str, segment: usize) -> Vec<usize> {
        let info = self.run(home, &["info", "--json", "--", name]).ok().json();
        let shards = info["segments"][segment]["shards"].as_array().unwrap();
        shards.iter().map(|shard| self.number_of(shard["node"].as_str().unwrap())).collect()
    }

    /// The process ids of the nodes that were started and not killed, with their numbers.
    pub fn pids(&self) -> Vec<(usize, u32)> {
        let alive = |(number, node): (usize, &Option<Child>)| Some((number, node.as_ref()?.id()));
        self.nodes.iter().enumerate().filter_map(alive).collect()
    }

    /// A path as an argument.
    pub fn text(&self, path: &Path) -> String {
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            drop(child.kill());
        }
        for child in self.nodes.iter_mut().flatten() {
            drop(child.wait());
        }
    }
}
