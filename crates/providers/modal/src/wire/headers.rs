//! What every request to the control plane carries (section 3 of the notes).

use super::retry::Attempt;
use crate::config::Settings;
use ring::rand::{SecureRandom as _, SystemRandom};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Request, Status};

/// Modal's number for clients that are neither its Python package nor its JavaScript or Go library, but built like those two.
const CLIENT_TYPE: &str = "7";
/// The version of the protocol that this kind of client speaks.
const CLIENT_VERSION: &str = "1.0.0";
/// Who we are.
const LIBRARY: &str = concat!("computesdk-rust/", env!("CARGO_PKG_VERSION"));

/// Who calls.
pub(crate) fn identify(metadata: &mut MetadataMap, settings: &Settings, auth: Option<&MetadataValue<Ascii>>) {
    metadata.insert("x-modal-client-type", MetadataValue::from_static(CLIENT_TYPE));
    metadata.insert("x-modal-client-version", MetadataValue::from_static(CLIENT_VERSION));
    metadata.insert("x-modal-libmodal-version", MetadataValue::from_static(LIBRARY));
    metadata.insert("x-modal-token-id", settings.token_id.clone());
    metadata.insert("x-modal-token-secret", settings.token_secret.clone());
    if let Some(auth) = auth {
        metadata.insert("x-modal-auth-token", auth.clone());
    }
}

/// Which attempt of which call it is: the server does what one key asks for once.
pub(crate) fn count<T>(request: &mut Request<T>, key: &MetadataValue<Ascii>, attempt: &Attempt) {
    let metadata = request.metadata_mut();
    metadata.insert("x-idempotency-key", key.clone());
    metadata.insert("x-retry-attempt", attempt.retries.into());
    metadata.insert("x-throttle-retry-attempt", attempt.throttles.into());
    if attempt.retries + attempt.throttles > 0
        && let Ok(delay) = MetadataValue::try_from(format!("{:.3}", attempt.since.elapsed().as_secs_f64()))
    {
        metadata.insert("x-retry-delay", delay.clone());
        metadata.insert("x-throttle-retry-delay", delay);
    }
}

/// A fresh random UUID (version 4), as Modal's clients make them for keys and processes.
pub(crate) fn uuid() -> Result<String, Status> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Status::internal("the system gave no random bytes"))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_uuids_and_never_the_same() {
        let (one, two) = (uuid().unwrap(), uuid().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), 36);
        assert_eq!(one.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&one.as_bytes()[19]), "{one}");
    }
}
