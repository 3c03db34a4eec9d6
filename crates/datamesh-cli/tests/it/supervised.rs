//! A service under a service manager: told when it is ready, reads its settings again, writes log files.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::{Mesh, wait_for};
use rustix::process::{Pid, Signal, kill_process};

use crate::PROGRAM;

/// What the service tells next.
fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1024];
    let count = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

#[test]
fn a_manager_is_told_settings_are_read_again_and_logs_are_files() {
    let mut mesh = Mesh::empty(PROGRAM);
    mesh.init("n0");
    let (notify, logs) = (mesh.path("notify"), mesh.path("logs"));
    let socket = UnixDatagram::bind(&notify).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let folder = mesh.text(&logs);
    // What only looks like a log is nobody's to remove.
    fs::create_dir(&logs).unwrap();
    for other in ["a", "b", "c", "d"] {
        fs::write(logs.join(format!("datamesh-{other}.txt")), "mine").unwrap();
    }
    let mut service = mesh.service(0, &["--log-folder", &folder, "--log-keep", "1"]);
    service.env("NOTIFY_SOCKET", &notify);
    mesh.start_as(0, service);
    assert!(told(&socket).contains("READY=1"));
    let log = || {
        let files = fs::read_dir(&logs).unwrap().map(|file| file.unwrap().path());
        files.map(|file| fs::read_to_string(file).unwrap()).collect::<String>()
    };
    wait_for("the log", || log().contains("ready"));

    let pid = Pid::from_raw(mesh.pids()[0].1.cast_signed()).unwrap();
    let reload = || {
        kill_process(pid, Signal::HUP).unwrap();
        assert!(told(&socket).contains("RELOADING=1"));
        assert!(told(&socket).contains("READY=1"));
    };
    mesh.run("n0", &["config", "set", "repair.rate", "7MiB"]).ok();
    mesh.run("n0", &["config", "set", "scrub.rate", "3MiB"]).ok();
    reload();
    wait_for("what changed", || log().contains("the settings were read again"));
    let said = log();
    let line = |key: &str| said.lines().find(|line| line.contains(key)).unwrap();
    assert!(line("repair.rate").contains("at once"), "{said}");
    assert!(line("scrub.rate").contains("from the next start on"), "{said}");

    // Settings that cannot be read change nothing, and the service goes on.
    let file = mesh.path("n0").join("config.toml");
    let right = fs::read(&file).unwrap();
    fs::write(&file, "[repair]\nrate = \"fast\"\n").unwrap();
    reload();
    wait_for("what is wrong", || log().contains("those from before stay"));
    fs::write(&file, right).unwrap();
    reload();
    mesh.run("n0", &["stats"]).ok();

    assert_eq!(fs::read_dir(&logs).unwrap().count(), 5);
    kill_process(pid, Signal::TERM).unwrap();
    assert!(told(&socket).contains("STOPPING=1"));
    wait_for("the end", || !mesh.path("n0").join("status.json").exists());
    mesh.run("n0", &["service", "--log-keep", "3"]).code(2);
    mesh.run("n0", &["service", "--log-folder", "/proc/none"]).code(1);
}

#[test]
fn a_second_signal_ends_what_the_first_lets_finish() {
    let mut mesh = Mesh::empty(PROGRAM);
    mesh.init("n0");
    mesh.start(0, &[]);
    let log = |mesh: &Mesh| fs::read_to_string(mesh.path("n0.log")).unwrap();
    // A put whose bytes never end is under way.
    let mut put = mesh.command("n0", &["put", "--allow-degraded", "--", "-", "endless"]);
    let mut put = put.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut bytes = put.stdin.take().unwrap();
    // More than lies between the two processes, so that the service has taken some of it.
    bytes.write_all(&noise(1, 20_000_000)).unwrap();
    let pid = Pid::from_raw(mesh.pids()[0].1.cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    wait_for("the first signal is heard", || log(&mesh).contains("stopping"));
    kill_process(pid, Signal::TERM).unwrap();
    wait_for("the second signal is heard", || {
        let said = log(&mesh);
        assert!(!said.contains("WARN work under way is given up"), "{said}");
        said.contains("told twice")
    });
    wait_for("the end", || !mesh.path("n0").join("status.json").exists());
    assert!(!put.wait().unwrap().success());
    drop(bytes);
    mesh.kill(0);
    // What was not finished is not there, and the home is as it was.
    mesh.start(0, &[]);
    assert!(!mesh.run("n0", &["list"]).ok().out.contains("endless"));
}

/// Starts a service and sends it a signal as soon as it says that it is ready.
fn told_at_once(mesh: &Mesh, signal: Signal) -> (Child, Pid) {
    let ready = mesh.path("n0").join("status.json");
    let service =
        mesh.service(0, &["--timeout", "2min"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let service = service.unwrap();
    let pid = Pid::from_raw(service.id().cast_signed()).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while !ready.exists() {
        assert!(Instant::now() < end, "the service is not ready");
    }
    kill_process(pid, signal).unwrap();
    (service, pid)
}

#[test]
fn who_reads_that_a_service_is_ready_may_tell_it_something_at_once() {
    let mesh = Mesh::empty(PROGRAM);
    mesh.init("n0");
    for _ in 0..5 {
        let (mut service, _) = told_at_once(&mesh, Signal::TERM);
        assert!(service.wait().unwrap().success());
        assert!(!mesh.path("n0").join("status.json").exists());
        let (mut service, pid) = told_at_once(&mesh, Signal::HUP);
        mesh.run("n0", &["stats"]).ok();
        kill_process(pid, Signal::TERM).unwrap();
        assert!(service.wait().unwrap().success());
    }
}
