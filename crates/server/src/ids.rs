//! Ids in the shapes that clients expect. The shape of a sandbox's id tells which family of calls it belongs to, so it is made by the
//! family that created it (modal-wire notes, section 6).

use ring::rand::{SecureRandom as _, SystemRandom};
use std::time::{SystemTime, UNIX_EPOCH};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Crockford's alphabet: ULIDs are written in it.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The two generations of Modal's sandbox calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) enum Family {
    /// `SandboxCreate` and its kind: `sb-` and 22 characters of base 62.
    V1,
    /// `SandboxCreateV2` and its kind: `sb-` and a ULID.
    V2,
}

impl Family {
    /// The family that an id has the shape of.
    #[cfg(test)]
    pub(crate) fn of(sandbox_id: &str) -> Option<Self> {
        let rest = sandbox_id.strip_prefix("sb-")?;
        match rest.len() {
            22 if rest.bytes().all(|b| b.is_ascii_alphanumeric()) => Some(Self::V1),
            26 if rest.as_bytes()[0] <= b'7' && rest.bytes().all(|b| CROCKFORD.contains(&b)) => Some(Self::V2),
            _ => None,
        }
    }

    /// A fresh id of this family.
    pub(crate) fn sandbox_id(self) -> String {
        match self {
            Self::V1 => fresh("sb"),
            Self::V2 => format!("sb-{}", ulid(SystemTime::now())),
        }
    }
}

/// Random bytes from the system.
///
/// # Panics
/// If the system has no randomness: nothing here could be kept secret then.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    bytes
}

/// A fresh id: the prefix, a dash and 22 random characters of base 62, some 131 bits.
pub(crate) fn fresh(prefix: &str) -> String {
    let mut id = String::with_capacity(prefix.len() + 23);
    id.push_str(prefix);
    id.push('-');
    while id.len() < prefix.len() + 23 {
        // 248 is the largest multiple of 62 in a byte: what is above would favour the first characters.
        let kept = random::<32>().into_iter().filter(|byte| *byte < 248);
        id.extend(kept.take(prefix.len() + 23 - id.len()).map(|byte| char::from(BASE62[usize::from(byte % 62)])));
    }
    id
}

/// The id that belongs to these words, in the shape of a fresh one.
pub(crate) fn of_key(prefix: &str, words: &[&str]) -> String {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    for word in words {
        hash.update(&word.len().to_le_bytes());
        hash.update(word.as_bytes());
    }
    let digits = hash.finish();
    let digits = digits.as_ref().iter().take(22).map(|byte| char::from(BASE62[usize::from(byte % 62)]));
    format!("{prefix}-{}", digits.collect::<String>())
}

/// 48 bits of milliseconds and 80 random ones, in Crockford's base 32.
fn ulid(now: SystemTime) -> String {
    let millis = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis()) & ((1 << 48) - 1);
    let mut low = [0; 16];
    low[6..].copy_from_slice(&random::<10>());
    let value = (millis << 80) | u128::from_be_bytes(low);
    (0..26).rev().map(|at| char::from(CROCKFORD[usize::try_from((value >> (5 * at)) & 31).unwrap_or(0)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_shape_of_their_family() {
        for family in [Family::V1, Family::V2] {
            for _ in 0..200 {
                assert_eq!(Family::of(&family.sandbox_id()), Some(family));
            }
        }
        for bad in [
            "",
            "sb-",
            "sb-xyz",
            "ap-0123456789012345678901",
            "sb-8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "sb-01ARZ3NDEKTSV4RRFFQ69G5FAI",
        ] {
            assert_eq!(Family::of(bad), None, "{bad}");
        }
    }

    #[test]
    fn ids_of_keys_tell_words_apart() {
        let of = |words: &[&str]| of_key("ex", words);
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["ab", ""]));
        assert_eq!(of(&["a"]).len(), fresh("ex").len());
    }

    #[test]
    fn later_ids_sort_later() {
        let early = ulid(UNIX_EPOCH + std::time::Duration::from_secs(1));
        let late = ulid(UNIX_EPOCH + std::time::Duration::from_secs(2));
        assert!(early < late && early.len() == 26);
    }
}
