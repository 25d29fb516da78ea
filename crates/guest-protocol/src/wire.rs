//! Encoding of messages into packets.

use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Bytes that are not text: arguments, environment, paths.
pub type Bytes = Vec<u8>;

/// Largest message that travels in the packet itself. Below the default `SO_SNDBUF` of 208 KiB (`unix(7)`).
pub const MAX_INLINE: usize = 64 * 1024;

/// Largest message at all: a listing of some hundred thousand files. A message becomes up to 16 times as large when it is
/// decoded (a listing of empty names), so a hostile one costs its reader 256 MiB for a moment.
pub const MAX_SPILLED: u64 = 16 * 1024 * 1024;

/// What a packet carries.
#[derive(Debug, Serialize, Deserialize)]
pub enum Envelope<T> {
    /// The message.
    Inline(T),
    /// The message is in the memfd that came as the last descriptor, and has this many bytes.
    Spilled(u64),
}

/// Bytes that are no message.
#[derive(Debug)]
pub struct DecodeError(postcard::Error);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed message")
    }
}

impl core::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// The bytes of a message.
///
/// # Errors
/// Never for the messages of this crate: they hold no maps with unknown length or other things that cannot be written.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, DecodeError> {
    postcard::to_allocvec(message).map_err(DecodeError)
}

/// The message that `bytes` are, all of them.
///
/// # Errors
/// If they are not exactly one message.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(DecodeError(postcard::Error::DeserializeBadEncoding)),
        Err(error) => Err(DecodeError(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{FromAgent, ToAgent};

    #[test]
    fn a_message_round_trips_and_trailing_bytes_are_refused() {
        let message = Envelope::Inline(ToAgent::Signal { exec: 7, signal: 9 });
        let mut bytes = encode(&message).unwrap();
        assert!(matches!(
            decode::<Envelope<ToAgent>>(&bytes).unwrap(),
            Envelope::Inline(ToAgent::Signal { exec: 7, signal: 9 })
        ));
        bytes.push(0);
        decode::<Envelope<ToAgent>>(&bytes).unwrap_err();
    }

    #[test]
    fn hostile_bytes_never_panic_and_a_huge_length_is_refused() {
        // A reproducible stream of bytes; every prefix of every slice must decode or fail, quickly.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..50_000 {
            let bytes: Vec<u8> = (0..24)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            let _ = decode::<Envelope<FromAgent>>(&bytes);
        }
        // A listing that claims 2^60 entries.
        let mut bytes = vec![0, 3, 1, 2];
        bytes.extend([0xff; 8]);
        bytes.push(0x0f);
        decode::<Envelope<FromAgent>>(&bytes).unwrap_err();
    }
}
