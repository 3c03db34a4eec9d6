//! One writer whose transactions are shared.
//!
//! A synced commit costs one wait for the disk, however much is in it. Callers take turns on the
//! one connection; each does its work inside the open transaction, under a savepoint of its own, and
//! the last that finds nobody waiting commits for all. Those who come during a commit form the next
//! group. There is no timer and no thread, so a lone caller never waits for company, and in a
//! single-threaded simulation every group has one member.
//!
//! Promised: work that fails or panics leaves nothing and does not disturb the others; nobody hears
//! success before the commit that holds its work succeeded.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use rusqlite::Connection;

use crate::error::{CatalogError, Damage, During, Result};
use crate::points::Steps;

/// Most turns in a transaction, so that the first in a group does not wait for an endless row of
/// others, and the log beside the database stays small.
const TURNS_MAX: usize = 256;

/// The writing side of a database.
pub(crate) struct Writer {
    /// Callers that want a turn and do not have it yet.
    waiting: AtomicUsize,
    state: Mutex<State>,
    /// The first damage that was noticed; nothing is written after it.
    damage: OnceLock<Damage>,
    /// Who is told of each step.
    steps: Steps,
}

struct State {
    connection: Connection,
    /// The open transaction, if there is one.
    open: Option<Open>,
}

struct Open {
    turns: usize,
    outcome: Arc<Outcome>,
}

/// How a shared transaction ended, for those who left it to others to commit.
#[derive(Default)]
struct Outcome {
    result: Mutex<Option<Result<()>>>,
    known: Condvar,
}

impl Outcome {
    fn set(&self, result: Result<()>) {
        *lock(&self.result) = Some(result);
        self.known.notify_all();
    }

