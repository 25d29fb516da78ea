//! What the server remembers: tokens, environments, apps, sandboxes, secrets, images and answers.
//!
//! ```text
//!  handlers ──► State ──┬─ tokens, short-lived secrets: in memory, looked up at once
//!                       └─ one connection, one thread at a time ──► DIR/state.db (SQLite, WAL)
//!                 DIR/key ──► seals secrets and answers; signs tokens (auth)
//!                 DIR/lock ─► one server a folder
//! ```
//!
//! Calls that touch the disk are `async` and run on a blocking thread, one after the other in the order of their coming, each
//! in a transaction of its own: all of it is kept or nothing. A call that has begun is carried out even if nobody waits for
//! its answer any more. A crash of the server loses nothing that was answered; a crash of the machine may lose the last
//! moments, never the consistency.
//!
//! Every look-up that a client causes takes its workspace, so that what belongs to another is simply not there. Values of
//! secrets never reach the disk in clear, nor a log; of a token's secret only the digest is kept.

mod answers;
mod apps;
mod column;
mod database;
mod environments;
mod error;
mod images;
mod keys;
mod place;
mod sandboxes;
#[cfg(test)]
pub(crate) mod scratch;
mod secrets;
mod short_lived;
mod status;
#[cfg(test)]
mod tests;
pub(crate) mod tokens;

pub(crate) use answers::Claim;
pub(crate) use apps::AppRecord;
pub(crate) use column::{from_seconds, seconds};
pub(crate) use environments::EnvironmentRecord;
pub(crate) use error::StateError;
pub(crate) use images::ImageRecord;
pub(crate) use sandboxes::{EndRecord, PortRecord, ProbeRecord, SandboxQuery, SandboxRecord, SpecRecord};
pub(crate) use secrets::{SecretMode, SecretRecord, SecretWrite};
pub(crate) use tokens::{Identity, TokenRecord};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the state lives.
#[derive(Debug, Clone)]
pub(crate) struct StateOptions {
    /// The folder. It is made if there is none.
    pub(crate) dir: PathBuf,
    /// The file with the key; `key` in the folder by default, which is made on first use. One that is given must exist.
    pub(crate) key: Option<PathBuf>,
}

/// The server's memory. A clone is the same one.
#[derive(Clone)]
pub(crate) struct State {
    inner: Arc<Inner>,
}

struct Inner {
    // Before the place: the database is closed when the folder is let go.
    db: Arc<tokio::sync::Mutex<Connection>>,
    path: PathBuf,
    keys: keys::Keys,
    tokens: tokens::Tokens,
    short_lived: short_lived::ShortLived,
    running: answers::Running,
    _place: place::Place,
}

impl State {
    /// Takes the folder and reads what is in it.
    ///
    /// # Errors
    /// Each with what to do: another server has the folder; the database is damaged, from a newer version, unreadable; the
    /// key is missing or another one.
    pub(crate) async fn open(options: StateOptions) -> Result<Self, StateError> {
        tokio::task::spawn_blocking(move || Self::open_now(&options)).await?
    }

    fn open_now(options: &StateOptions) -> Result<Self, StateError> {
        let place = place::Place::take(&options.dir)?;
        let path = database::path(&place);
        let has_database = path.try_exists().map_err(error::io_at(&path))?;
        let (keys, key_path) = keys::Keys::open(&place, options.key.as_deref(), has_database)?;
        let mut db = database::open(&place, &keys, &key_path)?;
        let load = |db: &mut Connection| -> Result<tokens::Tokens, StateError> {
            let begun = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let tokens = tokens::Tokens::load(&begun)?;
            answers::forget_old(&begun)?;
            begun.commit()?;
            Ok(tokens)
        };
        let tokens = load(&mut db).map_err(|error| error.at(&path))?;
        let inner = Inner {
            db: Arc::new(tokio::sync::Mutex::new(db)),
            path,
            keys,
            tokens,
            short_lived: short_lived::ShortLived::default(),
            running: answers::Running::default(),
            _place: place,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The key for the tokens that the server signs. It lasts as long as the key file.
    pub(crate) fn signing_key(&self) -> &[u8; 32] {
        self.inner.keys.signing()
    }

    /// Looks something up.
    async fn read<T, W>(&self, work: W) -> Result<T, StateError>
    where
        T: Send + 'static,
        W: FnOnce(&Inner, &Transaction<'_>) -> Result<T, StateError> + Send + 'static,
    {
        self.run(TransactionBehavior::Deferred, work).await
    }

    /// Changes something, wholly or not at all.
    async fn write<T, W>(&self, work: W) -> Result<T, StateError>
    where
        T: Send + 'static,
        W: FnOnce(&Inner, &Transaction<'_>) -> Result<T, StateError> + Send + 'static,
    {
        self.run(TransactionBehavior::Immediate, work).await
    }

    async fn run<T, W>(&self, behavior: TransactionBehavior, work: W) -> Result<T, StateError>
    where
        T: Send + 'static,
        W: FnOnce(&Inner, &Transaction<'_>) -> Result<T, StateError> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        // Waited for here and not on the thread: ten thousand calls in line hold one thread.
        let mut db = Arc::clone(&inner.db).lock_owned().await;
        let work = move || {
            let result = (|| {
                let begun = db.transaction_with_behavior(behavior)?;
                let value = work(&inner, &begun)?;
                begun.commit()?;
                Ok(value)
            })();
            drop(db);
            result.map_err(|error: StateError| error.at(&inner.path))
        };
        tokio::task::spawn_blocking(work).await?
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("path", &self.inner.path).finish_non_exhaustive()
    }
}
