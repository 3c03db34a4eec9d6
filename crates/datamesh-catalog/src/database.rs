//! One database file: how it comes to be, what it must look like, how it is opened.
//!
//! A file is made under another name and renamed when its schema is synced, so a file that exists
//! is whole or damaged, never half made: an empty one is not taken for a fresh one. The schema has a
//! version (`user_version`) and moves up step by step, each step in one transaction; what is in
//! `sqlite_schema` is compared with what the steps make, so a damaged definition is noticed before
//! it misleads a query. The pages themselves are proved row by row by whoever reads them.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use crate::error::{CatalogError, Damage, During, Result, With, damaged};
use crate::group::Writer;
use crate::points::{self, Steps};
use crate::readers::Readers;

/// How long a call waits for another process that holds the database.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Longest row in bytes that SQLite may build in memory: an operation and its surroundings. Keeps
/// a damaged length from choosing our allocation.
const ROW_BYTES_MAX: i32 = 1024 * 1024;

/// Page cache of a connection in KiB (negative, as SQLite wants it).
const CACHE_KIB: i64 = -16 * 1024;

/// The log beside the database is cut back to this after a checkpoint.
const LOG_BYTES_KEPT: i64 = 16 * 1024 * 1024;

/// SQLite's smallest page; it takes a shorter file for an empty database.
const PAGE_BYTES_MIN: u64 = 512;

/// What a database of one kind looks like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema {
    /// For messages.
    pub(crate) name: &'static str,
    /// Tells the kinds apart, and from other programs' databases.
    pub(crate) application_id: i32,
    /// The steps from nothing to the newest version.
    pub(crate) steps: &'static [&'static str],
    /// Whether a commit is synced before it is acknowledged.
    pub(crate) synced: bool,
}

/// An open database: one writer whose transactions are shared, and readers.
pub(crate) struct Database {
    /// Before the writer, because fields are dropped in order and only a connection that can write
    /// empties the write-ahead log when it is the last to close.
    pub(crate) readers: Readers,
    pub(crate) writer: Writer,
    /// Whether this call made the file.
    pub(crate) created: bool,
}

impl Database {
    /// Opens the database at `path`, or makes it with `first` as its first content. Where the file
    /// is missing but SQLite's files beside it are there, it was lost, and they would be played into
    /// a fresh one: that is damage.
    pub(crate) fn open(
        path: &Path,
        schema: Schema,
        steps: &Steps,
        first: impl FnOnce(&Connection) -> Result<()>,
    ) -> Result<Self> {
        let created = !path.try_exists().with("looking for", path)?;
        if created {
            if let Some(left) = left_beside(path)? {
                let reason = format!("its file {} is missing, {left} is not", path.display());
                return Err(damaged("the database", reason));
            }
            create(path, schema, steps, first)?;
        }
        if fs::metadata(path).with("looking at", path)?.len() < PAGE_BYTES_MIN {
            return Err(damaged("the database", "its file is shorter than a page"));
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).with("protecting", path)?;
        let mut writer = connect(path, schema, false)?;
        match_kind(&writer, path, schema)?;
        writer.pragma_update(None, "journal_mode", "wal").during("choosing the journal")?;
        migrate(&mut writer, schema)?;
        match_schema(&writer, schema)?;
        let (writer, readers) = (Writer::new(writer, steps.clone()), Readers::new(path, schema));
        Ok(Self { writer, readers, created })
    }
}

/// Opens a database whose content somebody else still has: a damaged one is put aside (the last
/// such file is kept) and a fresh one made, which the second value says. Looks at the structure of
/// every page, so that damage does not wait for the query that meets it.
pub(crate) fn open_or_rebuild(
    path: &Path,
    schema: Schema,
    steps: &Steps,
) -> Result<(Database, Option<Damage>)> {
    match open_checked(path, schema, steps) {
        Ok(database) => Ok((database, None)),
        Err(CatalogError::Damaged(damage)) => {
            put_aside(path, steps)?;
            Ok((Database::open(path, schema, steps, |_| Ok(()))?, Some(damage)))
        }
        Err(error) => Err(error),
    }
}

/// Moves a database out of the way and removes what SQLite keeps beside it. The last one that was
/// moved is kept.
pub(crate) fn put_aside(path: &Path, steps: &Steps) -> Result<()> {
    steps.take(points::DATABASE_ASIDE, || {
        match fs::rename(path, beside(path, ".damaged")) {
            // Lost, or put aside by a program that was cut off here.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            moved => moved.with("putting aside", path)?,
        }
        remove(path)
    })
}

/// Opens a database, or makes it, and looks at the structure of every page.
pub(crate) fn open_checked(path: &Path, schema: Schema, steps: &Steps) -> Result<Database> {
    let database = Database::open(path, schema, steps, |_| Ok(()))?;
    database.readers.read(quick_check)?;
    Ok(database)
}

