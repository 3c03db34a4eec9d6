//! From operations to what is derived of them.
//!
//! Of several operations on one path, file or version id the one with the highest clock counts, and
//! of equal clocks the one of the highest device. So the result is the same whatever the order in
//! which logs are folded, and an operation is never undone by an older one that arrives late.

use std::borrow::Cow;

use datamesh_core::catalog::{Change, Operation, Put, Rewrite};
use datamesh_core::{FileId, MeshPath, VersionId};
use rusqlite::Connection;

use crate::error::{CatalogError, Result, damaged};
use crate::index;

use super::conflict::{self, Rival};
use super::record::{
    self, FileState, PathState, Place, Standing, TagCount, Tally, deleted_key, file_key, live_key,
    load, purged_key, rewritten_key, save, tag_key, version_id_key, version_key,
};
use super::{labels, operations, pins, shares};

/// What the fold needs of a put or a delete marker.
pub(super) struct Effect<'a> {
    pub(super) path: &'a MeshPath,
    file: FileId,
    version: VersionId,
    replaces: VersionId,
    standing: Standing,
    size: u64,
    tags: Cow<'a, [String]>,
    labelled: bool,
}

impl<'a> Effect<'a> {
    pub(super) fn of(change: &'a Change) -> Option<Self> {
        match change {
            Change::Put(put) => Some(Self {
                path: &put.path,
                file: put.file,
                version: put.version,
                replaces: put.replaces,
                standing: put.kind.into(),
                size: put.size,
                tags: Cow::Borrowed(&put.tags),
                labelled: false,
            }),
            Change::Delete(delete) => Some(Self {
                path: &delete.path,
                file: delete.file,
                version: delete.version,
                replaces: delete.replaces,
                standing: Standing::Deleted,
                size: 0,
                tags: Cow::Borrowed(&[]),
                labelled: false,
            }),
            Change::Purge(_)
            | Change::Rewrite(_)
            | Change::Label(_)
            | Change::Pin(_)
            | Change::Share(_)
            | Change::Unshare(_)
            | Change::Unknown { .. } => None,
        }
    }
}

/// The version id that a change brings.
pub(super) fn version_of(change: &Change) -> Option<VersionId> {
    Effect::of(change).map(|effect| effect.version)
}

/// Folds one stored operation.
pub(super) fn fold(
    connection: &Connection,
    operation: &Operation,
    place: &Place,
    tally: &mut Tally,
) -> Result<()> {
    tally.operations += 1;
    tally.clock = tally.clock.max(operation.clock);
    if let Change::Purge(purge) = &operation.change {
        return fold_purge(connection, &purge.versions, tally);
    }
    if let Change::Rewrite(rewrite) = &operation.change {
        let key = rewritten_key(&rewrite.version);
        let known: Option<Place> = load(connection, &key, "a rewritten version")?;
        if known.is_none_or(|known| known.rank() < place.rank()) {
            save(connection, &key, place)?;
        }
        return Ok(());
    }
    if let Change::Pin(pin) = &operation.change {
        return pins::fold(connection, pin, place);
    }
    if let Change::Label(label) = &operation.change {
        return labels::fold(connection, label, place);
    }
    match &operation.change {
        Change::Share(share) => return shares::fold_share(connection, share, place),
        Change::Unshare(unshare) => return shares::fold_unshare(connection, unshare),
        _ => {}
    }
    let Some(mut effect) = Effect::of(&operation.change) else {
        return Ok(());
    };
    if let Change::Put(put) = &operation.change
        && labels::any(connection, &put.version)?
    {
        // They came before their put.
        effect.labelled = true;
        effect.tags = Cow::Owned(labels::apply(connection, (**put).clone())?.0.tags);
    }
    save(connection, &version_key(effect.path, place.clock, &place.log), place)?;
    let id_key = version_id_key(&effect.version);
    let known: Option<Place> = load(connection, &id_key, "a version")?;
    if known.is_none_or(|known| known.rank() < place.rank()) {
        save(connection, &id_key, place)?;
    }
    let file_key = file_key(&effect.file);
    let known: Option<FileState> = load(connection, &file_key, "a file")?;
    // A marker may stand at the name of a conflict, where the file never was.
    let moves = effect.standing != Standing::Deleted;
    if moves && known.is_none_or(|known| known.place.rank() < place.rank()) {
        let state = FileState { place: place.clone(), path: effect.path.clone() };
        save(connection, &file_key, &state)?;
    }
    let purged = index::get(connection, &purged_key(&effect.version))?.is_some();
    if effect.standing != Standing::Deleted && !purged {
        tally.versions += 1;
        tally.version_bytes = tally.version_bytes.saturating_add(effect.size);
    }
    conflict::note_seen(connection, effect.path, &effect.replaces, place, tally)?;
    conflict::end_of_log(connection, effect.path, &place.log, tally)?;
    fold_path(connection, &effect, place, tally)
}

