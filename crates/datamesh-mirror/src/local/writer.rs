//! The thread that lays fetched entries on the disk.
//!
//! Every step is taken from an open folder and never through a symbolic link, so that a tree whose
//! names or whose destination somebody else chose cannot lead outside of it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use datamesh_api::EntryFailure;
use datamesh_core::catalog::EntryKind;
use datamesh_core::stream::{EntryHead, StreamError};
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};

use super::part::{Part, Parts};
use super::places::{Places, Verdict};
use super::reason;
use super::sink::Told;

/// What the operation sends.
pub(super) enum Item {
    /// Where somebody waits, he is told how many of the entry's bytes are there already.
    Begin(EntryHead, Option<oneshot::Sender<u64>>),
    Bytes(Bytes),
    End {
        whole: bool,
    },
}

/// Where entries go.
pub(super) enum Place {
    /// One after another into a stream.
    Stream(File),
    /// Under this name.
    File { root: OwnedFd, name: OsString },
    /// Under the last part of their own name.
    Folder { root: OwnedFd },
    /// Under their whole name.
    Tree { root: OwnedFd },
}

/// Writes entries to their place.
pub(super) struct Writer {
    place: Where,
    told: Arc<Mutex<Told>>,
    open: Option<Open>,
    parts: Parts,
}

/// The place, with what was opened on the way.
enum Where {
    Stream(File),
    Files { root: Arc<OwnedFd>, naming: Naming, last: Option<(Vec<String>, Arc<OwnedFd>)> },
}

enum Naming {
    Fixed(OsString),
    /// With the names that were given so far.
    Last(BTreeSet<String>),
    Whole,
}

/// The entry that is being written.
enum Open {
    /// It failed; what still comes of it is passed over.
    Failed,
    /// It goes into the stream.
    Stream,
    /// A folder that is there.
    Folder,
    /// A file under its temporary name.
    File(Box<Part>),
}

/// Why an entry is not written.
pub(super) enum Failure {
    /// It alone.
    Entry(String),
    /// Nothing that follows can be written either.
    All(String),
    /// Whoever read the stream has left.
    Closed,
    /// Nobody waits for it any more; so many bytes of it stay.
    GivenUp { left: u64 },
}

impl Failure {
    pub(super) fn of(what: &str, error: Errno) -> Self {
        let text = format!("{what}: {}", reason(&error.into()));
        match error {
            // A folder that cannot be written to says nothing of its neighbours, whose disk may be another.
            Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::MFILE | Errno::NFILE => {
                Self::All(text)
            }
            _ => Self::Entry(text),
        }
    }

    /// The reason, where no stream has to be told.
    pub(super) fn text(self) -> String {
        match self {
            Self::Entry(text) | Self::All(text) => text,
            Self::Closed | Self::GivenUp { .. } => "it was given up".to_owned(),
        }
    }

    pub(super) fn io(what: &str, error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(errno) => Self::of(what, errno),
            None => Self::Entry(format!("{what}: {}", reason(error))),
        }
    }
}

/// Why a file that goes into a folder by the last part of its name does not go there.
pub fn same_name(name: &str) -> String {
    format!("another file that was fetched is called \"{name}\" too")
}

impl Writer {
    pub(super) fn new(
        place: Place,
        told: Arc<Mutex<Told>>,
        given_up: Arc<AtomicBool>,
        places: Option<Arc<Places>>,
    ) -> Self {
        let files =
            |root: OwnedFd, naming| Where::Files { root: Arc::new(root), naming, last: None };
        let place = match place {
            Place::Stream(file) => Where::Stream(file),
            Place::File { root, name } => files(root, Naming::Fixed(name)),
            Place::Folder { root } => files(root, Naming::Last(BTreeSet::new())),
            Place::Tree { root } => files(root, Naming::Whole),
        };
        Self { place, told, open: None, parts: Parts::new(given_up, places) }
    }

