//! Connect tokens: who may use a tunnel that speaks HTTP.
//!
//! A token is 256 random bits. Kept is only its SHA-256, and looked up by that: how long a look-up takes says nothing about
//! a token that somebody tries, and what leaks from here opens nothing.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The name of the query parameter and of the cookie.
pub(crate) const TOKEN_NAME: &str = "_modal_connect_token";
/// What the server in the sandbox reads to know whose request it is.
pub(crate) const USER_DATA_HEADER: &str = "X-Verified-User-Data";

/// Tokens of one guard at a time.
const MOST_TOKENS: usize = 10_000;
/// Bytes of user data. A server's room for all headers is often 8 KiB.
const MOST_USER_DATA: usize = 4096;

/// A token as its owner needs it. Prints nowhere by itself.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectToken(String);

impl ConnectToken {
    /// The token: 64 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ConnectToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectToken(…)")
    }
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The user data cannot be sent in a header.
    #[error(
        "user data goes into a header: at most {MOST_USER_DATA} bytes, and no control characters such as line ends"
    )]
    UserData,
    /// Too many tokens at a time.
    #[error("{MOST_TOKENS} tokens are valid for this port: give them a time to live, or revoke some")]
    Full,
    /// The system has no random bytes.
    #[error("the system gave no random bytes")]
    Random,
}

struct Entry {
    user_data: Option<String>,
    until: Option<Instant>,
}

impl Entry {
    fn valid(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

type Digest = [u8; 32];

/// The tokens of one tunnel. A clone is the same guard: keep one to issue, give one to the tunnel.
#[derive(Clone, Default)]
pub struct Guard {
    tokens: Arc<Mutex<HashMap<Digest, Entry>>>,
}

impl Guard {
    /// A guard that lets nobody through yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that is valid from now on, for `ttl` or until it is revoked. Requests that carry it reach the sandbox with
    /// `user_data` as their `X-Verified-User-Data`.
    ///
    /// # Errors
    /// [`GuardError::UserData`] for what no header can carry; [`GuardError::Full`] with 10000 valid tokens.
    pub fn issue(&self, user_data: Option<String>, ttl: Option<Duration>) -> Result<ConnectToken, GuardError> {
        let fits = |data: &String| data.len() <= MOST_USER_DATA && !data.chars().any(char::is_control);
        if !user_data.as_ref().is_none_or(fits) {
            return Err(GuardError::UserData);
        }
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| GuardError::Random)?;
        let token = crate::hex(&bytes);
        // A time too far off to be told is no limit.
        let until = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        let mut tokens = self.tokens();
        if tokens.len() >= MOST_TOKENS {
            tokens.retain(|_, entry| entry.valid());
            if tokens.len() >= MOST_TOKENS {
                return Err(GuardError::Full);
            }
        }
        tokens.insert(digest_of(&token), Entry { user_data, until });
        Ok(ConnectToken(token))
    }

    /// Ends a token; whether it was one. Connections that it opened go on.
    pub fn revoke(&self, token: &str) -> bool {
        self.tokens().remove(&digest_of(token)).is_some_and(|entry| entry.valid())
    }

    /// Whether a token is valid, and whose it is.
    pub(crate) fn check(&self, token: &str) -> Option<Option<String>> {
        let tokens = self.tokens();
        tokens.get(&digest_of(token)).filter(|entry| entry.valid()).map(|entry| entry.user_data.clone())
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<Digest, Entry>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("tokens", &self.tokens().len()).finish_non_exhaustive()
    }
}

fn digest_of(token: &str) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_until_its_end() {
        let guard = Guard::new();
        let token = guard.issue(Some("{\"user\": 7}".to_owned()), None).unwrap();
        assert_eq!(token.as_str().len(), 64);
        assert_eq!(guard.check(token.as_str()), Some(Some("{\"user\": 7}".to_owned())));
        assert_eq!(guard.check("nonsense"), None);
        assert!(!format!("{token:?} {guard:?}").contains(token.as_str()));
        let short = guard.issue(None, Some(Duration::ZERO)).unwrap();
        assert_eq!(guard.check(short.as_str()), None);
        assert_ne!(short, token);
        assert!(guard.clone().revoke(token.as_str()));
        assert_eq!(guard.check(token.as_str()), None);
        guard.issue(None, Some(Duration::MAX)).unwrap();
    }

    #[test]
    fn what_would_break_a_header_is_refused() {
        let guard = Guard::new();
        for data in ["a\r\nX-Admin: 1", "\0", "\u{85}"] {
            assert_eq!(guard.issue(Some(data.to_owned()), None).unwrap_err(), GuardError::UserData);
        }
        assert_eq!(guard.issue(Some("x".repeat(MOST_USER_DATA + 1)), None).unwrap_err(), GuardError::UserData);
    }

    #[test]
    fn tokens_are_bounded_and_old_ones_make_room() {
        let guard = Guard::new();
        for _ in 0..MOST_TOKENS - 1 {
            guard.issue(None, Some(Duration::from_secs(3600))).unwrap();
        }
        guard.issue(None, Some(Duration::ZERO)).unwrap();
        guard.issue(None, None).unwrap();
        assert_eq!(guard.issue(None, None).unwrap_err(), GuardError::Full);
    }
}
