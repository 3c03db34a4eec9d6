//! Reading connections, opened as they are needed and kept.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use crate::database::{Schema, connect};
use crate::error::{During, Result};

/// Most connections that read at once; more readers wait. Each has a page cache of its own.
const READERS_MAX: usize = 8;

/// The reading side of a database.
pub(crate) struct Readers {
    path: PathBuf,
    schema: Schema,
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Default)]
struct Pool {
    free: Vec<Connection>,
    open: usize,
}

impl Readers {
    pub(crate) fn new(path: &Path, schema: Schema) -> Self {
        Self {
            path: path.to_owned(),
            schema,
            pool: Mutex::new(Pool::default()),
            returned: Condvar::new(),
        }
    }

    /// Does `work` on one state of the database: what is committed meanwhile is not seen.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let mut lent = self.lend()?;
        if let Some(connection) = &lent.connection {
            let transaction = connection.unchecked_transaction().during("beginning to read")?;
            let result = work(&transaction);
            if transaction.finish().is_ok() && result.is_ok() {
                return result;
            }
            // A connection that met an error is not lent again: its next user starts afresh.
            lent.connection = None;
            return result;
        }
        Err(crate::CatalogError::Busy)
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lend(&self) -> Result<Lent<'_>> {
        let mut pool = self.lock();
        loop {
            if let Some(connection) = pool.free.pop() {
                return Ok(Lent { readers: self, connection: Some(connection) });
            }
            if pool.open < READERS_MAX {
                pool.open += 1;
                break;
            }
            pool = self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
        drop(pool);
        // From here the place in the pool is given back by `Lent`, whatever happens.
        let mut lent = Lent { readers: self, connection: None };
        lent.connection = Some(connect(&self.path, self.schema, true)?);
        Ok(lent)
    }
}

/// A connection on loan; goes back when dropped.
struct Lent<'a> {
    readers: &'a Readers,
    connection: Option<Connection>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut pool = self.readers.lock();
        match self.connection.take() {
            Some(connection) => pool.free.push(connection),
            None => pool.open -= 1,
        }
        drop(pool);
        self.readers.returned.notify_one();
    }
}
