//! What looks again and again until it is stopped.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use datamesh_testkit::processes::Mesh;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::PROGRAM;
use crate::terminal::Terminal;

#[test]
fn health_is_looked_at_until_somebody_stops_it() {
    let mesh = Mesh::of(PROGRAM, 6);
    let mut command =
        mesh.command("n0", &["health", "--continuous", "--interval", "200ms", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.take(3) {
        let look: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(look["peers"]["known"], 6);
    }
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
    mesh.run("n0", &["health", "--interval", "1s"]).code(2);

    let mut terminal = Terminal::start(&mesh.command("n0", &["health", "--continuous"]));
    terminal.shows("6 alive of 6");
    terminal.shows("Ctrl-C ends it");
    terminal.press("\x03");
    assert!(terminal.ends().success());
}
