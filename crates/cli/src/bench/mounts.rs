//! What is mounted (`proc_pid_mounts(5)`, `fstab(5)`).

use std::path::{Path, PathBuf};

/// Every mount: where, and of which kind, in the order they were made. Names with white space in them are left out; nothing
/// that is looked for here has any.
fn all() -> Vec<(PathBuf, String)> {
    let text = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = text.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((PathBuf::from(words.next()?), words.next()?.to_owned()))
    });
    mounts.collect()
}

/// The kind of file system that a directory is on.
pub(crate) fn kind(dir: &Path) -> Option<String> {
    // The innermost, and of those on top of each other the last.
    let over = all().into_iter().filter(|(at, _)| dir.starts_with(at));
    over.max_by_key(|(at, _)| at.components().count()).map(|(_, kind)| kind)
}

/// Where file systems of this kind are mounted.
pub(crate) fn of_kind(kind: &str) -> Vec<PathBuf> {
    all().into_iter().filter(|(_, of)| of == kind).map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_proc_and_so_is_what_is_in_it() {
        assert_eq!(kind(Path::new("/proc/self")).as_deref(), Some("proc"));
        assert!(of_kind("proc").contains(&PathBuf::from("/proc")));
        assert!(kind(Path::new("/")).is_some());
    }
}
