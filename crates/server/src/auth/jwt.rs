//! The tokens that the server signs: HS256, one header, one audience each. Nothing in them chooses how they are checked.
//!
//! Clients read `exp` from the payload and check nothing. One of them decodes the payload with the alphabet of ordinary
//! base64 (modal-wire notes, section 4.1), so the encoded payload has neither `-` nor `_`: in ASCII only `>`, `?`, `~` and
//! DEL lead to these, and they are escaped.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac::{HMAC_SHA256, Key, sign, verify};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long an auth token is good. What clients assume where they cannot read it.
pub(crate) const AUTH_TOKEN_LIFE: Duration = Duration::from_secs(20 * 60);
/// How long a router token is good, unless configured. Clients ask for the next one in its last seconds alone.
pub(crate) const ROUTER_TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
/// Ours have a few hundred bytes.
const MOST_BYTES: usize = 4096;

/// Why a token is refused. For logs and tests: clients are told one thing only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwtError {
    /// Not three parts, not base64, not JSON, without a claim that is needed.
    #[error("it is no token")]
    Malformed,
    /// Longer than any of ours.
    #[error("it has more than {MOST_BYTES} bytes")]
    TooLong,
    /// Another header than the one that we write: another algorithm, or none.
    #[error("it is not signed the way ours are")]
    Algorithm,
    /// Not signed with our key.
    #[error("its signature is not ours")]
    Signature,
    /// Made for another purpose.
    #[error("it was made for another purpose")]
    Audience,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
}

/// What an auth token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuthClaims {
    pub(crate) workspace: String,
    pub(crate) token_id: String,
}

/// What a router token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RouterClaims {
    pub(crate) workspace: String,
    pub(crate) sandbox_id: String,
    pub(crate) task_id: String,
}

/// Claims with what every token has.
#[derive(Serialize)]
struct Signed<C> {
    #[serde(flatten)]
    claims: C,
    aud: String,
    exp: u64,
}

/// What every token has, read first: it tells the audiences apart, which have different claims.
#[derive(Deserialize)]
struct Common {
    aud: String,
    exp: u64,
}

trait Claims: Serialize + DeserializeOwned {
    const AUDIENCE: &'static str;
}

impl Claims for AuthClaims {
    const AUDIENCE: &'static str = "auth";
}

impl Claims for RouterClaims {
    const AUDIENCE: &'static str = "router";
}

/// Makes tokens and checks them. A clone has the same key.
#[derive(Clone)]
pub(crate) struct Signer {
    key: Key,
    router_life: Duration,
}

impl Signer {
    /// With the key of the state, and how long router tokens are good.
    pub(crate) fn new(key: &[u8; 32], router_life: Duration) -> Self {
        Self { key: Key::new(HMAC_SHA256, key), router_life }
    }

    /// A token for `AuthTokenGet`.
    pub(crate) fn auth_token(&self, claims: AuthClaims) -> String {
        self.sign(claims, SystemTime::now() + AUTH_TOKEN_LIFE)
    }

    /// A token for the router, for one sandbox.
    pub(crate) fn router_token(&self, claims: RouterClaims) -> String {
        let now = SystemTime::now();
        self.sign(claims, now.checked_add(self.router_life).unwrap_or(now + ROUTER_TOKEN_LIFE))
    }

    /// What an auth token says, if it is one of ours and good.
    pub(crate) fn verify_auth(&self, token: &str) -> Result<AuthClaims, JwtError> {
        self.verify(token, SystemTime::now())
    }

    /// What a router token says, if it is one of ours and good.
    pub(crate) fn verify_router(&self, token: &str) -> Result<RouterClaims, JwtError> {
        self.verify(token, SystemTime::now())
    }

