//! Tokens: who may talk to this server, and for which workspace.
//!
//! A secret has some 131 random bits, so its SHA-256 says nothing about it and needs no slow hash. All tokens are in memory:
//! every call is checked, and none waits for the disk.

use super::column::At;
use super::{State, StateError};
use crate::ids::fresh;
use ring::digest::{SHA256, digest};
use rusqlite::{Transaction, params};
use secrecy::SecretString;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use subtle::ConstantTimeEq as _;

/// Every start of a server makes a token with this note; only the newest of them are kept.
const START_NOTE: &str = "start";
const MOST_STARTS: usize = 32;

/// A token as its owner needs it. The secret is not to be had again.
#[derive(Debug, Clone)]
pub(crate) struct TokenPair {
    /// `ak-…`
    pub(crate) id: String,
    /// `as-…`
    pub(crate) secret: SecretString,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) token_id: String,
    pub(crate) workspace: String,
}

/// What is known of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenRecord {
    pub(crate) id: String,
    pub(crate) workspace: String,
    pub(crate) note: String,
    pub(crate) created_at: SystemTime,
    pub(crate) expires_at: Option<SystemTime>,
}

type Digest = [u8; 32];

struct Entry {
    digest: Digest,
    workspace: String,
    expires_at: Option<SystemTime>,
}

/// All tokens, by id.
pub(super) struct Tokens {
    known: RwLock<HashMap<String, Entry>>,
    /// What an unknown id is compared with, so that it costs the same.
    nobody: Digest,
}

impl Tokens {
    pub(super) fn load(db: &Transaction<'_>) -> Result<Self, StateError> {
        db.execute("DELETE FROM tokens WHERE expires_at <= ?", [At::now()])?;
        let mut rows = db.prepare("SELECT id, digest, workspace, expires_at FROM tokens")?;
        let known = rows.query_map([], |row| {
            let expires_at = row.get::<_, Option<At>>(3)?.map(At::time);
            Ok((row.get(0)?, Entry { digest: row.get(1)?, workspace: row.get(2)?, expires_at }))
        })?;
        let known = known.collect::<rusqlite::Result<HashMap<String, Entry>>>()?;
        Ok(Self { known: RwLock::new(known), nobody: crate::ids::random() })
    }

    fn insert(&self, id: String, entry: Entry) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(id, entry);
    }

    fn remove(&self, id: &str) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn verify(&self, id: &str, secret: &str, now: SystemTime) -> Option<Identity> {
        let shown = digest_of(secret);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let entry = known.get(id);
        let same = bool::from(entry.map_or(&self.nobody, |entry| &entry.digest).ct_eq(&shown));
        let entry = entry.filter(|entry| same && entry.expires_at.is_none_or(|at| now < at))?;
        Some(Identity { token_id: id.to_owned(), workspace: entry.workspace.clone() })
    }
}

fn digest_of(secret: &str) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    bytes
}

impl State {
    /// Makes a token, valid from now on: for `ttl`, or until it is revoked. Of those with the note `start`, the newest 32
    /// are kept.
    pub(crate) async fn issue_token(
        &self,
        workspace: &str,
        note: &str,
        ttl: Option<Duration>,
    ) -> Result<TokenPair, StateError> {
        let (id, secret) = (fresh("ak"), fresh("as"));
        let record = TokenRecord {
            id: id.clone(),
            workspace: workspace.to_owned(),
            note: note.to_owned(),
            created_at: SystemTime::now(),
            // A time too far off to be told is no limit.
            expires_at: ttl.and_then(|ttl| SystemTime::now().checked_add(ttl)),
        };
        let digest = digest_of(&secret);
        self.write(move |inner, db| {
            let TokenRecord { id, workspace, note, created_at, expires_at } = record;
            let times = (At::from(created_at), expires_at.map(At::from));
            db.prepare_cached("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?)")?
                .execute(params![id, workspace, note, digest, times.0, times.1])?;
            let mut gone = Vec::new();
            if note == START_NOTE {
                let mut old = db.prepare_cached(
                    "DELETE FROM tokens WHERE note = ?1 AND id NOT IN
                     (SELECT id FROM tokens WHERE note = ?1 ORDER BY created_at DESC, rowid DESC LIMIT ?2) RETURNING id",
                )?;
                let ids = old.query_map(params![START_NOTE, MOST_STARTS], |row| row.get::<_, String>(0))?;
                gone = ids.collect::<Result<_, _>>()?;
            }
            // Known before it is kept for good: nobody has seen it yet if that fails.
            inner.tokens.insert(id, Entry { digest, workspace, expires_at });
            gone.iter().for_each(|id| inner.tokens.remove(id));
            Ok(())
        })
        .await?;
        Ok(TokenPair { id, secret: secret.into() })
    }

    /// Whose token this is; none for an unknown one, a wrong secret and one whose time is over, at the same price.
    pub(crate) fn verify(&self, id: &str, secret: &str) -> Option<Identity> {
        self.inner.tokens.verify(id, secret, SystemTime::now())
    }

