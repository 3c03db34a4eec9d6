//! An ordered map in a table, every answer of which proves itself, "no" included.
//!
//! SQLite does not check its pages: one flipped bit in an inner page sends a search into the wrong
//! leaf, and a file that exists is "not found". Here each row carries a sum over itself and the hash
//! of the key that follows it, so that
//!
//! - a row that is found is the row that was written;
//! - a key is missing only if the row before it names the row after it as its neighbour;
//! - a range is complete, because each of its rows names the next.
//!
//! The sums are eight bytes without a key: they find damage, not malice. An attacker who can write
//! the file can also put back an older one; what he cannot forge are the operations, which are
//! signed.

use std::sync::LazyLock;

use rusqlite::{Connection, Row as SqlRow, params};

use crate::error::{During, Result, damaged};
use crate::sum::Sum;

/// BLAKE3 derive-key context of the rows' sums.
const ROW_SUM_CONTEXT: &str = "datamesh 2026 catalog index row v1";

/// BLAKE3 derive-key context of the names of neighbours.
const NEIGHBOUR_CONTEXT: &str = "datamesh 2026 catalog index neighbour v1";

/// The neighbour of the last row.
const END: [u8; 8] = [0; 8];

/// The first row; shorter than every key, so that each has a row before it.
const FIRST_KEY: &[u8] = &[];

static ROW_SUM: LazyLock<Sum> = LazyLock::new(|| Sum::new(ROW_SUM_CONTEXT));
static NEIGHBOUR: LazyLock<Sum> = LazyLock::new(|| Sum::new(NEIGHBOUR_CONTEXT));

struct Row {
    key: Vec<u8>,
    value: Vec<u8>,
    next: [u8; 8],
}

/// What the row before `key` calls it.
fn neighbour(key: &[u8]) -> [u8; 8] {
    NEIGHBOUR.of(&[key])
}

fn sum(key: &[u8], value: &[u8], next: &[u8; 8]) -> [u8; 8] {
    ROW_SUM.of(&[key, value, next])
}

fn broken(reason: &str) -> crate::CatalogError {
    damaged("the catalog's index", reason)
}

impl Row {
    fn read(row: &SqlRow<'_>) -> Result<Self> {
        let columns = || -> rusqlite::Result<(Self, [u8; 8])> {
            Ok((Self { key: row.get(0)?, value: row.get(1)?, next: row.get(2)? }, row.get(3)?))
        };
        let (row, stored) = columns().during("reading the index")?;
        if sum(&row.key, &row.value, &row.next) != stored {
            return Err(broken("a row does not match its sum"));
        }
        Ok(row)
    }
}

/// Where a key is, or would be.
enum Place {
    At(Row),
    After(Row),
}

/// Lays the first row into an empty table.
pub(crate) fn create(connection: &Connection) -> Result<()> {
    insert(connection, &Row { key: FIRST_KEY.to_vec(), value: Vec::new(), next: END })
}

/// Removes every row and lays the first one anew.
pub(crate) fn clear(connection: &Connection) -> Result<()> {
    connection.execute(include_str!("../sql/index/clear.sql"), []).during("clearing the index")?;
    create(connection)
}

/// Finds `key` or the row before it, with the proof that nothing is between.
fn find(connection: &Connection, key: &[u8]) -> Result<Place> {
    let Some(row) = one(connection, include_str!("../sql/index/at_or_before.sql"), key)? else {
        return Err(broken("the first row is missing"));
    };
    if row.key == key {
        return Ok(Place::At(row));
    }
    if row.key.as_slice() > key {
        return Err(broken("rows are out of order"));
    }
    match one(connection, include_str!("../sql/index/after.sql"), key)? {
        None if row.next == END => Ok(Place::After(row)),
        Some(after) if after.key.as_slice() > key && row.next == neighbour(&after.key) => {
            Ok(Place::After(row))
        }
        _ => Err(broken("a row is missing")),
    }
}

fn one(connection: &Connection, sql: &'static str, key: &[u8]) -> Result<Option<Row>> {
    let mut statement = connection.prepare_cached(sql).during("reading the index")?;
    let mut rows = statement.query([key]).during("reading the index")?;
    rows.next().during("reading the index")?.map(Row::read).transpose()
}

/// The value of `key`.
pub(crate) fn get(connection: &Connection, key: &[u8]) -> Result<Option<Vec<u8>>> {
    match find(connection, key)? {
        Place::At(row) => Ok(Some(row.value)),
        Place::After(_) => Ok(None),
    }
}

/// Sets the value of `key`.
pub(crate) fn put(connection: &Connection, key: &[u8], value: &[u8]) -> Result<()> {
    match find(connection, key)? {
        Place::At(row) if row.value == value => Ok(()),
        Place::At(row) => update(connection, &Row { value: value.to_vec(), ..row }),
        Place::After(before) => {
            let row = Row { key: key.to_vec(), value: value.to_vec(), next: before.next };
            insert(connection, &row)?;
            update(connection, &Row { next: neighbour(key), ..before })
        }
    }
}

/// Removes `key`; says whether it was there.
pub(crate) fn remove(connection: &Connection, key: &[u8]) -> Result<bool> {
    let Place::At(row) = find(connection, key)? else {
        return Ok(false);
    };
    let Some(before) = one(connection, include_str!("../sql/index/before.sql"), key)? else {
        return Err(broken("the first row is missing"));
    };
    if before.next != neighbour(key) {
        return Err(broken("a row is missing"));
    }
    let mut statement = connection
        .prepare_cached(include_str!("../sql/index/delete.sql"))
        .during("writing the index")?;
    match statement.execute([key]).during("writing the index")? {
        1 => update(connection, &Row { next: row.next, ..before })?,
        _ => return Err(broken("a row cannot be removed")),
    }
    Ok(true)
}

