//! Small values that a node keeps between runs.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{CatalogError, During, Result};
use crate::points;

use super::{NodeDb, RECORD_SUM, execute};

/// Longest name of a setting in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Largest value of a setting in bytes.
const VALUE_BYTES_MAX: usize = 4096;

/// A number that only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Sequence of this node's adverts.
    Advert,
}

impl Counter {
    fn name(self) -> &'static str {
        match self {
            Self::Advert => "counter/advert",
        }
    }
}

impl NodeDb {
    /// Raises a counter by one, at least to `least`, and returns it. The database may be lost, so
    /// `least` should be something that grows by itself, such as the time in milliseconds: whoever
    /// saw a higher number would not believe a lower one.
    ///
    /// # Errors
    /// [`CatalogError`] where the database cannot be written.
    pub fn raise(&self, counter: Counter, least: u64) -> Result<u64> {
        self.write(points::NODE_COUNTER, |connection| {
            let before = load(connection, counter.name())?
                .and_then(|value| Some(u64::from_le_bytes(value.try_into().ok()?)));
            let value = before.map_or(1, |value| value.saturating_add(1)).max(least);
            save(connection, counter.name(), &value.to_le_bytes())?;
            Ok(value)
        })
    }

    /// Saves a value of at most 4096 bytes under a name of at most 64.
    ///
    /// # Errors
    /// [`CatalogError::TooMany`] above these bounds.
    pub fn save_setting(&self, name: &str, value: &[u8]) -> Result<()> {
        let bound = |what, count, bound| match count > bound {
            true => Err(CatalogError::TooMany { what, count, bound }),
            false => Ok(()),
        };
        bound("bytes of a setting's name", name.len(), NAME_BYTES_MAX)?;
        bound("bytes of a setting", value.len(), VALUE_BYTES_MAX)?;
        self.write(points::NODE_SETTING, |connection| {
            save(connection, &format!("setting/{name}"), value)
        })
    }

    /// The value under a name; nothing where it was never saved, or lost.
    ///
    /// # Errors
    /// [`CatalogError`] where the database cannot be read.
    pub fn setting(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.read(|connection| load(connection, &format!("setting/{name}")))
    }
}

fn load(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>> {
    let row: Option<(Vec<u8>, [u8; 8])> = connection
        .prepare_cached(include_str!("../../sql/node/setting.sql"))
        .and_then(|mut statement| {
            statement.query_row([name], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .during("reading a setting")?;
    Ok(row.and_then(|(value, sum)| {
        (RECORD_SUM.of(&[name.as_bytes(), &value]) == sum).then_some(value)
    }))
}

fn save(connection: &Connection, name: &str, value: &[u8]) -> Result<()> {
    let sum = RECORD_SUM.of(&[name.as_bytes(), value]);
    let sql = include_str!("../../sql/node/save_setting.sql");
    execute(connection, sql, params![name, value, sum])?;
    Ok(())
}
