//! The rows of operations: as signed, and checked by their hash whenever one is read.

use datamesh_core::Hash;
use datamesh_core::catalog::Operation;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{During, Result, damaged, read};

use super::record::Place;

const WHAT: &str = "an operation";

/// Stores an operation's bytes at a free row.
pub(super) fn insert(connection: &Connection, row: u64, bytes: &[u8]) -> Result<()> {
    let mut statement = connection
        .prepare_cached(include_str!("../../sql/operation/insert.sql"))
        .during("storing an operation")?;
    statement.execute(params![row as i64, bytes]).during("storing an operation")?;
    Ok(())
}

/// The operation at a place, exactly as it was signed.
pub(super) fn at(connection: &Connection, place: &Place) -> Result<Operation> {
    by_hash(connection, place.row, &place.hash)
}

/// The operation at a row, whose hash is known.
pub(super) fn by_hash(connection: &Connection, row: u64, hash: &Hash) -> Result<Operation> {
    let operation = get(connection, row)?;
    if operation.hash() == *hash {
        Ok(operation)
    } else {
        Err(damaged(WHAT, "it does not match its hash"))
    }
}

/// The operation at a row, not yet checked.
pub(super) fn get(connection: &Connection, row: u64) -> Result<Operation> {
    let mut statement = connection
        .prepare_cached(include_str!("../../sql/operation/get.sql"))
        .during("reading an operation")?;
    let bytes: Option<Vec<u8>> = statement
        .query_row([row as i64], |row| row.get(0))
        .optional()
        .during("reading an operation")?;
    read(WHAT, &bytes.ok_or_else(|| damaged(WHAT, "it is missing"))?)
}

/// Shows `visit` the operations in a range of rows, in order, not yet checked, until it says no.
pub(super) fn range(
    connection: &Connection,
    from: u64,
    to: u64,
    mut visit: impl FnMut(u64, Operation) -> Result<bool>,
) -> Result<()> {
    let mut statement = connection
        .prepare_cached(include_str!("../../sql/operation/range.sql"))
        .during("reading operations")?;
    let mut rows = statement.query([from as i64, to as i64]).during("reading operations")?;
    while let Some(row) = rows.next().during("reading operations")? {
        let (id, bytes): (i64, Vec<u8>) =
            (row.get(0).during("reading operations")?, row.get(1).during("reading operations")?);
        if !visit(id as u64, read(WHAT, &bytes)?)? {
            break;
        }
    }
    Ok(())
}

/// Removes the operations in a range of rows.
pub(super) fn delete(connection: &Connection, from: u64, to: u64) -> Result<()> {
    let mut statement = connection
        .prepare_cached(include_str!("../../sql/operation/delete.sql"))
        .during("removing operations")?;
    statement.execute(params![from as i64, to as i64]).during("removing operations")?;
    Ok(())
}

/// How many rows there are.
pub(super) fn count(connection: &Connection) -> Result<u64> {
    connection
        .query_row(include_str!("../../sql/operation/count.sql"), [], |row| row.get::<_, i64>(0))
        .map(|count| count as u64)
        .during("counting operations")
}
