//! Tokens as the server signs them, and as it does not: made with the key in its folder.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::hmac::{HMAC_SHA256, Key, sign};
use serde_json::Value;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// Somebody who has the key file.
pub(crate) struct Forge([u8; 32]);

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

impl Forge {
    /// With the key of the server with this folder.
    pub(crate) fn of(dir: &Path) -> Self {
        let file = std::fs::read(dir.join("key")).unwrap();
        let prk = Salt::new(HKDF_SHA256, b"computesdk-server state 1").extract(&file);
        let mut key = [0; 32];
        prk.expand(&[b"sign"], Length).unwrap().fill(&mut key).unwrap();
        Self(key)
    }

    /// With a key that is nobody's.
    pub(crate) fn stranger() -> Self {
        Self([7; 32])
    }

    /// These claims with this end and the right signature.
    pub(crate) fn signed(&self, claims: &Value, exp: i64) -> String {
        self.with_header(HEADER, claims, exp)
    }

    /// The same under a header that says there is no signature, with one all the same.
    pub(crate) fn none_but_signed(&self, claims: &Value) -> String {
        self.with_header(r#"{"alg":"none","typ":"JWT"}"#, claims, now() + 3600)
    }

    fn with_header(&self, header: &str, claims: &Value, exp: i64) -> String {
        let body = unsigned(header, claims, exp);
        let signature = sign(&Key::new(HMAC_SHA256, &self.0), body.as_bytes());
        format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// `alg: none`: no signature at all.
pub(crate) fn none(claims: &Value) -> String {
    format!("{}.", unsigned(r#"{"alg":"none"}"#, claims, now() + 3600))
}

fn unsigned(header: &str, claims: &Value, exp: i64) -> String {
    let mut claims = claims.clone();
    claims["exp"] = exp.into();
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// What a token says, without its end.
pub(crate) fn claims(token: &str) -> Value {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let mut claims: Value = serde_json::from_slice(&payload).unwrap();
    claims.as_object_mut().unwrap().remove("exp").unwrap();
    claims
}
