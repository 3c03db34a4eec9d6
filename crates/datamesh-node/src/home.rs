//! The home: a folder with all state of one node, one account, or both.
//!
//! ```text
//! config.toml        settings that differ from the defaults
//! console-history    lines typed in the console
//! lock               held by whoever works in this home
//! status.json        of the running service
//! audit/             what was done here, chained by hashes
//! account/           keystore, public part, catalog
//! mesh/              genesis, ticket, grant, certificate, delegate key, invites
//! node/              key, ports, adverts and receipts, peer book, store
//! sync/              what folders of this machine and of the mesh had in common, of the command line
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use datamesh_api::{ErrorKind, OperationError};
use datamesh_core::{Hash, NodeId};
use serde::{Deserialize, Serialize};

/// Largest of the small files that are read whole.
const SMALL_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How long a command waits for another one that holds the home.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// Longest path of a socket in bytes; its address has room for 107 and a NUL on Linux.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// The folder with all state.
#[derive(Debug, Clone)]
pub struct Home {
    path: PathBuf,
}

/// What a running service writes when it is ready.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The node.
    pub peer_id: NodeId,
    /// Where it listens.
    pub listen: Vec<String>,
    /// Where its socket is.
    pub socket: PathBuf,
    /// Version of the program.
    pub version: String,
    /// Its process.
    pub pid: u32,
}

/// The lock of a home; released when it is dropped, and by the system when the process ends.
#[derive(Debug)]
pub(crate) struct HomeLock {
    _file: File,
}

/// An error about a file of the home.
pub(crate) fn file_error(doing: &str, path: &Path, error: &io::Error) -> OperationError {
    let error_text = format!("{doing} {} failed: {error}", path.display());
    let made = OperationError::new(ErrorKind::Failed, error_text);
    match error.kind() {
        io::ErrorKind::StorageFull => made.hint("the disk is full: make room and try again"),
        io::ErrorKind::PermissionDenied => {
            made.hint("the home belongs to another user: choose another with --home")
        }
        _ => made,
    }
}

fn too_large(doing: &str, path: &Path) -> OperationError {
    let bound = SMALL_FILE_BYTES_MAX >> 20;
    let message = format!("{doing} {} failed: it has more than {bound} MiB", path.display());
    OperationError::new(ErrorKind::Failed, message)
}

impl Home {
    /// The home at `path`, which need not exist yet.
    pub fn at(path: PathBuf) -> Self {
        Self { path: std::path::absolute(&path).unwrap_or(path) }
    }

    /// The home in the platform's data folder.
    pub fn default_path() -> Option<PathBuf> {
        directories::ProjectDirs::from("", "", "datamesh").map(|dirs| dirs.data_dir().to_owned())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a console of the home keeps the lines that were typed; nothing where the home is not there yet.
    pub fn console_history(&self) -> Option<PathBuf> {
        self.path.is_dir().then(|| self.file("console-history"))
    }

    /// A file or folder in the home.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a folder of the home, and the home, readable by their owner only.
    pub(crate) fn make_folder(&self, name: &str) -> Result<PathBuf, OperationError> {
        let folder = self.file(name);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| file_error("making the folder", &folder, &error))?;
        Ok(folder)
    }