fn insert(connection: &Connection, row: &Row) -> Result<()> {
    let mut statement = connection
        .prepare_cached(include_str!("../sql/index/insert.sql"))
        .during("writing the index")?;
    let sum = sum(&row.key, &row.value, &row.next);
    statement.execute(params![row.key, row.value, row.next, sum]).during("writing the index")?;
    Ok(())
}

fn update(connection: &Connection, row: &Row) -> Result<()> {
    let mut statement = connection
        .prepare_cached(include_str!("../sql/index/update.sql"))
        .during("writing the index")?;
    let sum = sum(&row.key, &row.value, &row.next);
    match statement
        .execute(params![row.key, row.value, row.next, sum])
        .during("writing the index")?
    {
        1 => Ok(()),
        _ => Err(broken("a row cannot be written")),
    }
}

/// What a walk does next.
pub(crate) enum Step {
    /// The next row.
    On,
    /// The first row that is not below this key, which must be above the row just seen.
    Seek(Vec<u8>),
    /// Nothing more.
    Stop,
}

/// Shows `visit` the rows from the key `from` on, in order and without gaps, until it stops.
pub(crate) fn walk(
    connection: &Connection,
    from: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<Step>,
) -> Result<()> {
    let mut from = from.to_vec();
    'seek: loop {
        let Some(before) = one(connection, include_str!("../sql/index/before.sql"), &from)? else {
            return Err(broken("the first row is missing"));
        };
        if before.key >= from {
            return Err(broken("rows are out of order"));
        }
        let mut expected = before.next;
        let mut last = from.clone();
        let mut statement = connection
            .prepare_cached(include_str!("../sql/index/from.sql"))
            .during("reading the index")?;
        let mut rows = statement.query([&from]).during("reading the index")?;
        let mut first = true;
        while let Some(row) = rows.next().during("reading the index")? {
            let row = Row::read(row)?;
            let ordered = if first { row.key >= last } else { row.key > last };
            if !ordered || neighbour(&row.key) != expected {
                return Err(broken("a row is missing"));
            }
            match visit(&row.key, &row.value)? {
                Step::On => {}
                Step::Stop => return Ok(()),
                Step::Seek(key) => {
                    from = key;
                    continue 'seek;
                }
            }
            (expected, last, first) = (row.next, row.key, false);
        }
        if expected != END {
            return Err(broken("a row is missing"));
        }
        return Ok(());
    }
}

/// Walks the rows whose keys begin with `prefix`, from `prefix ‖ from` on.
pub(crate) fn walk_prefix(
    connection: &Connection,
    prefix: &[u8],
    from: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<Step>,
) -> Result<()> {
    walk(connection, &[prefix, from].concat(), |key, value| match key.strip_prefix(prefix) {
        None => Ok(Step::Stop),
        Some(rest) => Ok(match visit(rest, value)? {
            Step::Seek(rest) => Step::Seek([prefix, &rest].concat()),
            step => step,
        }),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn empty() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../sql/account/0001.sql")).unwrap();
        create(&connection).unwrap();
        connection
    }

    fn all(connection: &Connection, from: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut rows = Vec::new();
        walk(connection, from, |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok(Step::On)
        })?;
        Ok(rows)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn behaves_like_an_ordered_map(
            steps in prop::collection::vec(
                (0u8..3, prop::collection::vec(0u8..4, 1..4), any::<u8>()), 1..80),
        ) {
            let (connection, mut model) = (empty(), BTreeMap::new());
            for (what, key, value) in steps {
                match what {
                    0 => prop_assert_eq!(remove(&connection, &key).unwrap(), model.remove(&key).is_some()),
                    _ => {
                        put(&connection, &key, &[value]).unwrap();
                        model.insert(key.clone(), vec![value]);
                    }
                }
                prop_assert_eq!(get(&connection, &key).unwrap(), model.get(&key).cloned());
                let rest: Vec<_> = model.range(key.clone()..).map(|(k, v)| (k.clone(), v.clone())).collect();
                prop_assert_eq!(all(&connection, &key).unwrap(), rest);
            }
        }
    }

    #[test]
    fn a_row_that_vanished_is_noticed_by_who_asks_for_it_or_past_it() {
        let connection = empty();
        for key in [b"a", b"c", b"e"] {
            put(&connection, key, b"value").unwrap();
        }
        connection.execute("DELETE FROM entry WHERE key = ?1", [b"c"]).unwrap();
        assert!(get(&connection, b"c").is_err());
        assert!(get(&connection, b"b").is_err());
        assert!(put(&connection, b"d", b"value").is_err());
        assert!(all(&connection, b"a").is_err());
        assert_eq!(get(&connection, b"a").unwrap().as_deref(), Some(&b"value"[..]));
        assert_eq!(get(&connection, b"f").unwrap(), None);
    }

    #[test]
    fn a_row_that_changed_is_noticed() {
        for column in ["value", "next", "sum"] {
            let connection = empty();
            put(&connection, b"a", b"12345678").unwrap();
            let sql = format!("UPDATE entry SET {column} = x'0011223344556677' WHERE key = ?1");
            connection.execute(&sql, [b"a"]).unwrap();
            assert!(get(&connection, b"a").is_err(), "{column}");
            assert!(get(&connection, b"b").is_err(), "{column}");
        }
    }
}
