//! A terminal that a test types on.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

/// How long the program may take to say something.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program on a pseudo-terminal of 100 columns.
pub(crate) struct Terminal {
    child: Child,
    keys: File,
    screen: Arc<Mutex<Vec<u8>>>,
    seen: usize,
}

impl Terminal {
    /// Starts a command, whose controlling terminal it is.
    pub(crate) fn start(command: &Command) -> Self {
        let near = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&near).unwrap();
        rustix::pty::unlockpt(&near).unwrap();
        let name = rustix::pty::ptsname(&near, Vec::new()).unwrap().into_string().unwrap();
        let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&near, size).unwrap();
        let far = || Stdio::from(File::options().read(true).write(true).open(&name).unwrap());
        let mut started = Command::new("setsid");
        started.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => started.env(name, value),
                None => started.env_remove(name),
            };
        }
        started.env("TERM", "xterm").stdin(far()).stdout(far()).stderr(far());
        let child = started.spawn().unwrap();
        drop(started);
        let screen = Arc::<Mutex<Vec<u8>>>::default();
        let (mut from, shown) = (File::from(near.try_clone().unwrap()), Arc::clone(&screen));
        let mut answers = File::from(near.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The terminal is gone when the program is.
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                let new = &buffer[..count];
                if new.windows(4).any(|four| four == b"\x1b[6n") {
                    let _ = answers.write_all(b"\x1b[1;1R");
                }
                shown.lock().unwrap().extend_from_slice(new);
            }
        });
        Self { child, keys: File::from(near), screen, seen: 0 }
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the program has shown a text since the last that was waited for.
    pub(crate) fn shows(&mut self, text: &str) {
        let begun = Instant::now();
        while !self.has_shown(text) {
            assert!(begun.elapsed() < PATIENCE, "{text:?} is not shown: {:?}", self.rest());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What was shown since the last that was waited for.
    fn rest(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()[self.seen..]).into_owned()
    }

    /// Presses keys again and again until the program shows a text.
    pub(crate) fn press_until(&mut self, keys: &str, text: &str) {
        let begun = Instant::now();
        while !self.has_shown(text) {
            assert!(begun.elapsed() < PATIENCE, "{text:?} is not shown: {:?}", self.rest());
            self.press(keys);
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    fn has_shown(&mut self, text: &str) -> bool {
        let all = self.screen.lock().unwrap();
        let found = all[self.seen..].windows(text.len()).position(|at| at == text.as_bytes());
        if let Some(at) = found {
            self.seen += at + text.len();
        }
        found.is_some()
    }

    /// Waits for the end of the program.
    pub(crate) fn ends(self) -> ExitStatus {
        self.ends_by("")
    }

    /// Presses keys again and again until the program ends: between two lines the system takes some keys
    /// for itself.
    pub(crate) fn ends_by(mut self, keys: &str) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            // It may have ended meanwhile.
            let _ = self.keys.write_all(keys.as_bytes());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Its session goes with the terminal.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