    /// Whether a file is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.file(name).exists()
    }

    /// Reads a small file; nothing where there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, OperationError> {
        let path = self.file(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file_error("reading", &path, &error)),
        };
        let mut bytes = Vec::new();
        file.take(SMALL_FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| file_error("reading", &path, &error))?;
        if bytes.len() as u64 > SMALL_FILE_BYTES_MAX {
            // Its beginning alone would look like damage, or worse, like all of it.
            return Err(too_large("reading", &path));
        }
        Ok(Some(bytes))
    }

    /// Writes a small file whole or not at all, synced, readable by its owner only.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), OperationError> {
        let folder = self.alone_in_folder_of(name)?;
        self.replace(name, bytes, &folder)
    }

    /// Reads a small file, nothing where there is none, and writes what `change` makes of it, as
    /// [`write`](Self::write) does. Of several that do so at once none undoes another's change.
    pub(crate) fn change(
        &self,
        name: &str,
        change: impl FnOnce(Option<Vec<u8>>) -> Result<Vec<u8>, OperationError>,
    ) -> Result<(), OperationError> {
        let folder = self.alone_in_folder_of(name)?;
        let bytes = change(self.read(name)?)?;
        self.replace(name, &bytes, &folder)
    }

    /// The folder that a file is in, which is made where it is not there. Nobody else writes small files
    /// there until it is dropped.
    fn alone_in_folder_of(&self, name: &str) -> Result<File, OperationError> {
        let path = self.file(name);
        let folder = path.parent().unwrap_or(&self.path);
        let opened = (|| {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let opened = File::open(folder)?;
            rustix::fs::flock(&opened, rustix::fs::FlockOperation::LockExclusive)?;
            Ok(opened)
        })();
        opened.map_err(|error: io::Error| file_error("writing", &path, &error))
    }

    fn replace(&self, name: &str, bytes: &[u8], folder: &File) -> Result<(), OperationError> {
        let path = self.file(name);
        if bytes.len() as u64 > SMALL_FILE_BYTES_MAX {
            return Err(too_large("writing", &path));
        }
        let draft = path.with_extension("draft");
        let written = (|| {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&draft)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            folder.sync_all()
        })();
        written.map_err(|error| file_error("writing", &path, &error))
    }

    /// Takes the home's lock if nobody has it.
    pub(crate) fn try_lock(&self) -> Result<Option<HomeLock>, OperationError> {
        self.make_folder("")?;
        let path = self.file("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| file_error("opening", &path, &error))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(HomeLock { _file: file })),
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => Ok(None),
            Err(error) => Err(file_error("locking", &path, &error.into())),
        }
    }

    /// Waits for the lock, up to 30 s; gives up early where a service appears that can be asked.
    pub(crate) async fn lock_or_service(&self) -> Result<Option<HomeLock>, OperationError> {
        let end = tokio::time::Instant::now() + LOCK_PATIENCE;
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(Some(lock));
            }
            if crate::local::reach_daemon(self).await?.is_some() {
                return Ok(None);
            }
            if tokio::time::Instant::now() >= end {
                let message =
                    format!("another command has worked in {} for 30 s", self.path.display());
                return Err(OperationError::new(ErrorKind::Failed, message)
                    .hint("wait for it to end, or end it"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Where the service's socket is: in the home, or, where that path is too long for a socket, in
    /// a private folder of the user's runtime folder or of the system's temporary files.
    pub(crate) fn socket(&self) -> Result<PathBuf, OperationError> {
        let path = self.file("datamesh.sock");
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(path);
        }
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let user = rustix::process::getuid().as_raw();
        self.socket_outside(runtime.as_deref(), &std::env::temp_dir(), user)
    }

    /// The socket of a home with a long path.
    fn socket_outside(
        &self,
        runtime: Option<&Path>,
        temporary: &Path,
        user: u32,
    ) -> Result<PathBuf, OperationError> {
        let name = Hash::of(self.path.as_os_str().as_encoded_bytes()).to_string();
        let name = format!("datamesh-{user}-{}", &name[..16]);
        let outside = runtime.filter(|folder| {
            let found = fs::symlink_metadata(folder);
            folder.is_absolute() && found.is_ok_and(|found| not_private(&found, user).is_none())
        });
        let folder = outside.unwrap_or(temporary).join(name);
        let socket = folder.join("sock");
        if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let message = format!("{} is too long for the path of a socket", socket.display());
            return Err(OperationError::usage(message)
                .hint("choose a home with a shorter path, or set TMPDIR to a shorter one"));
        }
        // Everybody can guess the name and make the folder first, so it is not enough that it is
        // there: whoever owns it could put a socket in it and be sent the password.
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(file_error("making the folder", &folder, &error));
            }
            _ => {}
        }
        let found = fs::symlink_metadata(&folder)
            .map_err(|error| file_error("looking at", &folder, &error))?;
        match not_private(&found, user) {
            None => Ok(socket),
            Some(why) => {
                let message = format!("{} cannot hold the socket: {why}", folder.display());
                Err(OperationError::new(ErrorKind::Failed, message)
                    .hint("remove it, or choose a home with a shorter path"))
            }
        }
    }
}

