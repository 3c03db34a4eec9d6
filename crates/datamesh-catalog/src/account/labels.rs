//! What labels make of a version's tags, and its note.
//!
//! All labels of a version count, in the order of clock and log, on top of the tags of its put: so it is
//! the same whatever the order in which they arrive, before the put too.

use datamesh_core::VersionId;
use datamesh_core::catalog::{Change, Label, Put, TAGS_MAX};
use rusqlite::Connection;

use crate::error::{Result, damaged, read};
use crate::index::{self, Step};

use super::fold::{live_state, save_live};
use super::operations;
use super::record::{Place, TagCount, label_key, labels_prefix, save, tag_key};

/// Folds a label: its version's tags lead to the path where the version is current.
pub(super) fn fold(connection: &Connection, label: &Label, place: &Place) -> Result<()> {
    let listed = live_state(connection, &label.version)?;
    let before = match &listed {
        Some((_, put, _)) => apply(connection, put.clone())?.0.tags,
        None => Vec::new(),
    };
    save(connection, &label_key(&label.version, place.clock, &place.log), place)?;
    let Some((path, put, mut state)) = listed else { return Ok(()) };
    let after = apply(connection, put)?.0.tags;
    for tag in before.iter().filter(|tag| !after.contains(tag)) {
        index::remove(connection, &tag_key(tag, &path))?;
    }
    for tag in after.iter().filter(|tag| !before.contains(tag)) {
        index::put(connection, &tag_key(tag, &path), &[])?;
    }
    state.tags = TagCount::of(&after, true);
    save_live(connection, &path, &state)
}

/// The put, which must have the tags that it came with, with those that it has now, and its note.
pub(super) fn apply(connection: &Connection, mut put: Put) -> Result<(Put, String)> {
    let mut note = String::new();
    let version = put.version;
    let tags = &mut put.tags;
    walk(connection, &version, |label| {
        tags.retain(|tag| !label.remove.contains(tag));
        for tag in label.add {
            if let Err(at) = tags.binary_search(&tag)
                && tags.len() < TAGS_MAX
            {
                tags.insert(at, tag);
            }
        }
        if let Some(noted) = label.note {
            note = noted;
        }
        Ok(Step::On)
    })?;
    Ok((put, note))
}

/// A version's note.
pub(super) fn note(connection: &Connection, version: &VersionId) -> Result<String> {
    let mut note = String::new();
    walk(connection, version, |label| {
        if let Some(noted) = label.note {
            note = noted;
        }
        Ok(Step::On)
    })?;
    Ok(note)
}

/// Whether a version has labels.
pub(super) fn any(connection: &Connection, version: &VersionId) -> Result<bool> {
    let mut any = false;
    index::walk_prefix(connection, &labels_prefix(version), &[], |_, _| {
        any = true;
        Ok(Step::Stop)
    })?;
    Ok(any)
}

fn walk(
    connection: &Connection,
    version: &VersionId,
    mut visit: impl FnMut(Label) -> Result<Step>,
) -> Result<()> {
    index::walk_prefix(connection, &labels_prefix(version), &[], |_, value| {
        let place: Place = read("a label", value)?;
        match operations::at(connection, &place)?.change {
            Change::Label(label) if label.version == *version => visit(label),
            _ => Err(damaged("a label", "its operation labels another version")),
        }
    })
}
