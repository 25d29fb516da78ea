//! The folder of the state: whose it is, who may look in, and which server has it.

use super::error::{StateError, io_at};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A folder that no other server has, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    /// The lock ends with the file, also when the process is killed. Nobody inherits it: it is closed on exec.
    _lock: File,
}

impl Place {
    /// Makes the folder where there is none, and takes it.
    pub(super) fn take(dir: &Path) -> Result<Self, StateError> {
        let dir = std::path::absolute(dir).map_err(io_at(dir))?;
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(io_at(&dir))?;
        // Files in it are closed to others one by one; but who may write here could exchange them.
        private(&dir, &fs::metadata(&dir).map_err(io_at(&dir))?, 0o022, "700")?;
        let path = dir.join("lock");
        let mut options = OpenOptions::new();
        let mut lock = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io_at(&path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let pid = (&lock).take(16).read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(StateError::InUse { dir, pid });
            }
            Err(errno) => return Err(io_at(&path)(errno.into())),
        }
        let mut sign = || {
            lock.set_len(0)?;
            lock.rewind()?;
            write!(lock, "{}", std::process::id())
        };
        // On a full disk there is no pid to read, and the lock holds all the same.
        if let Err(error) = sign() {
            tracing::debug!(error = &error as &dyn std::error::Error, "the lock has no pid");
        }
        Ok(Self { dir, _lock: lock })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes what was written or renamed in the folder last.
    pub(super) fn sync(&self) -> Result<(), StateError> {
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(io_at(&self.dir))
    }
}

/// Ours (or the system's), and without these bits of its mode.
pub(super) fn private(
    path: &Path,
    metadata: &fs::Metadata,
    forbidden: u32,
    right: &'static str,
) -> Result<(), StateError> {
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != rustix::process::geteuid().as_raw() && owner != 0 {
        return Err(StateError::Owner { path: path.to_owned(), owner });
    }
    if mode & forbidden != 0 {
        return Err(StateError::Open { path: path.to_owned(), mode, right });
    }
    Ok(())
}

/// Makes a file that must not be there, for its user alone.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Removes a file, if there is one.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
