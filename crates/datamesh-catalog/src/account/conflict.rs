//! Versions that were made without knowledge of each other.
//!
//! Of a path's versions the one of the highest rank is current. A file put that is not, and that
//! nobody who went on knew of, is a **rival**: it stays visible as an entry of its own, under a name
//! that follows from its operation. A version is known to have been seen by
//!
//! - whatever names it as the version that it replaces, at whatever path: a later version of the path,
//!   or a put or delete marker under the rival's own name;
//! - whatever its own log says of the path later.
//!
//! Both, and being purged, end a rival for good, so the rivals are the same whatever the order in
//! which logs arrive.

use datamesh_core::catalog::{Change, Put};
use datamesh_core::path::day;
use datamesh_core::wire::{Decode, Encode, Reader, WireError, Writer};
use datamesh_core::{LogId, MeshPath, VersionId, record};
use rusqlite::Connection;

use crate::error::{Result, damaged};
use crate::index;

use super::fold::{self, Effect, path_state};
use super::record::{
    PathState, Place, Standing, TagCount, Tally, live_key, load, purged_key, rivals_key, save,
    seen_key, tag_key, version_id_key,
};
use super::{labels, operations};

/// Digits of ids in a name.
const DIGITS: usize = 8;

record! {
    /// A version that stands beside the current one.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(super) struct Rival {
        pub(super) place: Place,
        pub(super) version: VersionId,
    }
}

/// The rivals of a path, one of each log at most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rivals(pub(super) Vec<Rival>);

impl Encode for Rivals {
    fn encode(&self, out: &mut Writer) {
        out.list(&self.0);
    }
}

impl Decode for Rivals {
    fn decode(from: &mut Reader<'_>) -> std::result::Result<Self, WireError> {
        Ok(Self(from.list("rivals", usize::from(u16::MAX))?))
    }
}

/// The rivals of a path.
pub(super) fn rivals(connection: &Connection, path: &MeshPath) -> Result<Rivals> {
    Ok(load(connection, &rivals_key(path), "the rivals of a path")?.unwrap_or_default())
}

fn keep(connection: &Connection, path: &MeshPath, rivals: &Rivals) -> Result<()> {
    if rivals.0.is_empty() {
        index::remove(connection, &rivals_key(path)).map(drop)
    } else {
        save(connection, &rivals_key(path), rivals)
    }
}

/// Whether an operation that is known has seen this version, or it was purged.
fn is_over(connection: &Connection, version: &VersionId) -> Result<bool> {
    Ok(index::get(connection, &seen_key(version))?.is_some()
        || index::get(connection, &purged_key(version))?.is_some())
}

/// Notes that an operation at `path` has seen the version that it replaces. Comes before the
/// operation is folded into its path.
pub(super) fn note_seen(
    connection: &Connection,
    path: &MeshPath,
    replaces: &VersionId,
    place: &Place,
    tally: &mut Tally,
) -> Result<()> {
    if *replaces == VersionId([0; 16]) {
        return Ok(());
    }
    let current = path_state(connection, path)?;
    let plain = current.is_some_and(|state| {
        state.standing != Standing::Conflict
            && state.version == *replaces
            && state.place.rank() < place.rank()
    });
    if plain {
        // The current version goes; nothing else needs to be known of it.
        return Ok(());
    }
    index::put(connection, &seen_key(replaces), &[])?;
    end_version(connection, replaces, tally)
}

/// Ends a version as a rival, where it is one.
pub(super) fn end_version(
    connection: &Connection,
    version: &VersionId,
    tally: &mut Tally,
) -> Result<()> {
    let place: Option<Place> = load(connection, &version_id_key(version), "a version")?;
    let Some(place) = place else { return Ok(()) };
    let operation = operations::at(connection, &place)?;
    match Effect::of(&operation.change) {
        Some(effect) => {
            end_where(connection, effect.path, |rival| rival.version == *version, tally)
        }
        None => Ok(()),
    }
}

/// Ends the rivals of a path that its log has gone on from.
pub(super) fn end_of_log(
    connection: &Connection,
    path: &MeshPath,
    log: &LogId,
    tally: &mut Tally,
) -> Result<()> {
    end_where(connection, path, |rival| rival.place.log == *log, tally)
}

