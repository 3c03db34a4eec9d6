//! Other places for what is stored: duplicates, and files and folders that get another name. No byte of
//! their content moves.
//!
//! A duplicate is a file of its own that refers to the segments of the other. A file that gets another
//! name stays the same file: its new path has a version with the content of its current one, and its old
//! path a delete marker, both in one transaction. Versions of before stay at the old path.
//!
//! Whatever is in the way is found before anything is changed. A tree is done some files at a time, so one
//! that is broken off has some files at their new places and the others at their old ones.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_catalog::{Append, Contents, Entry};
use datamesh_core::catalog::{Change, EntryKind, Put};
use datamesh_core::{BoxFuture, FileId, MeshPath, VersionId, seam};

use super::referring::Stand;
use crate::below::Below;
use crate::client::Client;
use crate::error::ClientError;
use crate::labels::note_of;
use crate::points;

/// Files that one transaction takes: each brings up to three operations.
const BATCH: usize = 512;

/// How to duplicate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DuplicateOptions {
    /// The version whose content it is to have; the current one where there is none.
    pub version: Option<u64>,
    /// Everything below the folder.
    pub recursive: bool,
    /// What has the new name already gets a new version.
    pub replace: bool,
}

/// What has another place now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// The old and the new name of each file.
    pub files: Vec<(MeshPath, MeshPath)>,
    /// Operations that no quorum has yet.
    pub pending: u64,
}

/// Whether the old name stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Old {
    Stays,
    Goes,
}

/// What is at a name.
enum At {
    /// A file, or an empty folder.
    Entry(Box<Put>),
    /// Files below it.
    Folder(MeshPath),
}

