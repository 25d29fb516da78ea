//! Tokens that expire, and when it is time for the next one (section 4 of the notes).
//!
//! Nobody but the server can tell whether a token is good: only its time of expiry is read here.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tonic::Status;
use tonic::metadata::{Ascii, MetadataValue};

/// How long an auth token is taken to be good if it does not say.
const UNKNOWN: Duration = Duration::from_secs(20 * 60);
/// An auth token is renewed so long before its end.
const AHEAD: Duration = Duration::from_secs(5 * 60);
/// A router's token is renewed so long before its end.
const ROUTER_AHEAD: Duration = Duration::from_secs(30);

const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Deserialize)]
struct Claims {
    exp: f64,
}

/// How much longer a token is good; `None` if it does not say.
fn remaining(token: &str, now: SystemTime) -> Option<Duration> {
    let mut parts = token.split('.');
    let (_, Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let claims: Claims = serde_json::from_slice(&URL_SAFE.decode(payload).ok()?).ok()?;
    let end = UNIX_EPOCH + Duration::try_from_secs_f64(claims.exp).ok()?;
    Some(end.duration_since(now).unwrap_or(Duration::ZERO))
}

/// A token, ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    /// Marked as sensitive: `Debug` does not print it.
    pub(crate) value: MetadataValue<Ascii>,
    /// From then on the next one is asked for.
    renew_at: Option<Instant>,
    /// Until then it is good.
    until: Option<Instant>,
}

impl Token {
    /// An auth token.
    pub(crate) fn auth(token: &str) -> Result<Self, Status> {
        let left = remaining(token, SystemTime::now()).unwrap_or(UNKNOWN);
        // One that is short-lived is used for half of its time at least.
        let use_for = left.saturating_sub(AHEAD).max(left / 2);
        Self::new(token, token, Some(use_for), Some(left))
    }

    /// A router's token, as it stands in the header.
    pub(crate) fn bearer(token: &str) -> Result<Self, Status> {
        let left = remaining(token, SystemTime::now());
        let use_for = left.map(|left| left.saturating_sub(ROUTER_AHEAD).max(left / 2));
        Self::new(token, &format!("Bearer {token}"), use_for, left)
    }

    fn new(token: &str, header: &str, use_for: Option<Duration>, left: Option<Duration>) -> Result<Self, Status> {
        if token.is_empty() {
            return Err(Status::internal("the server sent an empty token"));
        }
        let value = MetadataValue::try_from(header);
        let mut value = value.map_err(|_| Status::internal("the server sent a token that cannot be sent back"))?;
        value.set_sensitive(true);
        let at = |after: Duration| Instant::now().checked_add(after);
        Ok(Self { value, renew_at: use_for.and_then(at), until: left.and_then(at) })
    }

    /// Whether it is time for the next one.
    pub(crate) fn is_old(&self) -> bool {
        self.renew_at.is_some_and(|at| Instant::now() >= at)
    }

    /// Whether it is of no more use.
    pub(crate) fn has_expired(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!("e30.{}.sig", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn the_expiry_is_read_from_the_middle_part() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(remaining(&token(r#"{"exp":1060}"#), now), Some(Duration::from_secs(60)));
        assert_eq!(remaining(&token(r#"{"exp":1060.5,"x":"??>>"}"#), now), Some(Duration::from_millis(60_500)));
        assert_eq!(remaining(&token(r#"{"exp":10}"#), now), Some(Duration::ZERO));
        for bad in ["", "a.b", "a.b.c.d", &token("{}"), &token(r#"{"exp":-1}"#), &token(r#"{"exp":1e300}"#)] {
            assert_eq!(remaining(bad, now), None, "{bad}");
        }
    }

    #[test]
    fn old_before_it_expires() {
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
        let fresh = Token::auth(&token(&format!(r#"{{"exp":{}}}"#, now + 1200))).unwrap();
        assert!(!fresh.is_old() && !fresh.has_expired());
        let gone = Token::auth(&token(&format!(r#"{{"exp":{}}}"#, now - 1))).unwrap();
        assert!(gone.is_old() && gone.has_expired());
        let unknown = Token::bearer("opaque").unwrap();
        assert!(!unknown.is_old() && !unknown.has_expired());
        assert!(!format!("{unknown:?}").contains("opaque"));
        assert!(Token::auth("").is_err() && Token::bearer("a\nb").is_err());
    }
}
