//! The examples of every command's help, each run as it stands by a shell, with real processes.
//!
//! What an example cannot know (an address, a ticket, an id) is put in its place, and addresses and folders
//! of the machine are exchanged for others. Every example ends well, except for the few that are named with what
//! they end with.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::{Done, Mesh, command};

use crate::PROGRAM;
use crate::recover::address;

/// Commands whose examples are run together, in this order.
const FILES: &[&str] = &[
    "put",
    "get",
    "list",
    "info",
    "versions",
    "remove",
    "duplicate",
    "rename",
    "search",
    "recent",
    "popular",
    "batch-put",
    "batch-get",
    "batch-tag",
    "pin",
    "unpin",
];
const FOLDERS: &[&str] =
    &["share", "sync", "export", "import", "cleanup", "optimize", "benchmark", "repair"];
const HOMES: &[&str] = &[
    "init",
    "recover",
    "service",
    "interactive",
    "invite",
    "join",
    "bootstrap",
    "keys",
    "audit",
    "config",
    "advanced",
    "doctor",
    "generate-completion",
    "quick-help",
];
const NETWORK: &[&str] = &[
    "security",
    "transport",
    "peers",
    "stats",
    "health",
    "distribution",
    "discover",
    "network",
    "bandwidth",
    "networks",
];

/// Commands whose examples other tests run.
const ELSEWHERE: &[&str] = &["demo"];

/// What differs from an example that is run and ends with 0.
struct Special {
    example: &'static str,
    /// What a shell does before.
    before: &'static str,
    code: i32,
    /// What standard error says, where it does not end with 0.
    says: &'static str,
}

const fn after(example: &'static str, before: &'static str) -> Special {
    Special { example, before, code: 0, says: "" }
}

const fn ends(example: &'static str, code: i32, says: &'static str) -> Special {
    Special { example, before: "", code, says }
}

const SPECIAL: &[Special] = &[
    after("datamesh get 'datamesh://share/8sT…#4Hq…'", "rm report.pdf"),
    after("datamesh versions --undelete report.pdf", "datamesh remove report.pdf"),
    after("datamesh rename draft.pdf report.pdf", "datamesh remove report.pdf"),
    after("datamesh share --link -- list", "datamesh duplicate draft.pdf list"),
    after("datamesh import all.tar.zst --preserve-structure", "datamesh export all.tar.zst"),
    after(
        "datamesh import holiday.zip --into photos/2026",
        "datamesh export holiday.zip --pattern photos/2019",
    ),
    after("datamesh import old.zip --dry-run", "datamesh export old.zip --pattern notes"),
    after(
        "datamesh import all.tar.zst.age --preserve-structure --verify",
        "datamesh export --encrypt --archive-password-file p all.tar.zst.age",
    ),
    after(
        "xz -dc old.tar.xz | datamesh import - --preserve-structure",
        "datamesh export old.tar && xz old.tar",
    ),
    ends("datamesh optimize --rescheme photos/2025.tar --scheme 8+4", 5, "7 failure domains"),
    ends("datamesh init", 2, "can be shown on a terminal only"),
    ends("datamesh recover --peer /ip4/203.0.113.5/tcp/4600", 2, "has an account already"),
    after(
        "datamesh --home ~/mesh recover --words-file words.txt --password-file p --peer ADDRESS",
        "cp ../n0.words words.txt",
    ),
    after(
        "datamesh --home node1 service --listen /ip4/0.0.0.0/tcp/4600 --storage 500GiB --domain \
         zone-a/host-1 --operator op-1",
        "datamesh --home node1 init --non-interactive --words-out words1",
    ),
    after(
        "datamesh --home node2 service --listen /ip4/127.0.0.1/tcp/0 --storage 8GiB",
        "datamesh --home node2 init --non-interactive --words-out words2",
    ),
    after(
        "datamesh service --log-folder /var/log/datamesh --log-keep 30",
        "datamesh --home node3 init --non-interactive --words-out words3",
    ),
    after("datamesh join @ticket", "datamesh invite > ticket"),
    after("datamesh keys add --words-file words.txt laptop.keys", "cp ../n0.words words.txt"),
    after("datamesh keys rotate --revoke 4f1c9a", DEVICE),
    after("datamesh keys rotate --revoke 4f1c9a --deep", DEVICE),
];

/// Makes another device of the account, which has put a file, and notes its id.
const DEVICE: &str = "rm -rf lost lost.keys; datamesh keys add --words-file words.txt lost.keys \
    && datamesh --home lost keys import lost.keys && datamesh --home lost put -q p lost.txt \
    && datamesh --home lost --json keys list | grep -o '\"device\":\"[^\"]*' | head -1 \
    | cut -d'\"' -f4 > ~/device";

