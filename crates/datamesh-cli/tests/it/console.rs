//! The console: the same commands from a pipe and on a terminal.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::Mesh;
use serde_json::Value;

use crate::PROGRAM;
use crate::terminal::Terminal;

#[test]
fn commands_from_a_pipe_do_what_they_do_in_a_shell() {
    let mesh = Mesh::of(PROGRAM, 6);
    mesh.pipe("n0", &["put", "--", "-", "work/one"], &noise(1, 50_000)).ok();
    let shell = |arguments: &[&str]| mesh.run("n0", arguments).out;
    let lines = "\n# nothing\nlist -r\nduplicate work/one 'work/the other'\nlist -r\nversions work/one\nexit\nlist\n";
    let piped = mesh.pipe("n0", &["interactive", "--json"], lines.as_bytes()).ok();
    let answers: Vec<&str> = piped.out.lines().collect();
    assert_eq!(answers.len(), 4, "{}", piped.out);
    assert_eq!(answers[2], shell(&["list", "-r", "--json"]).trim_end());
    assert_eq!(answers[3], shell(&["versions", "work/one", "--json"]).trim_end());
    let placed: Value = serde_json::from_str(answers[1]).unwrap();
    assert_eq!(placed["files"][0]["to"], "work/the other");

    // The first failure is what the exit code tells; the others go on. An option of a line is of that line.
    let lines =
        "get nobody\nput - x\nstats --jsn\nlist 'a\ninteractive\nlist --format csv\nlist -r\n";
    let piped = mesh.pipe("n0", &["interactive"], lines.as_bytes()).code(3);
    assert!(piped.out.contains("type,path,kind"), "{}", piped.out);
    assert!(piped.out.contains("work/one"), "{}", piped.out);
    for told in
        ["there is no file", "console's own", "--json", "quotation mark", "this is the console"]
    {
        assert!(piped.err.contains(told), "{told}: {}", piped.err);
    }
    let helped = mesh.pipe("n0", &["interactive"], b"help get\nquick-help\n").ok();
    assert!(helped.out.contains("Examples:"), "{}", helped.out);
    assert!(helped.out.ends_with(&shell(&["quick-help"])), "{}", helped.out);
    assert!(mesh.pipe("n0", &["interactive"], b"").ok().out.is_empty());
    mesh.pipe("n0", &["interactive"], b"\xff\xfe\n").code(1);
    let alone = mesh.run("nowhere", &["list"]).code;
    assert_ne!(alone, 0);
    mesh.pipe("nowhere", &["interactive"], b"list\n").code(alone);
}

#[test]
fn somebody_types_completes_interrupts_and_leaves() {
    let mesh = Mesh::of(PROGRAM, 6);
    mesh.pipe("n0", &["put", "--", "-", "a long name.txt"], &noise(1, 50_000)).ok();
    let mut terminal = Terminal::start(&mesh.command("n0", &["interactive"]));
    terminal.shows("exit leaves");
    terminal.shows("datamesh");
    terminal.shows("6 of 6 nodes alive");
    terminal.press("vers\t");
    terminal.shows("versions");
    terminal.press("a\t");
    terminal.shows("'a long name.txt'");
    terminal.press("\r");
    terminal.shows("48.8 KiB");
    // Nobody ever writes to the pipe.
    let pipe = mesh.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    terminal.press(&format!("put {} endless\r", pipe.display()));
    terminal.press_until("\x03", "interrupted");
    terminal.press("putt x\r");
    terminal.shows("a similar subcommand exists");
    // Up finds what was typed before; Ctrl-C throws the line away, Ctrl-D leaves.
    terminal.press("\x1b[A");
    terminal.shows("putt x");
    terminal.press("\x03");
    assert!(terminal.ends_by("\x04").success());
    let history = mesh.path("n0").join("console-history");
    assert_eq!(fs::metadata(&history).unwrap().permissions().mode() & 0o777, 0o600);
    let typed = fs::read_to_string(history).unwrap();
    assert!(typed.contains("versions 'a long name.txt'"), "{typed}");
}

#[test]
fn the_first_start_asks_and_ends_in_the_console() {
    let mesh = Mesh::empty(PROGRAM);
    let mut terminal = Terminal::start(&mesh.command("fresh", &[]));
    terminal.shows("This machine is to be");
    terminal.press("\r");
    terminal.shows("It offers");
    terminal.press("some\r");
    terminal.press_until("\x7f\x7f\x7f\x7f\x7f1GiB\r", "failure domain");
    terminal.press("zone-a/host-1\r");
    terminal.shows("It listens on");
    terminal.press("/ip4/127.0.0.1/tcp/0\r");
    terminal.shows("Its network is");
    terminal.press("\x1b[B\x1b[B\r");
    terminal.shows("config set network.preset test");
    terminal.shows("Do it");
    terminal.press("y");
    terminal.shows("config.toml");
    terminal.shows("storage = \"1GiB\"");
    terminal.shows("Write these 24 words down");
    terminal.press("yes\r");
    terminal.shows("exit leaves");
    terminal.shows("no service here");
    terminal.press("config get service.domain\r");
    terminal.shows("zone-a/host-1");
    terminal.press("exit\r");
    assert!(terminal.ends().success());
    // What is set up is not asked for again; without a terminal nobody is asked at all.
    let mut again = Terminal::start(&mesh.command("fresh", &[]));
    again.shows("exit leaves");
    again.press("exit\r");
    assert!(again.ends().success());
    let told = mesh.run("elsewhere", &[]).code(2);
    assert!(told.err.contains("Usage:"), "{}", told.err);
}

#[test]
fn who_does_not_agree_has_an_empty_home() {
    let mesh = Mesh::empty(PROGRAM);
    let mut terminal = Terminal::start(&mesh.command("fresh", &[]));
    terminal.shows("This machine is to be");
    terminal.press("\x1b[A\r");
    terminal.shows("Its network is");
    terminal.press("\r");
    terminal.shows("address of a node");
    terminal.press("/ip4/127.0.0.1/tcp/9\r");
    terminal.shows("recover --peer /ip4/127.0.0.1/tcp/9");
    terminal.press("n");
    terminal.shows("nothing was done");
    terminal.shows("exit leaves");
    assert!(terminal.ends_by("\x04").success());
    assert!(!mesh.path("fresh").exists());
}

#[test]
fn who_breaks_off_before_the_words_are_kept_has_no_account() {
    let mesh = Mesh::empty(PROGRAM);
    // By the command, and at the end of the questions.
    let mut terminal = Terminal::start(&mesh.command("home", &["init"]));
    terminal.shows("when they are written down");
    assert_eq!(terminal.ends_by("\x03").code(), Some(130));
    assert!(!mesh.path("home").join("account").exists());
    let mut terminal = Terminal::start(&mesh.command("home", &["init"]));
    terminal.shows("when they are written down");
    terminal.press("not yet\r");
    terminal.shows("when they are written down");
    assert_eq!(terminal.ends_by("\x04").code(), Some(1));
    assert!(!mesh.path("home").join("account").exists());

    let mut terminal = Terminal::start(&mesh.command("home", &[]));
    terminal.shows("This machine is to be");
    terminal.press("\x1b[B\x1b[B\x1b[B\r");
    terminal.shows("Its network is");
    assert_eq!(terminal.ends_by("\x03").code(), Some(130));
    let mut terminal = Terminal::start(&mesh.command("home", &["init"]));
    terminal.shows("when they are written down");
    terminal.press("yes\r");
    assert!(terminal.ends().success());
    assert!(mesh.path("home").join("account").exists());
}