/// Notes versions as purged, those too whose operations have yet to come.
fn fold_purge(connection: &Connection, versions: &[VersionId], tally: &mut Tally) -> Result<()> {
    for version in versions {
        let key = purged_key(version);
        if index::get(connection, &key)?.is_some() {
            continue;
        }
        index::put(connection, &key, &[])?;
        let known: Option<Place> = load(connection, &version_id_key(version), "a version")?;
        let Some(place) = known else { continue };
        if let Change::Put(put) = operations::at(connection, &place)?.change {
            tally.versions = tally.versions.saturating_sub(1);
            tally.version_bytes = tally.version_bytes.saturating_sub(put.size);
        }
        conflict::end_version(connection, version, tally)?;
    }
    Ok(())
}

/// The put with its content where it is now.
pub(super) fn put_now(connection: &Connection, put: Box<Put>) -> Result<Box<Put>> {
    let place: Option<Place> =
        load(connection, &rewritten_key(&put.version), "a rewritten version")?;
    let Some(place) = place else { return Ok(put) };
    match operations::at(connection, &place)?.change {
        Change::Rewrite(rewrite) if rewrite.version == put.version => {
            let Rewrite { protection, key, content, .. } = *rewrite;
            Ok(Box::new(Put { protection: Some(protection), key, content, ..*put }))
        }
        _ => Err(damaged("a rewritten version", "its operation rewrites another one")),
    }
}

/// Where a version is the one that is listed, its put as it came, and what stands there.
pub(super) fn live_state(
    connection: &Connection,
    version: &VersionId,
) -> Result<Option<(MeshPath, Put, PathState)>> {
    let place: Option<Place> = load(connection, &version_id_key(version), "a version")?;
    let Some(place) = place else { return Ok(None) };
    let Change::Put(put) = operations::at(connection, &place)?.change else { return Ok(None) };
    let beside = conflict::conflict_name(&put, &place.log);
    for path in [Some(put.path.clone()), beside].into_iter().flatten() {
        let state: Option<PathState> = load(connection, &live_key(&path), "a path")?;
        if let Some(state) = state.filter(|state| state.version == *version) {
            return Ok(Some((path, *put, state)));
        }
    }
    Ok(None)
}

/// Says anew what stands at a path that is listed.
pub(super) fn save_live(connection: &Connection, path: &MeshPath, state: &PathState) -> Result<()> {
    save(connection, &live_key(path), state)
}

/// What stands at a path, deleted or not.
pub(super) fn path_state(connection: &Connection, path: &MeshPath) -> Result<Option<PathState>> {
    match load(connection, &live_key(path), "a path")? {
        Some(state) => Ok(Some(state)),
        None => load(connection, &deleted_key(path), "a path"),
    }
}

