//! Which files of this machine some names and patterns mean, and what they are called in the account.
//!
//! Promised: each file once, in the order of their names there; two different files never get one name;
//! no symbolic link is followed but those in what the user wrote out; what a pattern fits and what
//! cannot be stored is listed.
//! Not promised: that the files are still there when they are read.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use datamesh_api::grammar::is_pattern;
use datamesh_api::{EntryFailure, OperationError};
use datamesh_core::MeshPath;
use globset::{GlobBuilder, GlobMatcher};

use super::tag_pattern::TagPattern;
use super::{is_temporary, join, not_stored, reason};
use crate::fingerprint::milliseconds;

/// How files are picked.
#[derive(Debug, Clone, Default)]
pub struct PickOptions {
    /// Folders with everything below them, and patterns in all folders below theirs.
    pub recursive: bool,
    /// The local folder that names in the account begin at; without one, that in which a named file or folder
    /// lies, or the last one of a pattern in front of its first wildcard.
    pub base: Option<PathBuf>,
    /// The folder of the account that all goes to.
    pub into: Option<MeshPath>,
    /// Tags that are made for each file.
    pub tags: Vec<TagPattern>,
}

/// A local file that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// Where it is, without symbolic links.
    pub file: PathBuf,
    /// Its name in the account.
    pub path: MeshPath,
    /// Tags of its own.
    pub tags: Vec<String>,
    /// Its bytes when it was picked.
    pub size: u64,
}

/// What was picked.
#[derive(Debug, Default)]
pub struct Picked {
    /// The files, in the order of their names in the account.
    pub files: Vec<LocalFile>,
    /// What was not picked, and why.
    pub failed: Vec<EntryFailure>,
}

/// Finds the files that `patterns` mean: names of files and folders, and patterns in which `*` and `?` stand for
/// what is within a name, `**` for any folders, `[ab]` and `{a,b}` for one of these.
///
/// # Errors
/// [`OperationError`] for a pattern that is none, a base that is no folder, and where two files would get one name.
pub fn pick(patterns: &[String], options: &PickOptions) -> Result<Picked, OperationError> {
    let base = match &options.base {
        Some(base) => Some(base.canonicalize().map_err(|error| {
            let message = format!("\"{}\" cannot be read: {}", base.display(), reason(&error));
            OperationError::usage(message)
        })?),
        None => None,
    };
    let mut picking = Picking { options, base, found: BTreeMap::new(), failed: Vec::new() };
    for pattern in patterns {
        picking.pattern(pattern)?;
    }
    let files = picking.found.into_values().collect();
    Ok(Picked { files, failed: picking.failed })
}

struct Picking<'a> {
    options: &'a PickOptions,
    /// The base of all names, without symbolic links.
    base: Option<PathBuf>,
    found: BTreeMap<MeshPath, LocalFile>,
    failed: Vec<EntryFailure>,
}

/// Where a walk goes.
struct Walk {
    /// The folder that it begins in, without symbolic links.
    root: PathBuf,
    /// Where names begin, if no base is given.
    base: PathBuf,
    /// What the way from the root must fit; all where there is none.
    glob: Option<GlobMatcher>,
    /// Folders that lie between the root and the deepest file.
    depth: usize,
}