/// What stands for something in examples, and what is run in its place.
const EXCHANGED: &[(&str, &str)] = &[
    ("'datamesh://share/8sT…#4Hq…'", "$(datamesh share report.pdf --link)"),
    ("--password --expires", "--password --link-password-file p --expires"),
    ("datamesh export --encrypt", "datamesh export --encrypt --archive-password-file p"),
    ("all.tar.zst.age --preserve", "all.tar.zst.age --archive-password-file p --preserve"),
    ("datamesh join datamesh-invite-…", "datamesh --home joined join $TICKET"),
    ("datamesh join @", "datamesh --home entered join @"),
    ("datamesh keys rotate", "datamesh keys rotate --yes --words-file words.txt"),
    ("source <(datamesh generate-completion zsh)", "datamesh generate-completion zsh"),
    ("datamesh-contact-3fK…", "$CONTACT"),
    ("datamesh-invite-…", "$TICKET"),
    ("/ip4/203.0.113.5/tcp/4600", "$ADDRESS"),
    (" ADDRESS", " $ADDRESS"),
    ("/ip4/0.0.0.0/tcp/4600", "/ip4/127.0.0.1/tcp/0"),
    ("/dns4/node.example.org/tcp/4001", "/ip4/127.0.0.1/tcp/1"),
    ("/var/log/datamesh", "log"),
    ("/usr/local/share/man/man1", "man1"),
    ("5d1f02a9", "$(datamesh share list | sed -n 2p | cut -d' ' -f1)"),
    ("PvDQv6Cx", "$PEER"),
    ("4f1c9a", "$(cat ~/device)"),
    ("1312:6f1c…", "$NOTED"),
    ("ssh other datamesh", "datamesh --home other"),
    ("--size 256MiB --iterations 5", "--size 2MiB --iterations 2 --duration 10ms"),
    ("datamesh health --continuous", "once_said 'margin' datamesh health --continuous"),
    ("datamesh --home node", "once_ready datamesh --home node"),
    (
        "datamesh service --log",
        "once_ready datamesh --home node3 service --listen /ip4/127.0.0.1/tcp/0 --log",
    ),
    ("datamesh sync --bidirectional", "once_said watching datamesh sync --bidirectional"),
    ("benchmark --network --json", "benchmark --network --json --size 1MiB --iterations 1"),
];

/// Interrupts a command that does not end by itself: when it has said something, or when its home (the third word)
/// shows that the service is ready.
const INTERRUPTED: &str = r#"
until_then() {
    local ready=$1; shift
    "$@" >said 2>&1 & local child=$!
    until eval "$ready" || ! kill -0 $child 2>/dev/null; do sleep 0.05; done
    kill -INT $child
    wait $child; local code=$?
    cat said; return $code
}
once_said() { local text=$1; shift; rm -f said; until_then "grep -q '$text' said 2>/dev/null" "$@"; }
once_ready() { rm -f "$3/status.json"; until_then "test -e '$3/status.json'" "$@"; }
"#;

/// A mesh, an account with some files, and a folder in which a shell runs examples.
struct Desk {
    mesh: Mesh,
    variables: Vec<(&'static str, String)>,
}

impl Desk {
    fn new() -> Self {
        let mesh = Mesh::of(PROGRAM, 7);
        fs::create_dir(mesh.path("bin")).unwrap();
        symlink(PROGRAM, mesh.path("bin/datamesh")).unwrap();
        let mut desk = Self { mesh, variables: Vec::new() };
        desk.lay_out();
        desk.mesh.client("friend");
        let contact = desk.asked("friend", &["keys", "recipient"]);
        let ticket = desk.mesh.run("n0", &["invite"]).ok().out.trim().to_owned();
        let peer = desk.mesh.id_of(1).trim_start_matches("12D3KooW")[..8].to_owned();
        let audit = desk.asked("n0", &["audit", "verify"]);
        desk.variables = vec![
            ("CONTACT", contact["recipient"].as_str().unwrap().to_owned()),
            ("TICKET", ticket),
            ("ADDRESS", address(&desk.mesh, "n1")),
            ("PEER", peer),
            ("NOTED", format!("{}:{}", audit["last"], audit["hash"].as_str().unwrap())),
        ];
        desk
    }

    fn asked(&self, home: &str, arguments: &[&str]) -> serde_json::Value {
        self.mesh.run(home, &[&["--json"], arguments].concat()).ok().json()
    }

