//! A folder on a device: its files, its home, and passes over it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datamesh_api::{OperationError, PutRequest};
use datamesh_mirror::plan::Direction;
use datamesh_mirror::{Mirror, Options, Report};

use datamesh_testkit::account::Account;

/// The mesh folder of every replica.
const REMOTE: &str = "shared/tree";

/// A folder and a home.
pub(crate) struct Replica {
    _place: tempfile::TempDir,
    pub(crate) folder: PathBuf,
    pub(crate) home: PathBuf,
}

impl Replica {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let (folder, home) = (place.path().join("tree"), place.path().join("home"));
        fs::create_dir(&folder).unwrap();
        Self { _place: place, folder, home }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file and the folders on the way to it.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(self.path(from), to).unwrap();
    }

    /// All files and their content; a folder with nothing in it as a name that ends with a slash.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        collect(&self.folder, "", &mut found);
        found
    }

    /// The names of the files.
    pub(crate) fn names(&self) -> Vec<String> {
        self.files().into_keys().collect()
    }

    pub(crate) fn mirror(&self) -> Mirror {
        Mirror::open(&self.home, &self.folder, Some(REMOTE.parse().unwrap())).unwrap()
    }

    pub(crate) async fn try_pass(
        &self,
        account: &Account,
        options: &Options,
    ) -> Result<Report, OperationError> {
        self.mirror().pass(account, options, Arc::new(|_| {})).await
    }

    /// A pass that must come to its end.
    pub(crate) async fn pass(&self, account: &Account, options: &Options) -> Report {
        let report = self.try_pass(account, options).await.unwrap();
        assert!(report.stopped.is_none(), "{:?}", report.stopped);
        report
    }

    /// The file of the base.
    pub(crate) fn base_file(&self) -> PathBuf {
        let files = fs::read_dir(self.home.join("sync")).unwrap();
        let mut files = files.map(|entry| entry.unwrap().path());
        files.find(|file| file.extension().is_some_and(|end| end == "base")).unwrap()
    }
}

fn collect(folder: &Path, name: &str, found: &mut BTreeMap<String, Vec<u8>>) -> bool {
    let mut any = false;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        any = true;
        let own = entry.file_name().into_string().unwrap();
        let inner = if name.is_empty() { own } else { format!("{name}/{own}") };
        if entry.file_type().unwrap().is_dir() {
            if !collect(&entry.path(), &inner, found) {
                found.insert(format!("{inner}/"), Vec::new());
            }
        } else {
            found.insert(inner, fs::read(entry.path()).unwrap());
        }
    }
    any
}

pub(crate) fn options(direction: Direction) -> Options {
    Options {
        direction,
        delete: false,
        exclude: Vec::new(),
        parallel: 3,
        dry_run: false,
        put: PutRequest::default(),
    }
}