    fn sign<C: Claims>(&self, claims: C, until: SystemTime) -> String {
        let signed = Signed { claims, aud: C::AUDIENCE.to_owned(), exp: seconds(until) };
        // Strings and a number: there is no JSON that could fail.
        let payload = serde_json::to_string(&signed).unwrap_or_default();
        let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(plain(&payload)));
        let signature = URL_SAFE_NO_PAD.encode(sign(&self.key, token.as_bytes()));
        token.push('.');
        token.push_str(&signature);
        token
    }

    /// The signature before the claims: nothing is parsed that we did not write.
    fn verify<C: Claims>(&self, token: &str, now: SystemTime) -> Result<C, JwtError> {
        if token.len() > MOST_BYTES {
            return Err(JwtError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(JwtError::Malformed)?;
        if payload.contains('.') {
            return Err(JwtError::Malformed);
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Malformed);
        if decode(header)? != HEADER.as_bytes() {
            return Err(JwtError::Algorithm);
        }
        verify(&self.key, signed.as_bytes(), &decode(signature)?).map_err(|_| JwtError::Signature)?;
        let payload = decode(payload)?;
        let common: Common = serde_json::from_slice(&payload).map_err(|_| JwtError::Malformed)?;
        if common.aud != C::AUDIENCE {
            return Err(JwtError::Audience);
        }
        if common.exp <= seconds(now) {
            return Err(JwtError::Expired);
        }
        serde_json::from_slice(&payload).map_err(|_| JwtError::Malformed)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("router_life", &self.router_life).finish_non_exhaustive()
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The same JSON in characters whose base64 has neither `-` nor `_`. All that is changed stands in strings.
fn plain(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() && !matches!(character, '>' | '?' | '~' | '\x7f') {
            plain.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(plain, "\\u{unit:04x}");
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        Signer::new(&[7; 32], ROUTER_TOKEN_LIFE)
    }

    fn claims() -> AuthClaims {
        AuthClaims { workspace: "team".to_owned(), token_id: "ak-1".to_owned() }
    }

    fn router_claims() -> RouterClaims {
        let (workspace, sandbox_id, task_id) = ("team".to_owned(), "sb-1".to_owned(), "ta-1".to_owned());
        RouterClaims { workspace, sandbox_id, task_id }
    }

    #[test]
    fn a_token_says_what_was_signed_until_its_end() {
        let signer = signer();
        assert_eq!(signer.verify_auth(&signer.auth_token(claims())), Ok(claims()));
        assert_eq!(signer.verify_router(&signer.router_token(router_claims())), Ok(router_claims()));
        let end = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let token = signer.sign(claims(), end);
        assert_eq!(signer.verify(&token, end - Duration::from_secs(1)), Ok(claims()));
        assert_eq!(signer.verify::<AuthClaims>(&token, end), Err(JwtError::Expired));
        let forever = Signer::new(&[7; 32], Duration::MAX);
        assert_eq!(signer.verify_router(&forever.router_token(router_claims())), Ok(router_claims()));
    }

    #[test]
    fn its_payload_is_ordinary_base64_too() {
        use base64::engine::general_purpose::STANDARD_NO_PAD;
        for workspace in ["team", "~~~~~~", "?>?>?>", "\u{7f}\u{7f}\u{7f}", "größe", "🦀🦀", "a\"b\\c\u{1}", "ÿÿÿÿÿ"]
        {
            for pad in 0..3 {
                let claims = AuthClaims { workspace: format!("{}{workspace}", "x".repeat(pad)), ..claims() };
                let token = signer().auth_token(claims.clone());
                let payload = token.split('.').nth(1).unwrap();
                assert!(!payload.contains(['-', '_']), "{workspace}");
                let json: serde_json::Value =
                    serde_json::from_slice(&STANDARD_NO_PAD.decode(payload).unwrap()).unwrap();
                assert_eq!(json["workspace"], *claims.workspace);
                let left = json["exp"].as_u64().unwrap() - seconds(SystemTime::now());
                assert!((1195..=1200).contains(&left), "{left}");
                assert_eq!(signer().verify_auth(&token), Ok(claims));
            }
        }
    }

    #[test]
    fn whatever_is_not_ours_is_refused() {
        let signer = signer();
        let good = signer.auth_token(claims());
        let parts: Vec<&str> = good.split('.').collect();
        let (header, payload, signature) = (parts[0], parts[1], parts[2]);
        let b64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let signed = |header: &str, payload: &str| {
            let body = format!("{}.{}", b64(header), b64(payload));
            let signature = URL_SAFE_NO_PAD.encode(sign(&signer.key, body.as_bytes()));
            format!("{body}.{signature}")
        };
        let other = Signer::new(&[8; 32], ROUTER_TOKEN_LIFE).auth_token(claims());
        let body = r#"{"workspace":"team","token_id":"ak-1","aud":"auth","exp":99999999999}"#;
        signer.verify_auth(&signed(HEADER, body)).unwrap();
        let table = [
            (String::new(), JwtError::Malformed),
            ("..".to_owned(), JwtError::Algorithm),
            ("...".to_owned(), JwtError::Malformed),
            (format!("{header}.{payload}"), JwtError::Malformed),
            (format!("{good}.{signature}"), JwtError::Malformed),
            (format!("{header}.{payload}."), JwtError::Signature),
            (format!("{header}..{signature}"), JwtError::Signature),
            (format!("{header}.{payload}.{signature}="), JwtError::Malformed),
            (format!("{header}.{payload}. {signature}"), JwtError::Malformed),
            (format!("{}.{payload}.", b64(r#"{"alg":"none","typ":"JWT"}"#)), JwtError::Algorithm),
            (format!("{}.{payload}.{signature}", b64(r#"{"alg":"none"}"#)), JwtError::Algorithm),
            (signed(r#"{"alg":"HS512","typ":"JWT"}"#, body), JwtError::Algorithm),
            (signed(r#"{"alg":"HS256","typ":"JWT","kid":"../key"}"#, body), JwtError::Algorithm),
            (signed(r#"{"typ":"JWT","alg":"HS256"}"#, body), JwtError::Algorithm),
            (other, JwtError::Signature),
            (signer.router_token(router_claims()), JwtError::Audience),
            (signed(HEADER, "{}"), JwtError::Malformed),
            (signed(HEADER, "[]"), JwtError::Malformed),
            (signed(HEADER, "\u{0}"), JwtError::Malformed),
            (signed(HEADER, r#"{"workspace":"team","token_id":"ak-1","aud":"auth"}"#), JwtError::Malformed),
            (signed(HEADER, r#"{"workspace":"team","token_id":"ak-1","exp":99999999999}"#), JwtError::Malformed),
            (signed(HEADER, r#"{"aud":"auth","exp":99999999999}"#), JwtError::Malformed),
            (signed(HEADER, &body.replace("99999999999", "-1")), JwtError::Malformed),
            (signed(HEADER, &body.replace("99999999999", "1e400")), JwtError::Malformed),
            (signed(HEADER, &body.replace("99999999999", "1")), JwtError::Expired),
            (signed(HEADER, &body.replace("\"auth\"", "[\"auth\"]")), JwtError::Malformed),
            (format!("{header}.{}.{signature}", "A".repeat(1 << 20)), JwtError::TooLong),
            ("a".repeat(MOST_BYTES + 1), JwtError::TooLong),
        ];
        for (token, error) in table {
            let shown: String = token.chars().take(80).collect();
            assert_eq!(signer.verify_auth(&token), Err(error), "{shown}");
        }
        assert_eq!(signer.verify_router(&good), Err(JwtError::Audience));
        assert!(!format!("{signer:?}").contains('7'), "{signer:?}");
    }

    #[test]
    fn no_changed_byte_goes_through() {
        let signer = signer();
        let good = signer.auth_token(claims());
        for at in 0..good.len() {
            for byte in [b'A', b'.', b'_', b'=', b'\n', good.as_bytes()[at] ^ 1] {
                let mut bytes = good.clone().into_bytes();
                if bytes[at] == byte {
                    continue;
                }
                bytes[at] = byte;
                let Ok(token) = String::from_utf8(bytes) else { continue };
                signer.verify_auth(&token).unwrap_err();
            }
            signer.verify_auth(&good[..at]).unwrap_err();
        }
    }
}