/// Makes the database under another name and renames it when it is synced.
fn create(
    path: &Path,
    schema: Schema,
    steps: &Steps,
    first: impl FnOnce(&Connection) -> Result<()>,
) -> Result<()> {
    let unfinished = beside(path, ".unfinished");
    steps.take(points::DATABASE_MAKE, || make(&unfinished, schema, first))?;
    steps.take(points::DATABASE_NAME, || {
        fs::rename(&unfinished, path).with("naming", path)?;
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        File::open(folder).and_then(|folder| folder.sync_all()).with("syncing", folder)
    })
}

/// Makes a database of that name, synced.
fn make(
    unfinished: &Path,
    schema: Schema,
    first: impl FnOnce(&Connection) -> Result<()>,
) -> Result<()> {
    remove(unfinished)?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(unfinished)
        .with("creating", unfinished)?;
    let mut connection = connect(unfinished, Schema { synced: true, ..schema }, false)?;
    connection
        .pragma_update(None, "application_id", schema.application_id)
        .during("marking the database")?;
    migrate(&mut connection, schema)?;
    first(&connection)?;
    connection.close().map_err(|(_, error)| error).during("closing the database")?;
    File::open(unfinished).and_then(|f| f.sync_all()).with("syncing", unfinished)
}

/// `path` with `suffix` behind its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// What SQLite keeps beside a database, by the end of the name.
const SIDECARS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The first of SQLite's files beside `path` that is there, by the end of its name.
pub(crate) fn left_beside(path: &Path) -> Result<Option<&'static str>> {
    for suffix in SIDECARS {
        let file = beside(path, suffix);
        if file.try_exists().with("looking for", &file)? {
            return Ok(Some(suffix));
        }
    }
    Ok(None)
}

/// Removes a database and what SQLite keeps beside it; nothing there is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let sidecars = SIDECARS.map(|suffix| beside(path, suffix));
    for file in std::iter::once(path.to_owned()).chain(sidecars) {
        match fs::remove_file(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with("removing", &file),
        }
    }
    Ok(())
}

/// A connection with every setting that is not stored in the file.
pub(crate) fn connect(path: &Path, schema: Schema, read_only: bool) -> Result<Connection> {
    let access = if read_only {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE
    };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .during("opening the database")?;
    let set_up = || -> rusqlite::Result<()> {
        connection.busy_timeout(BUSY_WAIT)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, ROW_BYTES_MAX)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "cache_size", CACHE_KIB)?;
        connection.pragma_update(None, "temp_store", "memory")?;
        connection.set_prepared_statement_cache_capacity(64);
        if read_only {
            return Ok(());
        }
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
        // What is overwritten or removed is zeroed: a damaged page pointer then leads to zeros
        // instead of to an older row that would prove itself, and deleted names leave the disk.
        connection.pragma_update(None, "secure_delete", true)?;
        connection.pragma_update(None, "synchronous", if schema.synced { "full" } else { "normal" })
    };
    set_up().during("setting up the database")?;
    Ok(connection)
}

/// Refuses a database of another kind.
fn match_kind(connection: &Connection, path: &Path, schema: Schema) -> Result<()> {
    let id: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .during("reading the database's kind")?;
    if id == schema.application_id {
        return Ok(());
    }
    Err(CatalogError::Kind { path: path.to_owned(), expected: schema.name })
}

/// Moves the schema up to the newest version, one step a transaction.
fn migrate(connection: &mut Connection, schema: Schema) -> Result<()> {
    let known = schema.steps.len() as i64;
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .during("reading the schema version")?;
    if found > known {
        return Err(CatalogError::Newer { found, known });
    }
    if found < 0 {
        return Err(damaged("the database", format!("its schema version is {found}")));
    }
    for (step, version) in schema.steps.iter().zip(1i64..).skip(found as usize) {
        let transaction = connection.transaction().during("moving the schema")?;
        transaction.execute_batch(step).during("moving the schema")?;
        transaction.pragma_update(None, "user_version", version).during("moving the schema")?;
        transaction.commit().during("moving the schema")?;
    }
    Ok(())
}

/// Compares the definitions in the database with those that the steps make.
fn match_schema(connection: &Connection, schema: Schema) -> Result<()> {
    let pattern = Connection::open_in_memory().during("building the schema")?;
    for step in schema.steps {
        pattern.execute_batch(step).during("building the schema")?;
    }
    if definitions(connection)? == definitions(&pattern)? {
        return Ok(());
    }
    Err(damaged("the database", "its tables are not defined as they were made"))
}

fn definitions(connection: &Connection) -> Result<Vec<(String, String, Option<String>)>> {
    let mut statement = connection
        .prepare(include_str!("../sql/file/definitions.sql"))
        .during("reading the schema")?;
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .during("reading the schema")?;
    rows.collect::<rusqlite::Result<_>>().during("reading the schema")
}