impl Picking<'_> {
    fn problem(&mut self, path: impl Into<String>, reason: impl ToString) {
        self.failed.push(EntryFailure { path: path.into(), reason: reason.to_string() });
    }

    fn pattern(&mut self, pattern: &str) -> Result<(), OperationError> {
        match Path::new(pattern).canonicalize().and_then(|file| Ok((file.metadata()?, file))) {
            Ok((metadata, root)) if metadata.is_dir() => {
                let base = root.parent().unwrap_or(&root).to_owned();
                let depth = if self.options.recursive { usize::MAX } else { 0 };
                self.walk(&Walk { root, base, glob: None, depth })
            }
            Ok((metadata, file)) => match not_stored(metadata.file_type()) {
                None => {
                    let base = file.parent().unwrap_or(&file).to_owned();
                    self.file(file, &base, &metadata)
                }
                Some(what) => {
                    self.problem(pattern, what);
                    Ok(())
                }
            },
            Err(error) if !is_pattern(pattern) => {
                self.problem(pattern, reason(&error));
                Ok(())
            }
            Err(_) => self.wildcards(pattern),
        }
    }

    fn wildcards(&mut self, pattern: &str) -> Result<(), OperationError> {
        let mut fixed = PathBuf::new();
        let mut rest: Vec<&str> = Vec::new();
        for component in Path::new(pattern).components() {
            let text = component.as_os_str().to_str().unwrap_or_default();
            let is_fixed = !matches!(component, Component::Normal(_)) || !is_pattern(text);
            if rest.is_empty() && is_fixed {
                fixed.push(component);
            } else {
                rest.push(text);
            }
        }
        let deep = rest.contains(&"**");
        if self.options.recursive && !deep {
            rest.insert(rest.len() - 1, "**");
        }
        let wrong = |error| {
            let message = format!("\"{pattern}\" is not a pattern: {error}");
            OperationError::usage(message)
        };
        let glob = GlobBuilder::new(&rest.join("/")).literal_separator(true).build();
        let glob = glob.map_err(wrong)?.compile_matcher();
        let start = if fixed == Path::new("") { Path::new(".") } else { &fixed };
        let root = match start.canonicalize() {
            Ok(root) => root,
            Err(error) => {
                self.problem(start.to_string_lossy(), reason(&error));
                return Ok(());
            }
        };
        let many = deep || self.options.recursive;
        let depth = if many { usize::MAX } else { rest.len() - 1 };
        let before = self.found.len() + self.failed.len();
        self.walk(&Walk { base: root.clone(), root, glob: Some(glob), depth })?;
        if self.found.len() + self.failed.len() == before {
            self.problem(pattern, "no file fits");
        }
        Ok(())
    }

    /// Visits every folder that the walk may reach.
    fn walk(&mut self, walk: &Walk) -> Result<(), OperationError> {
        let mut folders = vec![(String::new(), 0)];
        while let Some((below, depth)) = folders.pop() {
            let folder = walk.root.join(&below);
            let listed = std::fs::read_dir(&folder).and_then(|entries| {
                let each = entries.map(|entry| {
                    let entry = entry?;
                    Ok((entry.file_name(), entry.file_type()?))
                });
                each.collect::<std::io::Result<Vec<_>>>()
            });
            let listed = match listed {
                Ok(listed) => listed,
                Err(error) => {
                    let shown = folder.to_string_lossy();
                    self.problem(shown, format!("the folder cannot be read: {}", reason(&error)));
                    continue;
                }
            };
            for (name, kind) in listed {
                let full = folder.join(&name);
                let Some(name) = name.to_str() else {
                    // What a folder holds nobody can tell then; a file may not have been meant.
                    let way = Path::new(&below).join(&name);
                    let meant = match kind.is_dir() {
                        true => depth < walk.depth,
                        false => walk.glob.as_ref().is_none_or(|glob| glob.is_match(&way)),
                    };
                    if meant {
                        self.problem(full.to_string_lossy(), "its name is not Unicode");
                    }
                    continue;
                };
                let inner = join(&below, name);
                if kind.is_dir() {
                    if depth < walk.depth {
                        folders.push((inner, depth + 1));
                    }
                    continue;
                }
                let fits = walk.glob.as_ref().is_none_or(|glob| glob.is_match(&inner));
                if !fits || is_temporary(name) {
                    continue;
                }
                if let Some(what) = not_stored(kind) {
                    self.problem(full.to_string_lossy(), what);
                    continue;
                }
                match full.symlink_metadata() {
                    Ok(metadata) => self.file(full, &walk.base, &metadata)?,
                    Err(error) => self.problem(full.to_string_lossy(), reason(&error)),
                }
            }
        }
        Ok(())
    }

    /// Takes a file, whose name begins at `base` where none is given for all.
    fn file(
        &mut self,
        file: PathBuf,
        base: &Path,
        metadata: &Metadata,
    ) -> Result<(), OperationError> {
        let base = self.base.as_deref().unwrap_or(base);
        let Ok(below) = file.strip_prefix(base) else {
            let reason = format!("it does not lie below \"{}\"", base.display());
            self.problem(file.to_string_lossy(), reason);
            return Ok(());
        };
        let Some(below) = below.to_str() else {
            self.problem(file.to_string_lossy(), "its name is not Unicode");
            return Ok(());
        };
        let into = self.options.into.as_ref().map_or("", MeshPath::as_str);
        let path: MeshPath = match join(into, below).parse() {
            Ok(path) => path,
            Err(error) => {
                self.problem(file.to_string_lossy(), error);
                return Ok(());
            }
        };
        let modified = milliseconds(metadata.mtime(), metadata.mtime_nsec());
        let tags = self.options.tags.iter().filter_map(|tag| tag.tag(&path, modified)).collect();
        let picked = LocalFile { file, path: path.clone(), tags, size: metadata.len() };
        match self.found.insert(path, picked.clone()) {
            Some(other) if other.file != picked.file => {
                let (one, two) = (other.file.display(), picked.file.display());
                let message = format!("\"{one}\" and \"{two}\" would both be \"{}\"", other.path);
                Err(OperationError::usage(message)
                    .hint("--base-dir FOLDER keeps the folders below FOLDER in their names"))
            }
            _ => Ok(()),
        }
    }
}
