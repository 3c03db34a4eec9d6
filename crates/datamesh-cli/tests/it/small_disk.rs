//! Full disks: a small file system of one's own needs a name space of one's own, which not every
//! machine gives.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use datamesh_testkit::processes::{Done, Mesh};

use crate::{PROGRAM, not_run};

/// A shell that runs `script` where `folder` is a file system of `bytes`; arguments that are added
/// are the script's. Nothing, after saying so, where this machine does not give that.
pub(crate) fn shell(folder: &Path, bytes: u64, script: &str) -> Option<Command> {
    let inside = |script: &str| {
        let mut inside = Command::new("unshare");
        inside.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        inside.env("FOLDER", folder).env("BYTES", bytes.to_string()).stdin(Stdio::null());
        inside
    };
    let mount = "mount -t tmpfs -o size=$BYTES,mode=700 none \"$FOLDER\"";
    let probe = inside(mount).stderr(Stdio::null()).status();
    if probe.is_ok_and(|status| status.success()) {
        return Some(inside(&format!("{mount} && {script}")));
    }
    not_run("no name space for a small file system");
    None
}

/// What `script` does where `folder` is a file system of `bytes`: `$PROGRAM` in the home `$HOME_OF`, which is n0's,
/// and these variables. Nothing where that cannot be.
pub(crate) fn run(
    mesh: &Mesh,
    (folder, bytes): (&Path, u64),
    script: &str,
    variables: &[(&str, &OsStr)],
) -> Option<Done> {
    let mut shell = shell(folder, bytes, script)?;
    shell.env("PROGRAM", PROGRAM).env("HOME_OF", mesh.path("n0"));
    shell.env("DATAMESH_PASSWORD_FILE", mesh.path("password")).envs(variables.iter().copied());
    Some(shell.output().unwrap().into())
}