impl Client {
    /// Gives the content of `name` another name too: a file, or with `recursive` everything below a
    /// folder.
    ///
    /// # Errors
    /// [`ClientError::Taken`] and its like where something is in the way, the errors of
    /// [`resolve`](Self::resolve), [`ClientError::NotRenewed`] where too few nodes still have the content.
    pub fn duplicate<'a>(
        &'a self,
        name: &'a str,
        to: &'a MeshPath,
        options: DuplicateOptions,
    ) -> BoxFuture<'a, Result<Placed, ClientError>> {
        Box::pin(async move {
            self.know_newest().await?;
            let from = if options.recursive {
                At::Folder(
                    name.parse().map_err(|_| ClientError::NotFound { name: name.to_owned() })?,
                )
            } else {
                match self.resolve(name, options.version).await?.entry {
                    Entry::Put(put) => At::Entry(put),
                    Entry::Delete(_) => return Err(ClientError::Deleted { name: name.to_owned() }),
                }
            };
            self.place(from, to, Old::Stays, options.replace).await
        })
    }

    /// Gives a file, or a folder with everything below it, another name. With `replace` what has that
    /// name already gets a new version.
    ///
    /// # Errors
    /// As [`duplicate`](Self::duplicate).
    pub fn rename<'a>(
        &'a self,
        name: &'a str,
        to: &'a MeshPath,
        replace: bool,
    ) -> BoxFuture<'a, Result<Placed, ClientError>> {
        Box::pin(async move {
            self.know_newest().await?;
            let from = match self.resolve(name, None).await {
                Ok(version) => {
                    let Entry::Put(put) = version.entry else {
                        return Err(ClientError::Deleted { name: name.to_owned() });
                    };
                    // The beginning of an older version's id names a version, not a file.
                    let path = put.path.clone();
                    let current =
                        self.catalog_call(move |catalog| catalog.current_at(&path)).await?;
                    if current.is_none_or(|(_, current)| current != put.version) {
                        return Err(ClientError::NotCurrent { name: name.to_owned() });
                    }
                    let below = put.path.clone();
                    let folder = put.kind == EntryKind::Folder;
                    if folder
                        && self
                            .catalog_call(move |catalog| catalog.is_folder(below.as_str()))
                            .await?
                    {
                        At::Folder(put.path)
                    } else {
                        At::Entry(put)
                    }
                }
                Err(
                    error @ (ClientError::NotFound { .. }
                    | ClientError::Folder { .. }
                    | ClientError::Deleted { .. }),
                ) => {
                    let folder: MeshPath = name.parse().map_err(|_| error.clone())?;
                    let below = folder.clone();
                    if !self.catalog_call(move |catalog| catalog.is_folder(below.as_str())).await? {
                        return Err(error);
                    }
                    At::Folder(folder)
                }
                Err(error) => return Err(error),
            };
            self.place(from, to, Old::Goes, replace).await
        })
    }

    async fn place(
        &self,
        from: At,
        to: &MeshPath,
        old: Old,
        replace: bool,
    ) -> Result<Placed, ClientError> {
        let mut placed = Placed::default();
        match from {
            At::Entry(put) => {
                let folder = put.kind == EntryKind::Folder;
                let wanted = vec![(put, to.clone())];
                self.find_room(&wanted, replace, folder).await?;
                self.place_batch(&wanted, old, &mut placed).await?;
            }
            At::Folder(folder) => {
                let inside = format!("{folder}/");
                if *to == folder || to.as_str().starts_with(&inside) {
                    return Err(ClientError::IntoItself { path: folder, to: to.clone() });
                }
                let mut below = Below::new(self, Some(folder.clone()));
                let mut page = below.page().await?;
                while !page.is_empty() {
                    self.find_room(&moved(page, &folder, to)?, replace, true).await?;
                    page = below.page().await?;
                }
                let mut below = Below::new(self, Some(folder.clone()));
                let mut page = below.page().await?;
                while !page.is_empty() {
                    for batch in moved(page, &folder, to)?.chunks(BATCH) {
                        self.place_batch(batch, old, &mut placed).await?;
                    }
                    page = below.page().await?;
                }
            }
        }
        placed.pending = self.publish().await?.pending;
        self.renew_promised().await?;
        Ok(placed)
    }

    /// Whether all of these may have their new names.
    async fn find_room(
        &self,
        wanted: &[(Box<Put>, MeshPath)],
        replace: bool,
        folder: bool,
    ) -> Result<(), ClientError> {
        let asked: Vec<(MeshPath, EntryKind, MeshPath)> =
            wanted.iter().map(|(put, to)| (put.path.clone(), put.kind, to.clone())).collect();
        let in_the_way = self.catalog_call(move |catalog| {
            for (from, kind, path) in asked {
                if from == path {
                    return Ok(Some(ClientError::SameName { path }));
                }
                let there = catalog.summary(&path)?.map(|there| there.kind);
                // An empty folder that is there already is as good as the one that comes.
                if there == Some(EntryKind::File) && (!replace || kind == EntryKind::Folder) {
                    return Ok(Some(ClientError::Taken { path }));
                }
                if !folder && catalog.is_folder(path.as_str())? {
                    return Ok(Some(ClientError::TakenByFolder { path }));
                }
            }
            Ok(None)
        });
        in_the_way.await?.map_or(Ok(()), Err)
    }

    /// Commits new places, all in one transaction.
    async fn place_batch(
        &self,
        batch: &[(Box<Put>, MeshPath)],
        old: Old,
        placed: &mut Placed,
    ) -> Result<(), ClientError> {
        let paths: Vec<MeshPath> = batch.iter().map(|(_, to)| to.clone()).collect();
        let versions: Vec<VersionId> = batch.iter().map(|(put, _)| put.version).collect();
        let notes = self.catalog_call(move |catalog| catalog.notes(&versions)).await?;
        let known: BTreeMap<MeshPath, (Option<FileId>, VersionId)> = self
            .catalog_call(move |catalog| {
                let known = |path: MeshPath| {
                    let Some((_, version)) = catalog.current_at(&path)? else { return Ok(None) };
                    let file = catalog.file_at(&path)?;
                    Ok(Some((path, (file, version))))
                };
                paths.into_iter().filter_map(|path| known(path).transpose()).collect()
            })
            .await?;
        let (mut contents, mut referred) = (Contents::default(), BTreeSet::new());
        let mut changes = Vec::with_capacity(3 * batch.len());
        for ((put, to), note) in batch.iter().zip(notes) {
            let there = known.get(to);
            let file = match (old, there) {
                (Old::Goes, _) => put.file,
                (Old::Stays, Some((Some(file), _))) => *file,
                (Old::Stays, _) => FileId(seam::random(&*self.entropy)),
            };
            let replaces = there.map_or(VersionId([0; 16]), |(_, version)| *version);
            let stand = Stand { path: to.clone(), file, replaces };
            let placed = self.take_content(put, stand, &mut contents, &mut referred).await?;
            let version = placed.version;
            changes.push(Change::Put(Box::new(placed)));
            changes.extend(note_of(version, note, self.engine.now()));
            if old == Old::Goes {
                changes.push(self.delete_marker(put));
            }
        }
        let append = Append {
            changes,
            contents: Some(contents),
            renew_published: referred.iter().copied().collect(),
            ..Append::default()
        };
        self.append_renewed(points::PLACE_COMMIT, append, &referred).await?;
        placed.files.extend(batch.iter().map(|(put, to)| (put.path.clone(), to.clone())));
        Ok(())
    }
}

/// Files below `folder`, each with its name below `to`.
fn moved(
    page: impl IntoIterator<Item = Box<Put>>,
    folder: &MeshPath,
    to: &MeshPath,
) -> Result<Vec<(Box<Put>, MeshPath)>, ClientError> {
    let place = |put: Box<Put>| {
        // A folder that was stored by itself comes with what is below it.
        let rest = put.path.as_str().strip_prefix(folder.as_str()).unwrap_or_default();
        let path = format!("{to}{rest}");
        let to = path.parse().map_err(|_| ClientError::NameTooLong { path: path.clone() })?;
        Ok((put, to))
    };
    page.into_iter().map(place).collect()
}
