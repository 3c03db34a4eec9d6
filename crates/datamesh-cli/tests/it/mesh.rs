//! Meshes of real processes, for the tests.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a node may take to be ready on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const PASSWORD: &str = "correct horse battery";

/// A folder with homes, and the nodes that run in them. Dropping it ends every process.
pub(crate) struct Mesh {
    pub(crate) folder: tempfile::TempDir,
    nodes: Vec<Option<Child>>,
}

/// What a command wrote and returned.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
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
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// The same, if the command ended with this code.
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

/// The program, without what the surroundings of the test say.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_datamesh"));
    for name in ["DATAMESH_HOME", "DATAMESH_PASSWORD_FILE", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

impl Mesh {
    /// An empty folder with a password file.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
        Self { folder, nodes: Vec::new() }
    }

    /// Founds a mesh of `count` nodes, each in a failure domain of its own. Node 0's home has the
    /// account.
    pub(crate) fn of(count: usize) -> Self {
        let mut mesh = Self::empty();
        mesh.init("n0");
        mesh.start(0, &["--domain", "zone-0/host-0"]);
        let ticket = mesh.run("n0", &["invite"]).ok().out.trim().to_owned();
        for i in 1..count {
            let home = format!("n{i}");
            mesh.run(&home, &["join", &ticket]).ok();
            mesh.start(i, &["--domain", &format!("zone-{i}/host-{i}")]);
        }
        let end = Instant::now() + PATIENCE;
        while mesh.run("n0", &["peers", "--json"]).ok().json().as_array().unwrap().len() < count {
            assert!(Instant::now() < end, "the nodes did not find each other");
        }
        mesh
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes an account in a home.
    pub(crate) fn init(&self, home: &str) {
        let words = self.path(&format!("{home}.words"));
        let words = words.to_str().unwrap();
        self.run(home, &["init", "--non-interactive", "--words-out", words]).ok();
    }

    /// A command in a home, which may still be changed.
    pub(crate) fn command(&self, home: &str, arguments: &[&str]) -> Command {
        let mut command = program();
        command
            .arg("--home")
            .arg(self.path(home))
            .args(arguments)
            .env("DATAMESH_PASSWORD_FILE", self.path("password"));
        command
    }

    /// Runs a command in a home to its end.
    pub(crate) fn run(&self, home: &str, arguments: &[&str]) -> Done {
        self.command(home, arguments).output().unwrap().into()
    }

    /// Runs a command in a home with this on its standard input.
    pub(crate) fn pipe(&self, home: &str, arguments: &[&str], input: &[u8]) -> Done {
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
    pub(crate) fn bytes(&self, home: &str, arguments: &[&str]) -> Vec<u8> {
        let output = self.command(home, arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Starts node `number` in its home and waits until it is ready.
    pub(crate) fn start(&mut self, number: usize, arguments: &[&str]) {
        let home = format!("n{number}");
        let mut command = self.command(&home, &["service", "--listen", "/ip4/127.0.0.1/tcp/0"]);
        let log = std::fs::File::create(self.path(&format!("{home}.log"))).unwrap();
        command.args(["--storage", "4GiB"]).args(arguments);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        while !self.path(&home).join("status.json").exists() {
            let log = || std::fs::read_to_string(self.path(&format!("{home}.log"))).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "node {number} ended: {}", log());
            assert!(Instant::now() < end, "node {number} is not ready: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.nodes.resize_with(self.nodes.len().max(number + 1), || None);
        self.nodes[number] = Some(child);
    }

    /// Kills a node with SIGKILL.
    pub(crate) fn kill(&mut self, number: usize) {
        let mut child = self.nodes[number].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The number of the node with this id.
    pub(crate) fn number_of(&self, id: &str) -> usize {
        (0..self.nodes.len())
            .find(|i| {
                let status = self.path(&format!("n{i}")).join("status.json");
                std::fs::read_to_string(status).is_ok_and(|text| text.contains(id))
            })
            .unwrap()
    }

    pub(crate) fn text(&self, path: &Path) -> String {
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
