//! Paths as they come from the engine.

use alloc::vec::Vec;
use rustix::io::Errno;

/// Accepts an absolute path without NUL.
pub(super) fn check(path: &[u8]) -> Result<&[u8], Errno> {
    if path.first() == Some(&b'/') && !path.contains(&0) { Ok(path) } else { Err(Errno::INVAL) }
}

/// The directory part of a path, `/` for entries of the root.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    match trimmed.iter().rposition(|byte| *byte == b'/') {
        None | Some(0) => b"/",
        Some(slash) => &trimmed[..slash],
    }
}

/// `dir` and `name` with one slash between them.
pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = dir.to_vec();
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents() {
        assert_eq!(parent(b"/a/b"), b"/a");
        assert_eq!(parent(b"/a/b/"), b"/a");
        assert_eq!(parent(b"/a"), b"/");
        assert_eq!(parent(b"/"), b"/");
    }

    #[test]
    fn relative_and_nul_are_refused() {
        check(b"/ok").unwrap();
        check(b"no").unwrap_err();
        check(b"/a\0b").unwrap_err();
        check(b"").unwrap_err();
    }
}