    /// The folder, as a new user has it, and the files of the account.
    fn lay_out(&self) {
        for folder in ["work", "user"] {
            drop(fs::remove_dir_all(self.mesh.path(folder)));
        }
        let write = |name: &str, size: usize| {
            let file = self.mesh.path("work").join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, noise(size as u64, size)).unwrap();
        };
        for (number, name) in NAMES.iter().enumerate() {
            write(name, 3000 + number);
        }
        write("film.mkv", 5_000_000);
        for folder in ["user/desk", "user/.config/fish/completions"] {
            fs::create_dir_all(self.mesh.path(folder)).unwrap();
        }
        let top = self.asked("n0", &["list"])["entries"].clone();
        let top = top.as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap());
        let remove: Vec<&str> = ["remove", "-r", "--"].into_iter().chain(top).collect();
        if remove.len() > 3 {
            self.mesh.run("n0", &remove).ok();
        }
        // Three versions of one file.
        for version in ["one", "two"] {
            fs::write(self.mesh.path("work/report.pdf"), version).unwrap();
            self.shell("datamesh put -q report.pdf").ok();
        }
        write("report.pdf", 3000);
        self.shell("datamesh put -q -r . /").ok();
        fs::write(self.mesh.path("work/p"), datamesh_testkit::processes::PASSWORD).unwrap();
    }

    /// Runs a line of a shell in the folder.
    fn shell(&self, line: &str) -> Done {
        let path = std::env::var("PATH").unwrap();
        let mut shell = command(Path::new("bash"));
        shell.args(["-c", &format!("set -o pipefail; {INTERRUPTED}\n{line}")]);
        shell.current_dir(self.mesh.path("work"));
        shell.env("PATH", format!("{}:{path}", self.mesh.path("bin").display()));
        shell.env("HOME", self.mesh.path("user"));
        shell.env("DATAMESH_HOME", self.mesh.path("n0"));
        shell.env("DATAMESH_PASSWORD_FILE", self.mesh.path("password"));
        shell.envs(self.variables.iter().map(|(name, value)| (name, value)));
        shell.output().unwrap().into()
    }

    /// Runs the examples of these commands, and says what went otherwise than it should.
    fn run(&self, names: &[&str]) -> String {
        let mut wrong = String::new();
        for name in names {
            self.lay_out();
            for example in examples(name) {
                let special = SPECIAL.iter().find(|special| special.example == example);
                let (before, code, says) =
                    special.map_or(("", 0, ""), |it| (it.before, it.code, it.says));
                let mut line = example.clone();
                for (stands, real) in EXCHANGED {
                    line = line.replace(stands, real);
                }
                if !before.is_empty() {
                    let done = self.shell(before);
                    if done.code != 0 {
                        writeln!(wrong, "before {example:?}: {} {}", done.out, done.err).unwrap();
                    }
                }
                let done = self.shell(&line);
                if done.code != code || !done.err.contains(says) {
                    writeln!(wrong, "{line:?} ends with {}: {} {}", done.code, done.out, done.err)
                        .unwrap();
                }
            }
        }
        wrong
    }
}

/// Files of the folder, and of the account.
const NAMES: &[&str] = &[
    "report.pdf",
    "draft.pdf",
    "thesis.pdf",
    "contract.pdf",
    "photos/2026/one.jpg",
    "photos/2019/two.jpg",
    "photos/three.png",
    "photos/2025.tar",
    "src/main.rs",
    "src/Cargo.toml",
    "photos/four.jpg",
    "notes/todo.txt",
];

/// The examples of a command's help: each one line, without what is said of it.
fn examples(name: &str) -> Vec<String> {
    let help: Done = command(Path::new(PROGRAM)).args([name, "--help"]).output().unwrap().into();
    let (_, text) = help.out.split_once("Examples:\n").unwrap_or(("", ""));
    let text = text.replace(" \\\n     ", "");
    let lines = text.lines().take_while(|line| line.starts_with("  "));
    let line = |line: &str| {
        let line = line.trim_start();
        line.split("  ").next().unwrap().to_owned()
    };
    lines.map(line).collect()
}

#[track_caller]
fn all_run(names: &[&str]) {
    let wrong = Desk::new().run(names);
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn examples_about_files_run() {
    all_run(FILES);
}

#[test]
fn examples_about_folders_and_upkeep_run() {
    all_run(FOLDERS);
}

#[test]
fn examples_about_homes_run() {
    all_run(HOMES);
}

#[test]
fn examples_about_the_network_run() {
    all_run(NETWORK);
}

#[test]
fn every_command_has_examples() {
    let all: BTreeSet<String> = crate::table::command(&[]).below.into_iter().collect();
    let here = [FILES, FOLDERS, HOMES, NETWORK, ELSEWHERE].concat();
    assert_eq!(all, here.iter().map(|name| (*name).to_owned()).collect());
    for name in all {
        let examples = examples(&name);
        assert!(!examples.is_empty(), "{name} has no example");
        for example in examples {
            assert!(example.contains("datamesh"), "{name}: {example}");
        }
    }
    let known: Vec<String> = here.iter().flat_map(|name| examples(name)).collect();
    for special in SPECIAL {
        assert!(known.iter().any(|it| it == special.example), "no help has {}", special.example);
    }
}
