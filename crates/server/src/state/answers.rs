//! Answers by idempotency key: a call that is made again gets the answer of the first time, also after a restart.
//!
//! The first caller with a key gets a [`ClaimGuard`] and does the work; whoever comes with the same key meanwhile waits for
//! it. An answer is kept for a day, sealed (it may hold tokens), and the oldest make room. Work that ends without an answer
//! frees the key for the next caller.

use super::column::At;
use super::{Inner, State, StateError};
use rusqlite::{OptionalExtension as _, Transaction, params};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
const MOST: i64 = 50_000;
const MOST_BYTES: i64 = 64 << 20;
/// Clients send UUIDs.
const MOST_KEY: usize = 256;
const MOST_ANSWER: usize = 1 << 20;
/// Old answers are looked for once in so many new ones.
const BETWEEN: i64 = 256;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    workspace: String,
    method: String,
    key: String,
}

impl Key {
    fn context(&self) -> [&str; 4] {
        ["answer", &self.workspace, &self.method, &self.key]
    }
}

/// The calls that run, with what their guards let go of at the end.
#[derive(Default)]
pub(super) struct Running {
    calls: Mutex<HashMap<Key, watch::Receiver<()>>>,
}

impl Running {
    fn calls(&self) -> MutexGuard<'_, HashMap<Key, watch::Receiver<()>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What to do with a call.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It is the first: do it, and give the answer to the guard.
    Fresh(ClaimGuard),
    /// It was done: this was the answer.
    Done(Vec<u8>),
}

/// The right to do a call. Others with its key wait until it is finished or dropped.
pub(crate) struct ClaimGuard {
    inner: Arc<Inner>,
    key: Key,
    /// Dropped last: then those who wait look again.
    _over: watch::Sender<()>,
}

impl ClaimGuard {
    /// Keeps the answer. It is kept even if the caller goes away meanwhile.
    ///
    /// # Errors
    /// [`StateError::TooLarge`] for more than 1 MiB; the key is free then, as after any other failure.
    pub(crate) async fn finish(self, answer: Vec<u8>) -> Result<(), StateError> {
        if answer.len() > MOST_ANSWER {
            return Err(StateError::TooLarge { what: "an answer", most: MOST_ANSWER });
        }
        let state = State { inner: Arc::clone(&self.inner) };
        // A task of its own: who waits for the key must not find it free with the work done.
        let keep = async move {
            let key = self.key.clone();
            let kept = state.write(move |inner, db| keep(inner, db, &key, &answer)).await;
            drop(self);
            kept
        };
        tokio::spawn(keep).await?
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        self.inner.running.calls().remove(&self.key);
    }
}

impl fmt::Debug for ClaimGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimGuard").field("method", &self.key.method).finish_non_exhaustive()
    }
}

fn keep(inner: &Inner, db: &Transaction<'_>, key: &Key, answer: &[u8]) -> Result<(), StateError> {
    let sealed = inner.keys.seal(&key.context(), answer);
    db.prepare_cached("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)")?.execute(params![
        key.workspace,
        key.method,
        key.key,
        sealed,
        At::now()
    ])?;
    if db.last_insert_rowid() % BETWEEN == 0 {
        forget_old(db)?;
    }
    Ok(())
}

/// Forgets what is too old, and the oldest of what is too much.
pub(super) fn forget_old(db: &Transaction<'_>) -> Result<(), StateError> {
    db.prepare_cached("DELETE FROM answers WHERE at <= ?")?.execute([At::now().earlier(KEPT)])?;
    db.prepare_cached(
        "DELETE FROM answers WHERE rowid IN (SELECT id FROM
         (SELECT rowid AS id, ROW_NUMBER() OVER newest AS number, SUM(LENGTH(sealed)) OVER newest AS bytes
          FROM answers WINDOW newest AS (ORDER BY at DESC, rowid DESC ROWS UNBOUNDED PRECEDING))
         WHERE number > ? OR bytes > ?)",
    )?
    .execute(params![MOST, MOST_BYTES])?;
    Ok(())
}

fn look(inner: &Inner, db: &Transaction<'_>, key: &Key) -> Result<Option<Vec<u8>>, StateError> {
    let oldest = At::now().earlier(KEPT);
    let sealed = db
        .prepare_cached("SELECT sealed FROM answers WHERE workspace = ? AND method = ? AND key = ? AND at > ?")?
        .query_row(params![key.workspace, key.method, key.key, oldest], |row| row.get::<_, Vec<u8>>(0))
        .optional()?;
    let Some(sealed) = sealed else { return Ok(None) };
    let answer = inner.keys.open_sealed(&key.context(), &sealed);
    let answer = answer.ok_or_else(|| StateError::Sealed { what: format!("the answer to {}", key.method) })?;
    Ok(Some(answer.to_vec()))
}

impl State {
    /// Whether this call is to be done, or was. Where it is being done, waits for that, for `patience` at most.
    ///
    /// The work should outlive its caller (`tokio::spawn`), so that a client that goes away and comes back finds it done.
    ///
    /// # Errors
    /// [`StateError::Pending`] when `patience` is over.
    pub(crate) async fn begin(
        &self,
        workspace: &str,
        method: &str,
        key: &str,
        patience: Duration,
    ) -> Result<Claim, StateError> {
        if key.len() > MOST_KEY {
            return Err(StateError::TooLarge { what: "an idempotency key", most: MOST_KEY });
        }
        let key = Key { workspace: workspace.to_owned(), method: method.to_owned(), key: key.to_owned() };
        let deadline = Instant::now().checked_add(patience);
        loop {
            match self.claim(&key) {
                Ok(guard) => {
                    let found = self.read(move |inner, db| look(inner, db, &key)).await?;
                    return Ok(found.map_or(Claim::Fresh(guard), Claim::Done));
                }
                Err(mut running) => {
                    // Nothing is ever sent: it ends when the guard is gone.
                    let over = running.changed();
                    match deadline {
                        None => drop(over.await),
                        Some(deadline) => {
                            let over = tokio::time::timeout_at(deadline, over).await;
                            drop(over.map_err(|_| StateError::Pending)?);
                        }
                    }
                }
            }
        }
    }

    /// The right to a call, or what ends when the one who has it is done.
    fn claim(&self, key: &Key) -> Result<ClaimGuard, watch::Receiver<()>> {
        let mut calls = self.inner.running.calls();
        if let Some(running) = calls.get(key) {
            return Err(running.clone());
        }
        let (over, running) = watch::channel(());
        calls.insert(key.clone(), running);
        Ok(ClaimGuard { inner: Arc::clone(&self.inner), key: key.clone(), _over: over })
    }
}
