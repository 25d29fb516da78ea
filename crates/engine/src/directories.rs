//! Where the engine keeps its state and its cache.
//!
//! `$XDG_STATE_HOME/computesdk` and `$XDG_CACHE_HOME/computesdk` with the usual defaults below `$HOME`; without a home, a
//! private directory below the system's temporary one. Both are made with mode 0700 and must belong to this user:
//! what is in the cache becomes the root file system of sandboxes.

use crate::EngineError;
use rustix::process::geteuid;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The state directory, made if missing.
pub(crate) fn state(chosen: Option<&Path>) -> Result<PathBuf, EngineError> {
    find(chosen, "XDG_STATE_HOME", ".local/state")
}

/// The cache directory, made if missing.
pub(crate) fn cache(chosen: Option<&Path>) -> Result<PathBuf, EngineError> {
    find(chosen, "XDG_CACHE_HOME", ".cache")
}

fn find(chosen: Option<&Path>, variable: &str, below_home: &str) -> Result<PathBuf, EngineError> {
    if let Some(chosen) = chosen {
        return private(chosen).map_err(EngineError::host(format!("use the directory {}", chosen.display())));
    }
    let absolute = |path: &PathBuf| path.is_absolute();
    let base = std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(absolute)
        .or_else(|| std::env::var_os("HOME").map(PathBuf::from).filter(absolute).map(|home| home.join(below_home)));
    if let Some(Ok(path)) = base.map(|base| private(&base.join("computesdk"))) {
        return Ok(path);
    }
    let path = std::env::temp_dir().join(format!("computesdk-{}", geteuid().as_raw()));
    private(&path).map_err(EngineError::host(format!(
        "use {} (set {variable} to a directory that you can write)",
        path.display()
    )))
}

/// Makes the directory with its parents, and refuses one that another user controls.
fn private(path: &Path) -> io::Result<PathBuf> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = std::fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no directory (a link is not followed)"));
    }
    if metadata.uid() != geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "other users may write to it"));
    }
    // Made before we got here with a laxer umask, or by hand: writable for its owner at least.
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?;
    Ok(path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        assert_eq!(private(&path).unwrap(), path);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        private(&path).unwrap_err();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        private(&link).unwrap_err();
    }
}