fn fold_path(
    connection: &Connection,
    effect: &Effect<'_>,
    place: &Place,
    tally: &mut Tally,
) -> Result<()> {
    let path = effect.path;
    let mut before = path_state(connection, path)?;
    if let Some(state) = before.take_if(|state| state.standing == Standing::Conflict) {
        conflict::give_way(connection, path, &state, tally)?;
    }
    let versions = before.as_ref().map_or(0, |state| state.versions) + 1;
    if let Some(before) = &before
        && before.place.rank() > place.rank()
    {
        let key = key_of(path, before.standing);
        save(connection, &key, &PathState { versions, ..before.clone() })?;
        return match effect.standing {
            Standing::File if before.place.log != place.log => {
                let rival = Rival { place: place.clone(), version: effect.version };
                conflict::begin(connection, path, rival, tally)
            }
            _ => Ok(()),
        };
    }
    if let Some(before) = &before {
        uncount(tally, before)?;
        drop_tags(connection, path, before, &effect.tags)?;
        let moves =
            (before.standing == Standing::Deleted) != (effect.standing == Standing::Deleted);
        if moves && !index::remove(connection, &key_of(path, before.standing))? {
            return Err(damaged("a path", "it is missing"));
        }
    }
    for tag in &*effect.tags {
        index::put(connection, &tag_key(tag, path), &[])?;
    }
    let state = PathState {
        place: place.clone(),
        file: effect.file,
        version: effect.version,
        standing: effect.standing,
        size: effect.size,
        tags: TagCount::of(&effect.tags, effect.labelled),
        versions,
    };
    count(tally, &state);
    save(connection, &key_of(path, effect.standing), &state)?;
    match before {
        Some(before)
            if before.standing == Standing::File
                && before.place.log != place.log
                && before.version != effect.replaces =>
        {
            let rival = Rival { place: before.place, version: before.version };
            conflict::begin(connection, path, rival, tally)
        }
        _ => Ok(()),
    }
}

fn key_of(path: &MeshPath, standing: Standing) -> Vec<u8> {
    match standing {
        Standing::File | Standing::Folder | Standing::Conflict => live_key(path),
        Standing::Deleted => deleted_key(path),
    }
}

/// Removes the tags that the version before had and the new one has not.
pub(super) fn drop_tags(
    connection: &Connection,
    path: &MeshPath,
    before: &PathState,
    kept: &[String],
) -> Result<()> {
    if before.tags.count == 0 {
        return Ok(());
    }
    if let Change::Put(mut put) = operations::at(connection, &before.place)?.change {
        if before.tags.labelled {
            *put = labels::apply(connection, *put)?.0;
        }
        for tag in put.tags.iter().filter(|tag| !kept.contains(tag)) {
            index::remove(connection, &tag_key(tag, path))?;
        }
    }
    Ok(())
}

pub(super) fn count(tally: &mut Tally, state: &PathState) {
    match state.standing {
        Standing::File | Standing::Conflict => {
            tally.files += 1;
            tally.bytes = tally.bytes.saturating_add(state.size);
        }
        Standing::Folder => tally.folders += 1,
        Standing::Deleted => tally.deleted += 1,
    }
}

pub(super) fn uncount(tally: &mut Tally, state: &PathState) -> Result<()> {
    let taken = match state.standing {
        Standing::File | Standing::Conflict => {
            tally.bytes = tally.bytes.saturating_sub(state.size);
            tally.files.checked_sub(1).map(|files| tally.files = files)
        }
        Standing::Folder => tally.folders.checked_sub(1).map(|folders| tally.folders = folders),
        Standing::Deleted => tally.deleted.checked_sub(1).map(|deleted| tally.deleted = deleted),
    };
    taken.ok_or_else(|| damaged("the counts", "they are below what they count"))
}

/// Refuses a version id that is known already: a writer that draws one twice would hide a version.
pub(super) fn refuse_taken(connection: &Connection, version: &VersionId) -> Result<()> {
    match index::get(connection, &record::version_id_key(version))? {
        None => Ok(()),
        Some(_) => Err(CatalogError::VersionTaken { version: *version }),
    }
}
