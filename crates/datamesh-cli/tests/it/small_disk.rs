//! Full disks: a small file system of one's own needs a name space of one's own, which not every
//! machine gives.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::not_run;

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
