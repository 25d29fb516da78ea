//! The two generations of sandbox calls, told apart by the shape of a sandbox's id.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Crockford's alphabet: ULIDs are written in it.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A generation of sandbox calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// `SandboxCreate` and its kind: `sb-` and 22 characters of base 62.
    V1,
    /// `SandboxCreateV2` and its kind: `sb-` and a ULID.
    V2,
}

impl Family {
    /// The generation that an id has the shape of; `None` if it is no id of a sandbox at all.
    pub(crate) fn of(id: &str) -> Option<Self> {
        let rest = id.strip_prefix("sb-")?.as_bytes();
        match rest.len() {
            22 if rest.iter().all(u8::is_ascii_alphanumeric) => Some(Self::V1),
            26 if rest[0] <= b'7' && rest.iter().all(|byte| CROCKFORD.contains(byte)) => Some(Self::V2),
            _ => None,
        }
    }
}

/// When an id of the second generation was made: the first ten characters are milliseconds.
pub(crate) fn created_at(id: &str) -> Option<SystemTime> {
    if Family::of(id)? != Family::V2 {
        return None;
    }
    let digits = id.as_bytes().get(3..13)?;
    let millis = digits.iter().try_fold(0_u64, |sum, byte| {
        let digit = CROCKFORD.iter().position(|known| known == byte)?;
        Some(sum * 32 + u64::try_from(digit).ok()?)
    })?;
    Some(UNIX_EPOCH + Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_tell_the_family() {
        assert_eq!(Family::of("sb-0123456789012345678901"), Some(Family::V1));
        assert_eq!(Family::of("sb-01ARZ3NDEKTSV4RRFFQ69G5FAV"), Some(Family::V2));
        for bad in
            ["", "sb-", "sb-xyz", "../../etc", "ap-0123456789012345678901", "sb-8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "sb-é"]
        {
            assert_eq!(Family::of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_ulid_begins_with_its_time() {
        // The example of the specification: 2016-07-30T23:54:10.259Z.
        let at = created_at("sb-01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
        assert_eq!(at.duration_since(UNIX_EPOCH).unwrap().as_millis(), 1_469_922_850_259);
        assert_eq!(created_at("sb-0123456789012345678901"), None);
    }
}
