//! Judges the entries of an archive one by one: what is taken in and under which path, what is passed
//! over, what makes the whole archive one that nothing is taken of.

use datamesh_core::MeshPath;

use crate::entry::{Found, Kind};
use crate::error::ArchiveError;
use crate::limits::Limits;
use crate::names::Name;
use crate::paths::{Clash, Paths};

/// Why an entry is refused that only its folders tell from another.
pub(super) const SAME_WITHOUT_FOLDERS: &str = "another entry has the same name without its folders";

/// How entries are judged.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    /// Folders of the archive are kept.
    pub(super) structure: bool,
    /// The mesh folder that it goes to; all files where there is none.
    pub(super) into: Option<MeshPath>,
    /// Odd names are taken as they are.
    pub(super) odd_names: bool,
    /// How much it may ask for.
    pub(super) limits: Limits,
}

/// What an entry is judged to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// A file to be stored under this path.
    File(MeshPath),
    /// A folder of this path.
    Folder(MeshPath),
    /// Nothing to store and nothing to tell.
    Nothing,
    /// Passed over, and told.
    Skipped(String),
    /// Nothing is taken of an archive that has this.
    Refused(String),
}

/// Judges the entries of one archive.
pub(super) struct Guard<'a> {
    terms: &'a Terms,
    seen: Paths,
    entries: u64,
}

impl<'a> Guard<'a> {
    pub(super) fn new(terms: &'a Terms) -> Self {
        Self { terms, seen: Paths::default(), entries: 0 }
    }

    /// Judges the next entry.
    ///
    /// # Errors
    /// [`ArchiveError::Limit`] where there are too many.
    pub(super) fn entry(&mut self, found: &Found) -> Result<Judged, ArchiveError> {
        self.entries += 1;
        self.terms.limits.count(self.entries)?;
        let name = match Name::judge(&found.name, self.terms.odd_names) {
            Name::Hostile(reason) => return Ok(Judged::Refused(reason.to_owned())),
            Name::Odd(reason) => {
                return Ok(Judged::Skipped(format!("{reason}; --odd-names takes it as it is")));
            }
            Name::Unfit(reason) => return Ok(Judged::Skipped(reason.to_owned())),
            Name::Root if found.kind == Kind::Folder => return Ok(Judged::Nothing),
            Name::Root => return Ok(Judged::Refused("it has no name".to_owned())),
            Name::Path(name) => name,
        };
        if found.kind == Kind::Folder && !self.terms.structure {
            return Ok(Judged::Nothing);
        }
        let kept = match self.terms.structure {
            true => name.as_str(),
            false => name.rsplit('/').next().unwrap_or(&name),
        };
        let whole = match &self.terms.into {
            Some(folder) => format!("{folder}/{kept}"),
            None => kept.to_owned(),
        };
        let path: MeshPath = match whole.parse() {
            Ok(path) => path,
            Err(error) => return Ok(Judged::Skipped(error.to_string())),
        };
        // What is passed over has its name all the same: a file behind a link of the same name is an
        // attack on whoever follows it.
        if let Some(reason) = self.clash(path.as_str(), found.kind == Kind::Folder) {
            return Ok(Judged::Refused(reason));
        }
        // A name of many folders takes as much room as so many entries.
        self.terms.limits.count(self.seen.len())?;
        Ok(match found.kind {
            Kind::File => Judged::File(path),
            Kind::Folder => Judged::Folder(path),
            Kind::Other(reason) => Judged::Skipped(reason.to_owned()),
        })
    }

    /// Whether something is in the folder of this path.
    pub(super) fn is_filled(&self, path: &MeshPath) -> bool {
        self.seen.is_filled(path.as_str())
    }

    /// Notes a path. Says what it clashes with.
    fn clash(&mut self, path: &str, folder: bool) -> Option<String> {
        Some(match self.seen.add(path, folder).err()? {
            Clash::Twice if self.terms.structure => "another entry has the same name".to_owned(),
            Clash::Twice => SAME_WITHOUT_FOLDERS.to_owned(),
            Clash::Both(path) => format!("\"{path}\" is a folder and something else"),
        })
    }
}