/// Why a folder is not one that `user` alone can use, if it is not. Looks at what `lstat` gives, so
/// that a link does not stand for the folder it leads to.
fn not_private(found: &fs::Metadata, user: u32) -> Option<String> {
    if !found.is_dir() {
        return Some("it is not a folder".into());
    }
    if found.uid() != user {
        return Some(format!("it belongs to user {}", found.uid()));
    }
    match found.mode() & 0o777 {
        mode if mode & 0o077 != 0 => Some(format!("others may use it: its mode is {mode:o}")),
        _ => None,
    }
}

/// What the service of a home wrote when it was ready. It may have ended since.
pub fn read_status(home: &Home) -> Option<Status> {
    serde_json::from_slice(&home.read("status.json").ok()??).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn user() -> u32 {
        rustix::process::getuid().as_raw()
    }

    fn set_mode(folder: &Path, mode: u32) {
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_socket_outside_the_home_lies_in_a_folder_that_nobody_else_can_use() {
        let temporary = tempfile::tempdir().unwrap();
        let home = Home::at(PathBuf::from("/home"));
        let socket = || home.socket_outside(None, temporary.path(), user());
        let made = socket().unwrap();
        let folder = made.parent().unwrap();
        assert_eq!(fs::metadata(folder).unwrap().mode() & 0o777, 0o700);
        assert_eq!(socket().unwrap(), made);

        // Somebody was there first.
        for mode in [0o777, 0o701, 0o710] {
            set_mode(folder, mode);
            let refused = socket().unwrap_err();
            assert!(refused.message.contains("others may use it"), "{}", refused.message);
            assert!(refused.hint.is_some());
        }
        set_mode(folder, 0o700);
        let found = fs::symlink_metadata(folder).unwrap();
        let whose = not_private(&found, user() + 1).unwrap();
        assert!(whose.contains(&format!("user {}", user())), "{whose}");
        let elsewhere = temporary.path().join("elsewhere");
        fs::rename(folder, &elsewhere).unwrap();
        symlink(&elsewhere, folder).unwrap();
        let refused = socket().unwrap_err();
        assert!(refused.message.contains("not a folder"), "{}", refused.message);
    }

    #[test]
    fn of_changes_at_once_none_is_undone_and_none_is_half_there() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().to_owned());
        std::thread::scope(|scope| {
            for number in 0..4 {
                let home = &home;
                scope.spawn(move || {
                    for _ in 0..20 {
                        let append = |bytes: Option<Vec<u8>>| {
                            let mut bytes = bytes.unwrap_or_default();
                            bytes.push(number);
                            Ok(bytes)
                        };
                        home.change("list", append).unwrap();
                        home.write("other", &vec![number; 100 + 100 * usize::from(number)])
                            .unwrap();
                    }
                });
            }
        });
        let mut bytes = home.read("list").unwrap().unwrap();
        bytes.sort_unstable();
        assert_eq!(bytes, [[0; 20], [1; 20], [2; 20], [3; 20]].concat());
        let other = home.read("other").unwrap().unwrap();
        assert_eq!(other, vec![other[0]; 100 + 100 * usize::from(other[0])]);
    }

    #[test]
    fn the_runtime_folder_is_preferred_where_it_is_private() {
        let (runtime, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let home = Home::at(PathBuf::from("/home"));
        let socket =
            || home.socket_outside(Some(runtime.path()), temporary.path(), user()).unwrap();
        set_mode(runtime.path(), 0o700);
        assert!(socket().starts_with(runtime.path()));
        set_mode(runtime.path(), 0o755);
        assert!(socket().starts_with(temporary.path()));
    }

    #[test]
    fn a_long_temporary_folder_is_named_before_a_socket_fails() {
        let long = PathBuf::from("/tmp").join("t".repeat(SOCKET_PATH_BYTES_MAX));
        let refused = Home::at("/home".into()).socket_outside(None, &long, user()).unwrap_err();
        assert!(refused.message.contains("too long"), "{}", refused.message);
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().to_owned());
        let largest = vec![7; SMALL_FILE_BYTES_MAX as usize];
        home.write("mesh/record", &largest).unwrap();
        let larger = vec![8; SMALL_FILE_BYTES_MAX as usize + 1];
        assert_eq!(home.write("mesh/record", &larger).unwrap_err().kind, ErrorKind::Failed);
        assert!(home.read("mesh/record").unwrap().unwrap() == largest);
        fs::write(home.file("mesh/record"), &larger).unwrap();
        assert!(home.read("mesh/record").unwrap_err().message.contains("more than 16 MiB"));
    }
}
