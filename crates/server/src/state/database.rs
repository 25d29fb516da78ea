//! The database file: made whole or not at all, looked at before it is believed, brought to our version.

use super::error::{StateError, io_at};
use super::keys::Keys;
use super::place::{Place, create, remove};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What brings a database from each version to the next. Never change one that was released: add one.
const STEPS: [&str; 1] = [include_str!("schema.sql")];
/// `CSDK`: this file is ours.
const APPLICATION: i64 = 0x4353_444b;
const BUSY: Duration = Duration::from_secs(5);
/// Encrypted with the key that the database belongs to.
const KEY_CHECK: &[u8] = b"computesdk";
const KEY_CONTEXT: [&str; 1] = ["key check"];

pub(super) fn path(place: &Place) -> PathBuf {
    place.path("state.db")
}

/// Opens the database of the folder, which is made on first use.
pub(super) fn open(place: &Place, keys: &Keys, key_path: &Path) -> Result<Connection, StateError> {
    let path = path(place);
    // A new one gets its name when it is complete: an empty file is never one of ours.
    if !path.try_exists().map_err(io_at(&path))? {
        make(place, keys, &path)?;
    }
    for file in beside(&path, &["", "-wal", "-shm"]) {
        close_to_others(&file).map_err(io_at(&file))?;
    }
    // The system says better than SQLite why it cannot be opened.
    fs::OpenOptions::new().read(true).write(true).open(&path).map_err(io_at(&path))?;
    let length = length(&path).map_err(io_at(&path))?;
    let mut db = connect(&path).map_err(|error| error.at(&path))?;
    let prepare = |db: &mut Connection| {
        check(db, &path, length)?;
        log_ahead(db)?;
        migrate(db)
    };
    prepare(&mut db).map_err(|error| error.at(&path))?;
    let sealed = db.query_row("SELECT value FROM meta WHERE key = 'key check'", [], |row| row.get::<_, Vec<u8>>(0));
    let sealed = sealed.map_err(|error| StateError::from(error).at(&path))?;
    if keys.open_sealed(&KEY_CONTEXT, &sealed).is_none() {
        return Err(StateError::WrongKey { path: key_path.to_owned(), database: path });
    }
    Ok(db)
}

fn make(place: &Place, keys: &Keys, path: &Path) -> Result<(), StateError> {
    let fresh = place.path("state.new");
    // What a crash left, and the log of a database that somebody removed: SQLite would read it into the new one.
    let left = beside(&fresh, &["", "-wal", "-shm", "-journal"]).chain(beside(path, &["-wal", "-shm", "-journal"]));
    for file in left {
        remove(&file).map_err(io_at(&file))?;
    }
    create(&fresh).map_err(io_at(&fresh))?;
    let fill = || -> Result<(), StateError> {
        // Without a log: were there no room to put it into the file, closing would not tell.
        let mut db = connect(&fresh)?;
        migrate(&mut db)?;
        db.execute("INSERT INTO meta VALUES ('key check', ?)", [keys.seal(&KEY_CONTEXT, KEY_CHECK)])?;
        db.pragma_update(None, "application_id", APPLICATION)?;
        db.close().map_err(|(_, error)| StateError::from(error))
    };
    fill().map_err(|error| error.at(path))?;
    fs::File::open(&fresh).and_then(|file| file.sync_all()).map_err(io_at(&fresh))?;
    fs::rename(&fresh, path).map_err(io_at(path))?;
    place.sync()
}

/// Only takes rights away: a file that its user may not read stays so.
fn close_to_others(file: &Path) -> std::io::Result<()> {
    let mode = match fs::metadata(file) {
        Ok(metadata) => metadata.permissions().mode(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if mode & 0o077 == 0 { Ok(()) } else { fs::set_permissions(file, fs::Permissions::from_mode(mode & 0o700)) }
}

fn connect(path: &Path) -> Result<Connection, StateError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY)?;
    // Nobody else has the folder: SQLite needs no memory to share then, which would be one more file, and on a full disk
    // one more way to fail.
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    db.set_prepared_statement_cache_capacity(64);
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    Ok(db)
}

/// Writes into the file: only once it is known to be ours.
fn log_ahead(db: &Connection) -> Result<(), StateError> {
    Ok(db.pragma_update(None, "journal_mode", "WAL")?)
}

/// How long the file is, where all of the database is in it: where a log goes with it, it may have any length.
fn length(path: &Path) -> std::io::Result<Option<u64>> {
    for log in beside(path, &["-wal"]) {
        if fs::metadata(log).is_ok_and(|log| log.len() > 0) {
            return Ok(None);
        }
    }
    fs::metadata(path).map(|file| Some(file.len()))
}

fn check(db: &Connection, path: &Path, length: Option<u64>) -> Result<(), StateError> {
    let damaged = |problem: String| StateError::Damaged { path: path.to_owned(), problem };
    let application: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != APPLICATION {
        return Err(damaged("it is no database of this program".to_owned()));
    }
    let (found, known) = (version(db)?, STEPS.len() as i64);
    if found > known {
        return Err(StateError::Newer { path: path.to_owned(), found, known });
    }
    if found < 1 {
        return Err(damaged("it has no version".to_owned()));
    }
    let page: u64 = db.pragma_query_value(None, "page_size", |row| row.get(0))?;
    // SQLite reads zeroes for what is missing of the last page.
    if length.is_some_and(|length| !length.is_multiple_of(page.max(1))) {
        return Err(damaged("its end is missing".to_owned()));
    }
    let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(damaged(verdict.lines().last().unwrap_or_default().to_owned()));
    }
    Ok(())
}

fn version(db: &Connection) -> Result<i64, StateError> {
    Ok(db.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Each step and its version number together, or neither.
fn migrate(db: &mut Connection) -> Result<(), StateError> {
    let from = usize::try_from(version(db)?).unwrap_or(0);
    for (at, step) in STEPS.iter().enumerate().skip(from) {
        let step_of = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step_of.execute_batch(step)?;
        step_of.pragma_update(None, "user_version", at as i64 + 1)?;
        step_of.commit()?;
    }
    Ok(())
}

fn beside<'a>(path: &Path, endings: &'a [&'a str]) -> impl Iterator<Item = PathBuf> + use<'a> {
    let path = path.as_os_str().to_owned();
    endings.iter().map(move |ending| {
        let mut name: OsString = path.clone();
        name.push(ending);
        PathBuf::from(name)
    })
}
