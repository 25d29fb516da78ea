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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::scratch::Scratch;

    const LONG: Duration = Duration::from_secs(60);

    impl Scratch {
        async fn claim(&self, key: &str, patience: Duration) -> Result<Claim, StateError> {
            self.state.begin("team", "SandboxCreateV2", key, patience).await
        }

        async fn fresh(&self, key: &str) -> ClaimGuard {
            match self.claim(key, Duration::ZERO).await.unwrap() {
                Claim::Fresh(guard) => guard,
                Claim::Done(answer) => panic!("{key} was done: {answer:?}"),
            }
        }

        async fn done(&self, key: &str) -> Vec<u8> {
            match self.claim(key, LONG).await.unwrap() {
                Claim::Done(answer) => answer,
                Claim::Fresh(_) => panic!("{key} was not done"),
            }
        }

        async fn kept(&self) -> i64 {
            let count =
                self.state.read(|_, db| Ok(db.query_row("SELECT COUNT(*) FROM answers", [], |row| row.get(0))?));
            count.await.unwrap()
        }
    }

    #[tokio::test]
    async fn the_first_answer_is_everybodys_also_after_a_restart() {
        let scratch = Scratch::new().await;
        scratch.fresh("a").await.finish(b"one".to_vec()).await.unwrap();
        assert_eq!(scratch.done("a").await, b"one");
        let scratch = scratch.restart().await;
        assert_eq!(scratch.done("a").await, b"one");
        for (workspace, method) in [("others", "SandboxCreateV2"), ("team", "SandboxCreate")] {
            let claim = scratch.state.begin(workspace, method, "a", LONG).await.unwrap();
            assert!(matches!(claim, Claim::Fresh(_)), "{workspace} {method}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_comes_meanwhile_waits() {
        let scratch = Arc::new(Scratch::new().await);
        let guard = scratch.fresh("a").await;
        let error = scratch.claim("a", Duration::from_millis(1)).await.unwrap_err();
        assert!(matches!(error, StateError::Pending), "{error}");
        scratch.fresh("b").await.finish(Vec::new()).await.unwrap();
        let mut others = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let scratch = Arc::clone(&scratch);
            others.spawn(async move { scratch.done("a").await });
        }
        guard.finish(b"one".to_vec()).await.unwrap();
        for answer in others.join_all().await {
            assert_eq!(answer, b"one");
        }
        assert!(scratch.state.inner.running.calls().is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_many_at_once_one_does_it() {
        let scratch = Arc::new(Scratch::new().await);
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..100_u8 {
            let scratch = Arc::clone(&scratch);
            calls.spawn(async move {
                match scratch.claim("a", LONG).await.unwrap() {
                    Claim::Fresh(guard) => guard.finish(vec![number]).await.map(|()| (true, vec![number])).unwrap(),
                    Claim::Done(answer) => (false, answer),
                }
            });
        }
        let results = calls.join_all().await;
        let first: Vec<_> = results.iter().filter(|(fresh, _)| *fresh).collect();
        assert_eq!(first.len(), 1);
        assert!(results.iter().all(|(_, answer)| *answer == first[0].1));
    }

    #[tokio::test]
    async fn work_that_came_to_nothing_frees_the_key() {
        let scratch = Scratch::new().await;
        let guard = scratch.fresh("a").await;
        let waiting = scratch.claim("a", LONG);
        let give_up = async { drop(guard) };
        let (claim, ()) = tokio::join!(waiting, give_up);
        let Claim::Fresh(guard) = claim.unwrap() else { panic!("nothing was done") };
        let error = guard.finish(vec![0; MOST_ANSWER + 1]).await.unwrap_err();
        assert!(matches!(error, StateError::TooLarge { .. }), "{error}");
        drop(scratch.fresh("a").await);
        let error = scratch.claim(&"k".repeat(MOST_KEY + 1), LONG).await.unwrap_err();
        assert!(matches!(error, StateError::TooLarge { .. }), "{error}");
    }

    #[tokio::test]
    async fn an_answer_is_kept_though_its_caller_is_gone() {
        let scratch = Scratch::new().await;
        let guard = scratch.fresh("a").await;
        // Somebody else has the database, so that it cannot be kept yet.
        let held = scratch.state.inner.db.lock().await;
        let mut finish = Box::pin(guard.finish(b"one".to_vec()));
        assert!(futures_util::poll!(&mut finish).is_pending());
        drop((finish, held));
        assert_eq!(scratch.done("a").await, b"one");
    }

    #[tokio::test]
    async fn answers_are_bounded_in_time_and_number() {
        let scratch = Scratch::new().await;
        scratch.fresh("old").await.finish(b"one".to_vec()).await.unwrap();
        let age = At::now().earlier(KEPT);
        let change = scratch.state.write(move |_, db| Ok(db.execute("UPDATE answers SET at = ?", [age])?));
        assert_eq!(change.await.unwrap(), 1);
        drop(scratch.fresh("old").await);
        let fill = scratch.state.write(|_, db| {
            let mut insert = db.prepare("INSERT INTO answers VALUES ('team', 'M', ?, x'01', ?)")?;
            for number in 0..MOST + 10 {
                insert.execute(params![number.to_string(), At(At::now().0 + number)])?;
            }
            Ok(())
        });
        fill.await.unwrap();
        scratch.state.write(|_, db| forget_old(db)).await.unwrap();
        assert_eq!(scratch.kept().await, MOST);
        let oldest = scratch.state.read(|_, db| {
            Ok(db.query_row("SELECT MIN(CAST(key AS INTEGER)) FROM answers", [], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(oldest.await.unwrap(), 10);
        let swell = scratch.state.write(|_, db| {
            Ok(db.execute(
                "UPDATE answers SET sealed = zeroblob(33554433) WHERE CAST(key AS INTEGER) IN (11, 50005)",
                [],
            )?)
        });
        assert_eq!(swell.await.unwrap(), 2);
        scratch.state.write(|_, db| forget_old(db)).await.unwrap();
        assert_eq!(scratch.kept().await, MOST - 2, "the larger of the oldest two, and what is older than that");
    }
}
