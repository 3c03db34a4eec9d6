//! The rows that are searched, made from the catalog's operations as they come.

use std::collections::BTreeSet;

use datamesh_core::catalog::{Change, Operation};
use datamesh_core::{LogId, MeshPath, VersionId};
use rusqlite::{Connection, OptionalExtension, params};

use super::{SearchDb, execute, signed};
use crate::account::{AccountDb, Entry, Summary};
use crate::error::{During, Result};

/// Operations looked at in one transaction.
const PAGE: usize = 512;

impl SearchDb {
    /// Looks at the operations that the catalog took since the last time.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`](crate::CatalogError::Damaged) where the catalog or the index is.
    pub fn catch_up(&self, catalog: &AccountDb) -> Result<()> {
        for end in catalog.logs()? {
            let mut after = self.read(|connection| seen(connection, &end.log))?;
            while after < end.sequence {
                let page = catalog.operations(&end.log, after, PAGE)?;
                let Some(last) = page.last().map(|operation| operation.sequence) else { break };
                self.write(|connection| {
                    // Another process may have come first.
                    if seen(connection, &end.log)? != after {
                        return Ok(());
                    }
                    // The catalog is asked within the transaction: whoever writes later saw more.
                    for base in touched(catalog, &page)? {
                        refresh(connection, catalog, &base)?;
                    }
                    let sql = include_str!("../../sql/search/save_seen.sql");
                    execute(connection, sql, &[&end.log.0.as_slice(), &signed(last)]).map(drop)
                })?;
                after = self.read(|connection| seen(connection, &end.log))?.max(last);
            }
        }
        Ok(())
    }
}

fn seen(connection: &Connection, log: &LogId) -> Result<u64> {
    let sql = include_str!("../../sql/search/seen.sql");
    let mut statement = connection.prepare_cached(sql).during("reading the search index")?;
    let found: Option<i64> = statement
        .query_row(params![log.0.as_slice()], |row| row.get(0))
        .optional()
        .during("reading the search index")?;
    Ok(found.and_then(|sequence| u64::try_from(sequence).ok()).unwrap_or(0))
}

/// The paths whose rows these operations may change.
fn touched(catalog: &AccountDb, operations: &[Operation]) -> Result<BTreeSet<MeshPath>> {
    let mut paths = BTreeSet::new();
    let add_version = |paths: &mut BTreeSet<MeshPath>, version: &VersionId| -> Result<()> {
        if let Some(version) = catalog.version_by_id(version)? {
            paths.insert(match version.entry {
                Entry::Put(put) => put.path,
                Entry::Delete(delete) => delete.path,
            });
        }
        Ok(())
    };
    for operation in operations {
        match &operation.change {
            Change::Put(put) => {
                paths.insert(put.path.clone());
                add_version(&mut paths, &put.replaces)?;
            }
            Change::Delete(delete) => {
                paths.insert(delete.path.clone());
                add_version(&mut paths, &delete.replaces)?;
            }
            Change::Purge(purge) => {
                for version in &purge.versions {
                    add_version(&mut paths, version)?;
                }
            }
            Change::Label(label) => add_version(&mut paths, &label.version)?,
            Change::Rewrite(_)
            | Change::Pin(_)
            | Change::Share(_)
            | Change::Unshare(_)
            | Change::Unknown { .. } => {}
        }
    }
    Ok(paths)
}

/// Makes the rows of a path and of its conflicts anew.
fn refresh(connection: &Connection, catalog: &AccountDb, base: &MeshPath) -> Result<()> {
    let sql = include_str!("../../sql/search/rows_of.sql");
    let mut statement = connection.prepare_cached(sql).during("reading the search index")?;
    let old: Vec<i64> = statement
        .query_map(params![base.as_str()], |row| row.get(0))
        .and_then(Iterator::collect)
        .during("reading the search index")?;
    old.iter().try_for_each(|id| remove(connection, *id))?;
    for summary in catalog.listed_of(base)? {
        insert(connection, base, &summary)?;
    }
    Ok(())
}

fn remove(connection: &Connection, id: i64) -> Result<()> {
    execute(connection, include_str!("../../sql/search/drop_file.sql"), &[&id])?;
    execute(connection, include_str!("../../sql/search/drop_tagged.sql"), &[&id])?;
    execute(connection, include_str!("../../sql/search/drop_words.sql"), &[&id]).map(drop)
}

fn insert(connection: &Connection, base: &MeshPath, summary: &Summary) -> Result<()> {
    let path = summary.path.as_str();
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let (size, stored) = (signed(summary.size), signed(summary.created));
    let file = include_str!("../../sql/search/add_file.sql");
    let extension = summary.path.extension().unwrap_or_default().to_lowercase();
    execute(connection, file, &[&path, &base.as_str(), &extension, &size, &stored])?;
    let id = connection.last_insert_rowid();
    for tag in &summary.tags {
        execute(connection, include_str!("../../sql/search/add_tagged.sql"), &[tag, &id])?;
    }
    let words = include_str!("../../sql/search/add_words.sql");
    let tags = summary.tags.join(" ");
    execute(connection, words, &[&id, &name, &folder, &tags, &summary.note]).map(drop)
}
