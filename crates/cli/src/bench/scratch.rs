//! A directory for files that are needed while measuring.

use super::mounts;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A fresh directory, removed with everything in it when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// In memory if that can be had, as the files of a sandbox are.
    pub(crate) fn in_memory() -> io::Result<Self> {
        let places = ["/dev/shm", "/run", "/tmp"].map(Path::new).into_iter();
        let tmpfs = places.filter(|place| mounts::kind(place).is_some_and(|kind| kind == "tmpfs"));
        tmpfs.map(Self::below).find(Result::is_ok).unwrap_or_else(Self::anywhere)
    }

    /// Where temporary files go.
    pub(crate) fn anywhere() -> io::Result<Self> {
        Self::below(&std::env::temp_dir())
    }

    fn below(parent: &Path) -> io::Result<Self> {
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_nanos());
        let dir = parent.join(format!("compute-bench-{}-{now:x}", std::process::id()));
        // Fails if somebody else has it.
        fs::create_dir(&dir)?;
        Ok(Self(dir))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