fn end_where(
    connection: &Connection,
    path: &MeshPath,
    ends: impl Fn(&Rival) -> bool,
    tally: &mut Tally,
) -> Result<()> {
    let before = rivals(connection, path)?;
    let (ended, left): (Vec<Rival>, Vec<Rival>) = before.0.into_iter().partition(ends);
    if ended.is_empty() {
        return Ok(());
    }
    for rival in &ended {
        hide(connection, rival, tally)?;
    }
    keep(connection, path, &Rivals(left))
}

/// Makes a version that is not the current one of its path a rival, unless it was seen.
pub(super) fn begin(
    connection: &Connection,
    path: &MeshPath,
    rival: Rival,
    tally: &mut Tally,
) -> Result<()> {
    if is_over(connection, &rival.version)? {
        return Ok(());
    }
    let mut rivals = rivals(connection, path)?;
    show(connection, &rival, tally)?;
    rivals.0.push(rival);
    rivals.0.sort_by_key(|rival| rival.place.rank());
    keep(connection, path, &rivals)
}

/// The put of a rival, under its own name; nothing where it has none.
fn named(connection: &Connection, place: &Place) -> Result<Option<Put>> {
    match operations::at(connection, place)?.change {
        Change::Put(put) => Ok(conflict_name(&put, &place.log).map(|path| Put { path, ..*put })),
        _ => Err(damaged("a rival", "its operation puts no file")),
    }
}

/// The names under which the rivals of a path are listed.
pub(super) fn names(connection: &Connection, path: &MeshPath) -> Result<Vec<MeshPath>> {
    let mut names = Vec::new();
    for rival in rivals(connection, path)?.0 {
        let Some(put) = named(connection, &rival.place)? else { continue };
        let shown = path_state(connection, &put.path)?.is_some_and(|state| {
            state.standing == Standing::Conflict && state.version == rival.version
        });
        if shown {
            names.push(put.path);
        }
    }
    Ok(names)
}

/// Lists a rival under its own name, unless somebody has put something there.
fn show(connection: &Connection, rival: &Rival, tally: &mut Tally) -> Result<()> {
    let Some(put) = named(connection, &rival.place)? else { return Ok(()) };
    if path_state(connection, &put.path)?.is_some() {
        return Ok(());
    }
    let labelled = labels::any(connection, &put.version)?;
    let put = if labelled { labels::apply(connection, put)?.0 } else { put };
    for tag in &put.tags {
        index::put(connection, &tag_key(tag, &put.path), &[])?;
    }
    let state = PathState {
        place: rival.place.clone(),
        file: put.file,
        version: put.version,
        standing: Standing::Conflict,
        size: put.size,
        tags: TagCount::of(&put.tags, labelled),
        versions: 1,
    };
    fold::count(tally, &state);
    save(connection, &live_key(&put.path), &state)
}

fn hide(connection: &Connection, rival: &Rival, tally: &mut Tally) -> Result<()> {
    let Some(put) = named(connection, &rival.place)? else { return Ok(()) };
    match path_state(connection, &put.path)? {
        Some(state) if state.standing == Standing::Conflict && state.version == rival.version => {
            give_way(connection, &put.path, &state, tally)
        }
        _ => Ok(()),
    }
}

/// Takes the row of a rival away from its name.
pub(super) fn give_way(
    connection: &Connection,
    path: &MeshPath,
    state: &PathState,
    tally: &mut Tally,
) -> Result<()> {
    fold::uncount(tally, state)?;
    fold::drop_tags(connection, path, state, &[])?;
    index::remove(connection, &live_key(path)).map(drop)
}

/// The name under which a version stands beside the current one of its path:
/// `report (conflict of 4f1c9a2b 2026-11-23 8d3e12aa).txt`, with the first digits of its log and its
/// own id. Nothing where the path has no room for it.
pub(super) fn conflict_name(put: &Put, log: &LogId) -> Option<MeshPath> {
    let (log, version) = (log.to_string(), put.version.to_string());
    let (log, version) = (log.get(..DIGITS)?, version.get(..DIGITS)?);
    put.path.beside(&format!("(conflict of {log} {} {version})", day(put.created)))
}