    /// Ends a token; whether it was one. It is refused from the call on, even if that fails.
    pub(crate) async fn revoke_token(&self, id: &str) -> Result<bool, StateError> {
        self.inner.tokens.remove(id);
        let id = id.to_owned();
        self.write(move |_, db| Ok(db.prepare_cached("DELETE FROM tokens WHERE id = ?")?.execute([id])? > 0)).await
    }

    /// The tokens of a workspace, newest first.
    pub(crate) async fn list_tokens(&self, workspace: &str) -> Result<Vec<TokenRecord>, StateError> {
        let workspace = workspace.to_owned();
        self.read(move |_, db| {
            let mut rows = db.prepare_cached(
                "SELECT id, workspace, note, created_at, expires_at FROM tokens
                 WHERE workspace = ? ORDER BY created_at DESC, rowid DESC",
            )?;
            let rows = rows.query_map([workspace], |row| {
                Ok(TokenRecord {
                    id: row.get(0)?,
                    workspace: row.get(1)?,
                    note: row.get(2)?,
                    created_at: row.get::<_, At>(3)?.time(),
                    expires_at: row.get::<_, Option<At>>(4)?.map(At::time),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::scratch::Scratch;
    use secrecy::ExposeSecret as _;

    impl Scratch {
        fn is_good(&self, token: &TokenPair) -> bool {
            self.state.verify(&token.id, token.secret.expose_secret()).is_some()
        }
    }

    #[tokio::test]
    async fn a_pair_is_good_until_it_is_revoked_also_after_a_restart() {
        let scratch = Scratch::new().await;
        let token = scratch.state.issue_token("team", "ci", None).await.unwrap();
        let other = scratch.state.issue_token("others", "ci", None).await.unwrap();
        let (id, secret) = (&token.id, token.secret.expose_secret());
        assert!(id.starts_with("ak-") && secret.starts_with("as-"), "{id}");
        let identity = scratch.state.verify(id, secret).unwrap();
        assert_eq!(identity, Identity { token_id: id.clone(), workspace: "team".to_owned() });
        let mixed =
            [(id, other.secret.expose_secret()), (&other.id, secret), (id, id), (id, ""), (&String::new(), secret)];
        for (id, secret) in mixed {
            assert_eq!(scratch.state.verify(id, secret), None);
        }
        for end in 0..secret.len() {
            assert_eq!(scratch.state.verify(id, &secret[..end]), None);
        }
        assert!(!format!("{token:?}").contains(secret));
        let scratch = scratch.restart().await;
        assert!(scratch.is_good(&token));
        let known = scratch.state.list_tokens("team").await.unwrap();
        assert_eq!(known.iter().map(|token| (&token.id, token.note.as_str())).collect::<Vec<_>>(), [(&token.id, "ci")]);
        assert!(scratch.state.revoke_token(&token.id).await.unwrap());
        assert!(!scratch.state.revoke_token(&token.id).await.unwrap());
        assert!(!scratch.is_good(&token));
        let scratch = scratch.restart().await;
        assert!(!scratch.is_good(&token) && scratch.is_good(&other));
    }

    #[tokio::test]
    async fn a_token_ends_with_its_time() {
        let scratch = Scratch::new().await;
        let day = Duration::from_secs(24 * 60 * 60);
        let over = scratch.state.issue_token("team", "", Some(Duration::ZERO)).await.unwrap();
        let short = scratch.state.issue_token("team", "", Some(day)).await.unwrap();
        let endless = scratch.state.issue_token("team", "", Some(Duration::MAX)).await.unwrap();
        assert!(!scratch.is_good(&over) && scratch.is_good(&short) && scratch.is_good(&endless));
        let at =
            |token: &TokenPair, now| scratch.state.inner.tokens.verify(&token.id, token.secret.expose_secret(), now);
        assert_eq!(at(&short, SystemTime::now() + day), None);
        assert!(at(&endless, SystemTime::now() + day).is_some());
        let scratch = scratch.restart().await;
        assert!(!scratch.is_good(&over) && scratch.is_good(&short) && scratch.is_good(&endless));
        let known = scratch.state.list_tokens("team").await.unwrap();
        assert_eq!(known.len(), 2, "what is over is forgotten");
        let ids: Vec<_> = known.iter().map(|token| (&token.id, token.expires_at.is_some())).collect();
        assert_eq!(ids, [(&endless.id, false), (&short.id, true)]);
    }

    #[tokio::test]
    async fn of_the_tokens_of_starts_the_newest_are_kept() {
        let scratch = Scratch::new().await;
        let kept = scratch.state.issue_token("team", "ci", None).await.unwrap();
        let mut starts = Vec::new();
        for _ in 0..MOST_STARTS + 3 {
            starts.push(scratch.state.issue_token("team", START_NOTE, None).await.unwrap());
        }
        let scratch = scratch.restart().await;
        let good: Vec<bool> = starts.iter().map(|token| scratch.is_good(token)).collect();
        assert_eq!(good, [vec![false; 3], vec![true; MOST_STARTS]].concat());
        assert!(scratch.is_good(&kept));
    }
}