    fn wait(&self) -> Result<()> {
        let mut result = lock(&self.result);
        loop {
            match &*result {
                Some(result) => return result.clone(),
                None => result = self.known.wait(result).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Takes a lock that no panic leaves in disorder: turns catch theirs, and the rest is assignments.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    pub(crate) fn new(connection: Connection, steps: Steps) -> Self {
        Self {
            steps,
            waiting: AtomicUsize::new(0),
            state: Mutex::new(State { connection, open: None }),
            damage: OnceLock::new(),
        }
    }

    /// Takes a step: does `work` in a transaction, perhaps with others, and returns when it is
    /// committed. An error of `work` undoes what it did and nothing else.
    pub(crate) fn write<T>(
        &self,
        point: &'static str,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        self.steps.take(point, || self.share(work))
    }

    fn share<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        if let Some(damage) = self.damage.get() {
            return Err(damage.clone().into());
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut state = lock(&self.state);
        self.waiting.fetch_sub(1, Ordering::SeqCst);

        let outcome = state.join()?;
        let (worked, lost) = state.turn(work);
        let last = self.waiting.load(Ordering::SeqCst) == 0;
        let shared = if let Some(error) = lost {
            state.end(Err(error.clone()));
            Err(error)
        } else if last || state.turns() >= TURNS_MAX {
            let result = state.commit();
            state.end(result.clone());
            result
        } else {
            drop(state);
            // Work that failed has nothing in the transaction to wait for.
            if matches!(worked, Ok(Ok(_))) { outcome.wait() } else { Ok(()) }
        };
        match worked {
            Ok(Ok(value)) => self.noted(shared.map(|()| value)),
            Ok(Err(error)) => self.noted(Err(error)),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// The first damage that anybody noticed.
    pub(crate) fn damage(&self) -> Option<&Damage> {
        self.damage.get()
    }

    /// Remembers the first damage that anybody notices.
    pub(crate) fn noted<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(CatalogError::Damaged(damage)) = &result {
            self.damage.get_or_init(|| damage.clone());
        }
        result
    }
}

impl State {
    /// Enters the open transaction or opens one.
    fn join(&mut self) -> Result<Arc<Outcome>> {
        if let Some(open) = &mut self.open {
            open.turns += 1;
            return Ok(Arc::clone(&open.outcome));
        }
        begin(&self.connection)?;
        let outcome = Arc::new(Outcome::default());
        self.open = Some(Open { turns: 1, outcome: Arc::clone(&outcome) });
        Ok(outcome)
    }

    fn turns(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.turns)
    }

    /// One caller's work under its savepoint, whose outer result is a panic's; and what ended the
    /// whole transaction, if that happened: then nobody's work is left.
    fn turn<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> (std::thread::Result<Result<T>>, Option<CatalogError>) {
        let connection = &self.connection;
        if let Err(error) = savepoint(connection) {
            return (Ok(Err(error.clone())), self.abandon(error));
        }
        let worked = catch_unwind(AssertUnwindSafe(|| work(connection)));
        let settled = match &worked {
            Ok(Ok(_)) => release(connection),
            // On some errors SQLite gives up the whole transaction by itself.
            Ok(Err(error)) if connection.is_autocommit() => Err(error.clone()),
            _ => undo(connection),
        };
        match (settled, worked) {
            (Ok(()), worked) => (worked, None),
            (Err(error), Ok(Ok(_))) => (Ok(Err(error.clone())), self.abandon(error)),
            (Err(error), worked) => (worked, self.abandon(error)),
        }
    }

    /// Makes sure that nothing of the transaction can be committed.
    fn abandon(&self, error: CatalogError) -> Option<CatalogError> {
        if !self.connection.is_autocommit() {
            // Should this fail too, the next transaction cannot begin, and says so.
            let _ = rollback(&self.connection);
        }
        Some(error)
    }

    fn commit(&self) -> Result<()> {
        let result = commit(&self.connection);
        if result.is_err() && !self.connection.is_autocommit() {
            rollback(&self.connection)?;
        }
        result
    }

    fn end(&mut self, result: Result<()>) {
        if let Some(open) = self.open.take() {
            open.outcome.set(result);
        }
    }
}

fn begin(connection: &Connection) -> Result<()> {
    connection
        .execute_batch(include_str!("../sql/transaction/begin.sql"))
        .during("beginning a transaction")
}

fn commit(connection: &Connection) -> Result<()> {
    connection.execute_batch(include_str!("../sql/transaction/commit.sql")).during("committing")
}

fn rollback(connection: &Connection) -> Result<()> {
    connection.execute_batch(include_str!("../sql/transaction/rollback.sql")).during("rolling back")
}

fn savepoint(connection: &Connection) -> Result<()> {
    connection
        .execute_batch(include_str!("../sql/transaction/savepoint.sql"))
        .during("setting a savepoint")
}

fn release(connection: &Connection) -> Result<()> {
    connection
        .execute_batch(include_str!("../sql/transaction/release.sql"))
        .during("releasing a savepoint")
}

fn undo(connection: &Connection) -> Result<()> {
    connection
        .execute_batch(include_str!("../sql/transaction/undo.sql"))
        .during("undoing work that failed")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "real threads meet here")]
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    /// A writer whose database may grow to `pages` pages.
    fn writer(folder: &std::path::Path, pages: i64) -> Writer {
        let connection = Connection::open(folder.join("sample.db")).unwrap();
        connection.execute_batch("CREATE TABLE a (x INTEGER PRIMARY KEY, y BLOB)").unwrap();
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        Writer::new(connection, Steps::default())
    }

    fn insert(writer: &Writer, x: i64, bytes: usize) -> Result<()> {
        writer.write("a test", |connection| {
            connection
                .execute("INSERT INTO a VALUES (?1, zeroblob(?2))", (x, bytes as i64))
                .during("inserting")?;
            Ok(())
        })
    }

    fn rows(writer: &Writer) -> Vec<i64> {
        let connection = &lock(&writer.state).connection;
        let mut statement = connection.prepare("SELECT x FROM a ORDER BY x").unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(std::result::Result::unwrap).collect()
    }

    #[test]
    fn a_full_disk_fails_who_was_in_the_transaction_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(folder.path(), 40);
        let acknowledged = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (writer, acknowledged) = (&writer, &acknowledged);
                scope.spawn(move || {
                    for n in 0..30 {
                        let x = thread * 100 + n;
                        let bytes = if n % 5 == 4 { 1_000_000 } else { 10 };
                        match insert(writer, x, bytes) {
                            Ok(()) => lock(acknowledged).push(x),
                            Err(error) => {
                                assert!(matches!(error, CatalogError::DiskFull), "{error}")
                            }
                        }
                    }
                });
            }
        });
        let mut acknowledged = acknowledged.into_inner().unwrap();
        acknowledged.sort_unstable();
        assert_eq!(rows(&writer), acknowledged);
        assert!(acknowledged.iter().all(|x| x % 100 % 5 != 4));
        insert(&writer, 1000, 10).unwrap();
    }

    #[test]
    fn work_that_fails_is_undone_alone_and_damage_stops_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(folder.path(), 1000);
        insert(&writer, 1, 10).unwrap();
        let failed: Result<()> = writer.write("a test", |connection| {
            connection.execute("INSERT INTO a VALUES (2, x'')", []).during("inserting")?;
            Err(CatalogError::Busy)
        });
        assert!(matches!(failed, Err(CatalogError::Busy)));
        insert(&writer, 3, 10).unwrap();
        assert_eq!(rows(&writer), [1, 3]);
        // A row that is there already: our own statements never do that to an intact database.
        assert!(matches!(insert(&writer, 3, 10), Err(CatalogError::Damaged(_))));
        assert!(matches!(insert(&writer, 4, 10), Err(CatalogError::Damaged(_))));
        assert_eq!(rows(&writer), [1, 3]);
    }
}