    /// Writes until the queue ends or nothing more can be written.
    pub(super) fn run(&mut self, mut queue: mpsc::Receiver<Item>) {
        let (mut path, mut bytes, mut failed) = (String::new(), 0, false);
        while let Some(item) = queue.blocking_recv() {
            match &item {
                Item::Begin(head, _) => {
                    path = head.path.as_str().to_owned();
                    (bytes, failed) = (0, false);
                }
                Item::Bytes(more) => bytes += more.len() as u64,
                Item::End { .. } => {}
            }
            // What the sender gave up itself it does not count either.
            let is_whole = matches!(item, Item::End { whole: true });
            let done = self.item(item);
            failed |= done.is_err();
            if is_whole && failed {
                self.told().lost += bytes;
            }
            let failure = match done {
                Ok(()) => {
                    self.told().whole += u64::from(is_whole && !failed);
                    continue;
                }
                Err(failure) => failure,
            };
            // Dropping a part removes it.
            self.open = Some(Open::Failed);
            let mut told = self.told();
            match failure {
                Failure::Entry(reason) => {
                    told.failed.push(EntryFailure { path: path.clone(), reason });
                }
                Failure::All(reason) => {
                    told.stopped = Some(StreamError::new(format!("\"{path}\": {reason}")));
                    drop(told);
                    self.parts.sync_last();
                    return;
                }
                Failure::Closed => {
                    told.closed = true;
                    told.stopped = Some(StreamError::new("nobody reads the output any more"));
                    return;
                }
                Failure::GivenUp { left } => {
                    told.left += left;
                    return;
                }
            }
        }
        if let Some(Open::File(part)) = self.open.take() {
            let left = part.leave();
            self.told().left += left;
        }
        self.parts.sync_last();
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn item(&mut self, item: Item) -> Result<(), Failure> {
        match item {
            Item::Begin(head, waiting) => {
                self.open = Some(Open::Failed);
                let open = self.begin(head)?;
                if let (Open::File(part), Some(waiting)) = (&open, waiting) {
                    // Nobody may wait any more.
                    let _ = waiting.send(part.held());
                }
                self.open = Some(open);
                Ok(())
            }
            Item::Bytes(bytes) => self.write(&bytes),
            Item::End { whole } => match self.open.take() {
                Some(Open::File(part)) if whole => part.keep(&mut self.parts),
                Some(Open::File(part)) => {
                    let left = part.fail();
                    self.told().left += left;
                    Ok(())
                }
                _ => Ok(()),
            },
        }
    }

    fn begin(&mut self, head: EntryHead) -> Result<Open, Failure> {
        match self.parts.verdict(&head) {
            Verdict::Wanted => {}
            Verdict::NotWanted => return Ok(Open::Failed),
            Verdict::Changed => {
                let text = "it changed on the mesh meanwhile; the next sync fetches it";
                return Err(Failure::Entry(text.to_owned()));
            }
        }
        let (root, naming, last) = match &mut self.place {
            Where::Stream(_) => return Ok(Open::Stream),
            Where::Files { root, naming, last } => (root, naming, last),
        };
        let below: Vec<String> = match naming {
            Naming::Fixed(name) => {
                return match head.kind {
                    EntryKind::File => {
                        let root = Arc::clone(root);
                        let part = Part::open(root, name.clone(), head, &mut self.parts)?;
                        Ok(Open::File(Box::new(part)))
                    }
                    EntryKind::Folder => {
                        folder(root, name, &head)?;
                        Ok(Open::Folder)
                    }
                };
            }
            Naming::Last(given) => {
                let name = head.path.name().to_owned();
                if !given.insert(name.clone()) {
                    return Err(Failure::Entry(same_name(&name)));
                }
                vec![name]
            }
            Naming::Whole => head.path.components().map(str::to_owned).collect(),
        };
        let Some((name, parents)) = below.split_last() else {
            return Err(Failure::Entry("it has no name".to_owned()));
        };
        let parent = descend(root, last, parents, self.parts.syncs())?;
        let name = OsString::from(name);
        match head.kind {
            EntryKind::File => {
                let part = Part::open(parent, name, head, &mut self.parts)?;
                Ok(Open::File(Box::new(part)))
            }
            EntryKind::Folder => {
                folder(&parent, &name, &head)?;
                Ok(Open::Folder)
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match (&mut self.open, &mut self.place) {
            (Some(Open::Stream), Where::Stream(file)) => match file.write_all(bytes) {
                Ok(()) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Closed),
                Err(error) => Err(Failure::All(format!("the output fails: {}", reason(&error)))),
            },
            (Some(Open::File(part)), _) => part.write(bytes),
            _ => Ok(()),
        }
    }
}

/// Opens the folder that `parts` lead to below `root`, making those that are not there. The last
/// one is remembered, as entries come folder by folder.
pub(super) fn descend(
    root: &Arc<OwnedFd>,
    last: &mut Option<(Vec<String>, Arc<OwnedFd>)>,
    parts: &[String],
    sync: bool,
) -> Result<Arc<OwnedFd>, Failure> {
    let (mut at, known) = match last {
        Some((names, folder)) if parts.starts_with(names) => (Arc::clone(folder), names.len()),
        _ => (Arc::clone(root), 0),
    };
    for part in parts.iter().skip(known) {
        match rustix::fs::mkdirat(&*at, part.as_str(), Mode::from_raw_mode(0o777)) {
            Ok(()) if sync => {
                rustix::fs::fsync(&*at)
                    .map_err(|error| Failure::of("the folder cannot be synced", error))?;
            }
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => {
                let what = format!("the folder \"{part}\" cannot be made");
                return Err(Failure::of(&what, error));
            }
        }
        at = Arc::new(open_folder(&at, OsStr::new(part))?);
    }
    *last = Some((parts.to_vec(), Arc::clone(&at)));
    Ok(at)
}

/// Opens a folder in `at`, but not through a link.
pub(super) fn open_folder(at: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Failure> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    rustix::fs::openat(at, name, flags, Mode::empty()).map_err(|error| {
        let shown = name.to_string_lossy();
        let is_link = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink());
        match error {
            Errno::NOTDIR | Errno::LOOP if is_link => Failure::Entry(format!(
                "\"{shown}\" is a symbolic link there, and nothing is written through it"
            )),
            Errno::NOTDIR => {
                Failure::Entry(format!("\"{shown}\" is a file there, and it has to be a folder"))
            }
            error => Failure::of(&format!("the folder \"{shown}\" cannot be opened"), error),
        }
    })
}

/// Makes a folder that is an entry of its own.
fn folder(at: &OwnedFd, name: &OsStr, head: &EntryHead) -> Result<(), Failure> {
    match make_folder(at, name)? {
        Some(made) => restore(&made, head),
        None => Ok(()),
    }
}

/// Makes a folder and opens it; nothing where it was there.
pub(super) fn make_folder(at: &OwnedFd, name: &OsStr) -> Result<Option<OwnedFd>, Failure> {
    let made = match rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o777)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(Failure::of("the folder cannot be made", error)),
    };
    // What was there must be a folder, and no link to one.
    let opened = open_folder(at, name)?;
    Ok(made.then_some(opened))
}

/// Gives the permission bits and the time of change back.
pub(super) fn restore(opened: &impl std::os::fd::AsFd, head: &EntryHead) -> Result<(), Failure> {
    if head.mode != 0 {
        // Not the set-id bits: who stored the file is not who fetches it.
        let mode = Mode::from_raw_mode(head.mode & 0o777);
        rustix::fs::fchmod(opened, mode)
            .map_err(|error| Failure::of("its permissions cannot be set", error))?;
    }
    if head.modified != 0 {
        let time = Timespec {
            tv_sec: (head.modified / 1000).cast_signed(),
            tv_nsec: (head.modified % 1000 * 1_000_000).cast_signed(),
        };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::futimens(opened, &times)
            .map_err(|error| Failure::of("its time of change cannot be set", error))?;
    }
    Ok(())
}
