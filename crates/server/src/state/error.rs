//! Why the state cannot be opened, read or written, with what to do about it.

use rusqlite::ErrorCode;
use std::io;
use std::path::{Path, PathBuf};

/// A failure of the state. Names folders and files of the server, never a value that is kept in them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// Another server has the folder.
    #[error("{} is in use by {}; stop it, or give this one a folder of its own with `--state DIR`", dir.display(), who(*pid))]
    InUse {
        dir: PathBuf,
        /// Of the process that has it, as it wrote there itself.
        pid: Option<u32>,
    },
    /// The database was written by a later version of this program.
    #[error(
        "{} was made by a newer version (state {found}; this one knows up to {known}): \
        move it away or use the newer program", path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    /// The database is not what was written.
    #[error("{} is damaged: {problem}; put a copy back, or move it away to begin anew", path.display())]
    Damaged { path: PathBuf, problem: String },
    /// The folder or a file in it cannot be opened, read or written.
    #[error("{}: {source}; the server's user must be able to read and write it, on a disk with room", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// The database cannot be opened.
    #[error("cannot open {}: {source}; the server's user must be able to write it and its folder", path.display())]
    Unreadable { path: PathBuf, source: rusqlite::Error },
    /// The file system takes no writes.
    #[error("{} cannot be written: {source}; make it and its folder writable, or give another one with `--state DIR`", path.display())]
    ReadOnly { path: PathBuf, source: rusqlite::Error },
    /// The file system is full.
    #[error("no room on the disk of {}: {source}; free some, or give another folder with `--state DIR`", path.display())]
    DiskFull { path: PathBuf, source: rusqlite::Error },
    /// The file system fails.
    #[error("the disk of {} is full or fails: {source}; its system's log may say more", path.display())]
    Disk { path: PathBuf, source: rusqlite::Error },
    /// Others could read the key, or exchange what is in the folder.
    #[error("{} is open to others (mode {mode:03o}); run `chmod {right} '{}'`", path.display(), path.display())]
    Open { path: PathBuf, mode: u32, right: &'static str },
    /// Somebody else's file.
    #[error("{} belongs to another user (uid {owner}); give a path of your own", path.display())]
    Owner { path: PathBuf, owner: u32 },
    /// There is no key file.
    #[error("the key file {} is missing; {advice}", path.display())]
    KeyMissing { path: PathBuf, advice: String },
    /// The key file has not the length of a key.
    #[error("the key file {} must hold exactly 32 bytes, and holds {found}; put the right one there", path.display())]
    KeyLength { path: PathBuf, found: usize },
    /// The database was written with another key.
    #[error(
        "{} was written with another key than {}; give the right one, or move both away to begin anew",
        database.display(), path.display()
    )]
    WrongKey { path: PathBuf, database: PathBuf },
    /// A value that was encrypted with another key, or changed afterwards.
    #[error("{what} cannot be decrypted: it was changed, or written with another key; write it again")]
    Sealed { what: String },
    /// A running sandbox of the app has this name.
    #[error("a sandbox named {name:?} already exists in this app and is running")]
    NameTaken { name: String },
    /// A secret of the environment has this name.
    #[error("a secret named {name:?} already exists in this environment")]
    SecretExists { name: String },
    /// There is no such environment.
    #[error("there is no environment {name:?}")]
    NoEnvironment { name: String },
    /// A secret without the name that its kind needs.
    #[error("this kind of secret needs a name")]
    NoName,
    /// More than is kept.
    #[error("{what} is too large: at most {most} bytes are kept")]
    TooLarge { what: &'static str, most: usize },
    /// A call with the same idempotency key runs, and went on running.
    #[error("a call with the same idempotency key is still running; try again")]
    Pending,
    /// Another program holds the database.
    #[error("{} is locked by another program; close it and try again", path.display())]
    Busy { path: PathBuf },
    /// Anything else of SQLite's.
    #[error("the state cannot be read or written: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The server is going down, or the work panicked.
    #[error("the state's work was given up: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

fn who(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another server".to_owned(), |pid| format!("another server (pid {pid})"))
}

impl StateError {
    /// What SQLite's answer means for this database.
    pub(super) fn at(self, database: &Path) -> Self {
        let Self::Sqlite(source) = self else { return self };
        let path = database.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { path, problem: source.to_string() }
            }
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
                Self::Unreadable { path, source }
            }
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path, source },
            Some(ErrorCode::DiskFull) => Self::DiskFull { path, source },
            Some(ErrorCode::SystemIoFailure) => Self::Disk { path, source },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            _ => Self::Sqlite(source),
        }
    }
}

/// For `map_err`: what went wrong with this path.
pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { path, source }
}