/// SQLite's own look at every page: structure, order and types, up to ten findings.
pub(crate) fn integrity(connection: &Connection) -> Result<()> {
    findings(connection, "integrity_check")
}

/// The same without comparing tables with their indexes.
fn quick_check(connection: &Connection) -> Result<()> {
    findings(connection, "quick_check")
}

fn findings(connection: &Connection, check: &'static str) -> Result<()> {
    let mut findings: Vec<String> = Vec::new();
    connection
        .pragma(None, check, 10, |row| {
            findings.push(row.get(0)?);
            Ok(())
        })
        .during("checking the database")?;
    if findings == ["ok"] { Ok(()) } else { Err(damaged("the database", findings.join("; "))) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const STEPS: [&str; 3] = [
        "CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1), (2)",
        "ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 7",
        "CREATE TABLE b AS SELECT x + y AS z FROM a",
    ];

    fn schema(steps: &'static [&'static str]) -> Schema {
        Schema { name: "a sample", application_id: 77, steps, synced: true }
    }

    fn open(path: &Path, steps: &'static [&'static str]) -> Result<Database> {
        Database::open(path, schema(steps), &Steps::default(), |_| Ok(()))
    }

    #[test]
    fn a_schema_moves_up_step_by_step_and_never_down() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.db");
        assert!(open(&path, &STEPS[..1]).unwrap().created);
        let database = open(&path, &STEPS).unwrap();
        assert!(!database.created);
        let sum: i64 = database
            .readers
            .read(|connection| {
                connection.query_row("SELECT sum(z) FROM b", [], |row| row.get(0)).during("adding")
            })
            .unwrap();
        assert_eq!(sum, 17);
        drop(database);
        let older = open(&path, &STEPS[..2]).map(drop);
        assert!(matches!(older, Err(CatalogError::Newer { found: 3, known: 2 })));
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it() {
        const BROKEN: [&str; 2] = [STEPS[0], "CREATE TABLE b (z); CREATE TABLE a (x)"];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.db");
        drop(open(&path, &STEPS[..1]).unwrap());
        assert!(matches!(open(&path, &BROKEN).map(drop), Err(CatalogError::Sqlite { .. })));
        drop(open(&path, &STEPS[..1]).unwrap());
        drop(open(&path, &STEPS).unwrap());
    }

    #[test]
    fn a_definition_that_changed_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.db");
        drop(open(&path, &STEPS).unwrap());
        Connection::open(&path).unwrap().execute_batch("ALTER TABLE a RENAME y TO w").unwrap();
        assert!(matches!(open(&path, &STEPS).map(drop), Err(CatalogError::Damaged(_))));
    }

    /// A database that was killed: some of it is in the write-ahead log alone.
    fn killed(path: &Path) -> Vec<u8> {
        let database = open(path, &STEPS).unwrap();
        database
            .writer
            .write("a test", |connection| {
                connection.execute("INSERT INTO b VALUES (1000)", []).during("adding")
            })
            .unwrap();
        let log = fs::read(beside(path, "-wal")).unwrap();
        drop(database);
        assert!(!log.is_empty());
        log
    }

    #[test]
    fn what_a_lost_file_left_beside_it_is_not_played_into_a_fresh_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.db");
        let log = killed(&path);
        fs::remove_file(&path).unwrap();
        for suffix in SIDECARS {
            fs::write(beside(&path, suffix), &log).unwrap();
            let refused = open(&path, &STEPS).map(drop);
            assert!(matches!(refused, Err(CatalogError::Damaged(_))), "{suffix}");
            assert!(!path.exists());
            assert_eq!(fs::read(beside(&path, suffix)).unwrap(), log);
            fs::remove_file(beside(&path, suffix)).unwrap();
        }
    }

    #[test]
    fn a_rebuilding_that_was_cut_off_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.db");
        let log = killed(&path);
        // Put aside, and the log not yet removed.
        fs::rename(&path, beside(&path, ".damaged")).unwrap();
        fs::write(beside(&path, "-wal"), &log).unwrap();
        let (database, damage) = open_or_rebuild(&path, schema(&STEPS), &Steps::default()).unwrap();
        assert!(damage.is_some());
        let sum: i64 = database
            .readers
            .read(|connection| {
                connection.query_row("SELECT sum(z) FROM b", [], |row| row.get(0)).during("adding")
            })
            .unwrap();
        assert_eq!(sum, 17);
    }

    #[test]
    fn a_file_whose_making_was_cut_off_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.db");
        fs::write(beside(&path, ".unfinished"), b"cut").unwrap();
        assert!(open(&path, &STEPS).unwrap().created);
        assert!(!beside(&path, ".unfinished").exists());
    }
}
