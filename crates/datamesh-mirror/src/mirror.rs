//! A local folder and a mesh folder that are kept alike.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datamesh_api::{
    ErrorKind, EventFn, KeysRequest, OperationError, Operations, OperationsExt, PutRequest,
};
use datamesh_core::MeshPath;

use crate::base::Base;
use crate::fingerprint;
use crate::folding::Folding;
use crate::local::reason;
use crate::plan::{self, Direction, Terms, Trees};
use crate::probe;
use crate::remote;
use crate::report::{Amount, Report};
use crate::rules::Rules;
use crate::run::Run;
use crate::scan::{self, Scanned};

/// Digits of a device's id in the name of a conflict copy.
const DEVICE_DIGITS: usize = 8;

/// How to mirror.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which side follows which.
    pub direction: Direction,
    /// A one-way mirror also removes from its target what no earlier pass knows, and an empty folder is
    /// taken for what it seems.
    pub delete: bool,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// Transfers at once.
    pub parallel: usize,
    /// Only say what would be done.
    pub dry_run: bool,
    /// How files are stored.
    pub put: PutRequest,
}

/// A local folder and a mesh folder.
#[derive(Debug)]
pub struct Mirror {
    home: PathBuf,
    folder: PathBuf,
    remote: Option<MeshPath>,
    base: Base,
    /// What names the folder takes for one. Tried out once, as trying is a change that a watch sees.
    folding: Option<Folding>,
}

fn broke_off(error: tokio::task::JoinError) -> OperationError {
    OperationError::new(ErrorKind::Failed, format!("reading the folder broke off: {error}"))
}

impl Mirror {
    /// The mirror of `folder` and the mesh folder `remote`, all files where there is none, with the
    /// base that `home` has of them.
    ///
    /// # Errors
    /// [`OperationError`] where there is no such folder, another pass over the same folders is running, or
    /// the base cannot be read.
    pub fn open(
        home: &Path,
        folder: &Path,
        remote: Option<MeshPath>,
    ) -> Result<Self, OperationError> {
        let unreadable = |error: io::Error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::NotADirectory => ErrorKind::Usage,
                _ => ErrorKind::Failed,
            };
            let shown = folder.display();
            OperationError::new(kind, format!("\"{shown}\" cannot be read: {}", reason(&error)))
        };
        let found = folder.canonicalize().map_err(unreadable)?;
        if !found.is_dir() {
            return Err(unreadable(io::ErrorKind::NotADirectory.into()));
        }
        let home = home.canonicalize().unwrap_or_else(|_| home.to_owned());
        if found.starts_with(&home) {
            let message = format!("\"{}\" lies in the home of this account", found.display());
            return Err(OperationError::usage(message).hint("mirror a folder outside of it"));
        }
        let name = remote.as_ref().map_or("", MeshPath::as_str);
        let base = Base::open(&home, &found, name);
        let base = base.map_err(|error| OperationError::of(ErrorKind::Failed, &error))?;
        Ok(Self { home, folder: found, remote, base, folding: None })
    }

    /// The local folder, in full.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes down what both sides have in common. A pass does that itself; where one was given up, this
    /// keeps what it had done by then.
    ///
    /// # Errors
    /// [`OperationError`] where the home cannot be written to.
    pub fn save(&mut self) -> Result<(), OperationError> {
        self.base.save().map_err(|error| OperationError::of(ErrorKind::Failed, &error))
    }

    /// Makes both sides alike.
    ///
    /// # Errors
    /// [`OperationError`] where the pass cannot begin: what goes wrong later is in the report.
    pub async fn pass(
        &mut self,
        operations: &dyn Operations,
        options: &Options,
        events: EventFn,
    ) -> Result<Report, OperationError> {
        let begun = fingerprint::now();
        // What other devices did, and whether that is all.
        let keys = operations.keys(KeysRequest { whole: true }).await?;
        let mut found = self.scan(options).await?;
        let mut listed = remote::list(operations, self.remote.as_ref(), &found.rules).await?;
        self.check_not_mistyped(&listed, options)?;
        self.check_not_unmounted(&found, options)?;
        if self.base.root().is_some_and(|root| root != found.root) {
            self.base.distrust();
        }
        let folding = match options.direction {
            Direction::Up => Folding::default(),
            Direction::Down | Direction::Both => match self.folding {
                Some(folding) => folding,
                None => {
                    let folder = self.folder.clone();
                    let trial = tokio::task::spawn_blocking(move || probe::folding(&folder));
                    *self.folding.insert(trial.await.map_err(broke_off)?)
                }
            },
        };
        let device = keys.device.to_string();
        let device = device.get(..DEVICE_DIGITS).unwrap_or(&device);
        let terms = Terms {
            direction: options.direction,
            delete_unknown: options.delete,
            may_delete: self.base.is_believed() && !keys.may_be_old,
            folding,
            mark: format!("conflict {device} {}", datamesh_core::path::day(begun / 1_000_000)),
        };
        let base = Arc::clone(self.base.entries());
        fn trees<'a>(
            found: &'a Scanned,
            listed: &'a remote::Listed,
            base: &'a crate::tree::KnownTree,
        ) -> Trees<'a> {
            let (local, unseen) = (&found.tree, &found.unseen);
            Trees { local, remote: &listed.tree, ignored: &listed.ignored, base, unseen }
        }
        let asked = plan::questions(trees(&found, &listed, &base), options.direction);
        if !asked.is_empty() {
            let folder = self.folder.clone();
            let read = move || {
                scan::read_all(&folder, &mut found, asked);
                found
            };
            found = tokio::task::spawn_blocking(read).await.map_err(broke_off)?;
        }
        let plan = plan::plan(trees(&found, &listed, &base), &terms);
        drop(base);
        let mut report = Report {
            dry_run: options.dry_run,
            direction: options.direction,
            folder: self.folder.display().to_string(),
            remote: self.remote.as_ref().map_or_else(|| "/".to_owned(), ToString::to_string),
            base: self.base.found(),
            may_be_old: keys.may_be_old,
            actions: Vec::new(),
            unchanged: plan.unchanged + plan.agreed.len() as u64,
            uploaded: Amount::default(),
            known_bytes: 0,
            resumed_bytes: 0,
            downloaded: Amount::default(),
            kept: plan.kept,
            failed: std::mem::take(&mut found.problems),
            faults: Vec::new(),
            pending: 0,
            stopped: None,
        };
        report.failed.extend(plan.refused);
        if options.dry_run {
            report.actions = plan.actions;
            return Ok(report);
        }
        let root = found.root;
        for path in plan.forgotten {
            self.base.forget(&path);
        }
        let mut run = Run::new(
            operations,
            &self.folder,
            self.remote.as_ref(),
            options,
            &mut self.base,
            &mut report,
            events,
        )?;
        run.agree(plan.agreed, &found.tree, &listed.tree, begun);
        run.all(plan.actions, &mut found.tree, &mut listed, &terms).await;
        if report.stopped.is_none() {
            self.base.believe();
        }
        self.base.set_root(root);
        if let Err(error) = self.save() {
            report.stopped.get_or_insert(error);
        }
        Ok(report)
    }

    async fn scan(&self, options: &Options) -> Result<Scanned, OperationError> {
        let rules = Rules::new(&options.exclude)
            .map_err(|error| OperationError::of(ErrorKind::Usage, &error))?;
        let (folder, home) = (self.folder.clone(), self.home.clone());
        let base = Arc::clone(self.base.entries());
        let scan = move || scan::scan(&folder, &base, rules, &home);
        let scanned = tokio::task::spawn_blocking(scan).await.map_err(broke_off)?;
        scanned.map_err(|error| OperationError::of(ErrorKind::Failed, &error))
    }

    /// A folder that is to be followed, was never followed, and is not there is more often a name that was
    /// mistyped than one that is still to come.
    fn check_not_mistyped(
        &self,
        listed: &remote::Listed,
        options: &Options,
    ) -> Result<(), OperationError> {
        let followed = !self.base.entries().is_empty();
        match &listed.absent {
            Some(error) if options.direction == Direction::Down && !followed => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// An empty folder where there were files is more often a disk that is not mounted than a wish to
    /// remove them all.
    fn check_not_unmounted(
        &self,
        found: &Scanned,
        options: &Options,
    ) -> Result<(), OperationError> {
        let known = self.base.entries().len();
        let empty = found.tree.is_empty() && found.unseen.is_empty();
        if !empty || known == 0 || options.delete || options.direction == Direction::Down {
            return Ok(());
        }
        let message = format!(
            "\"{}\" is empty, and had {known} entries at the last sync",
            self.folder.display()
        );
        Err(OperationError::new(ErrorKind::Failed, message).hint(
            "mount the disk that it is on; if all of it is to be removed on the mesh, say so with --delete",
        ))
    }
}
