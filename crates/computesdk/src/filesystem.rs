//! The files of a sandbox.

use crate::attempt::Attempt;
use crate::{FileEntry, Watcher, check};
use computesdk_core::{BoxRead, ErrorKind, File, FileStat, Files, OpenMode, Result};
use std::fmt;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The files of one sandbox. Paths are absolute, and resolved inside the sandbox.
///
/// Errors have the kind of what went wrong (`NotFound`, `PermissionDenied`, `InvalidArgument`, …), the path in the
/// message and as context `path`, and their cause as source.
#[derive(Clone)]
pub struct Filesystem {
    files: Arc<dyn Files>,
    provider: Arc<str>,
}

impl Filesystem {
    pub(crate) fn new(files: Arc<dyn Files>, provider: &str) -> Self {
        Self { files, provider: provider.into() }
    }

    /// A whole file as text.
    ///
    /// # Errors
    /// `Failed to read file <path>: …`; `InvalidArgument` if it is not UTF-8 (see [`Filesystem::read_bytes`]).
    pub async fn read_file(&self, path: &str) -> Result<String> {
        let bytes = self.read_bytes(path).await?;
        String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let reason = format!("byte {at} is not UTF-8; use `read_bytes` for files that are not text");
            self.reading(path).error(ErrorKind::InvalidArgument, &reason).with_source(error)
        })
    }

    /// A whole file, byte for byte.
    ///
    /// # Errors
    /// `Failed to read file <path>: …`.
    pub async fn read_bytes(&self, path: &str) -> Result<Vec<u8>> {
        let mut file = self.open_read(path).await?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).await.map_err(|error| self.reading(path).broke(error))?;
        Ok(bytes)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// `Failed to read file <path>: …`.
    pub async fn open_read(&self, path: &str) -> Result<BoxRead> {
        let file = self.open(self.reading(path), OpenMode::Read).await?;
        Ok(Box::new(file))
    }

    /// Writes a whole file, replacing what was there; its directories are made.
    ///
    /// # Errors
    /// `Failed to write file <path>: …`; then it may be partly written.
    pub async fn write_file(&self, path: &str, content: impl AsRef<str> + Send) -> Result<()> {
        self.write(path, OpenMode::Write, content.as_ref().as_bytes()).await
    }

    /// Writes a whole file, replacing what was there; its directories are made.
    ///
    /// # Errors
    /// `Failed to write file <path>: …`; then it may be partly written.
    pub async fn write_bytes(&self, path: &str, content: impl AsRef<[u8]> + Send) -> Result<()> {
        self.write(path, OpenMode::Write, content.as_ref()).await
    }

    /// Adds to the end of a file; it and its directories are made.
    ///
    /// # Errors
    /// `Failed to write file <path>: …`; then it may be partly written.
    pub async fn append(&self, path: &str, content: impl AsRef<[u8]> + Send) -> Result<()> {
        self.write(path, OpenMode::Append, content.as_ref()).await
    }

    /// Opens a file for writing, emptied; it and its directories are made. Shut the writer down
    /// ([`AsyncWriteExt::shutdown`](tokio::io::AsyncWriteExt::shutdown)) to learn that all of it arrived.
    ///
    /// # Errors
    /// `Failed to write file <path>: …`.
    pub async fn open_write(&self, path: &str) -> Result<Box<dyn File>> {
        self.open(self.writing(path), OpenMode::Write).await
    }

    /// Opens a file for writing at its end; it and its directories are made.
    ///
    /// # Errors
    /// `Failed to write file <path>: …`.
    pub async fn open_append(&self, path: &str) -> Result<Box<dyn File>> {
        self.open(self.writing(path), OpenMode::Append).await
    }

    /// Makes a directory and its parents; one that exists is fine.
    ///
    /// # Errors
    /// `Failed to create directory <path>: …`.
    pub async fn mkdir(&self, path: &str) -> Result<()> {
        let attempt = self.attempt("filesystem.mkdir", "create directory", path);
        attempt.check()?;
        self.files.make_dir(path).await.map_err(|error| attempt.failed(error))
    }

    /// The entries of a directory, sorted by name, without `.` and `..`.
    ///
    /// # Errors
    /// `Failed to read directory <path>: …`.
    pub async fn readdir(&self, path: &str) -> Result<Vec<FileEntry>> {
        let attempt = self.attempt("filesystem.readdir", "read directory", path);
        attempt.check()?;
        let entries = self.files.list(path).await.map_err(|error| attempt.failed(error))?;
        let parent = path.trim_end_matches('/');
        Ok(entries.into_iter().map(|entry| FileEntry::new(parent, entry.name, entry.stat)).collect())
    }

    /// What is known of one file, symbolic links followed.
    ///
    /// # Errors
    /// `Failed to stat <path>: …`.
    pub async fn stat(&self, path: &str) -> Result<FileStat> {
        let attempt = self.attempt("filesystem.stat", "stat", path);
        attempt.check()?;
        self.files.stat(path, true).await.map_err(|error| attempt.failed(error))
    }

    /// Whether there is a file or directory; a symbolic link to nothing is not one.
    ///
    /// # Errors
    /// `Failed to stat <path>: …` if that cannot be known.
    pub async fn exists(&self, path: &str) -> Result<bool> {
        match self.stat(path).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a file or a whole tree, never through symbolic links. What is missing is fine.
    ///
    /// # Errors
    /// `Failed to remove <path>: …`.
    pub async fn remove(&self, path: &str) -> Result<()> {
        let attempt = self.attempt("filesystem.remove", "remove", path);
        attempt.check()?;
        self.files.remove(path).await.map_err(|error| attempt.failed(error))
    }

    /// Renames, replacing a file that is in the way.
    ///
    /// # Errors
    /// `Failed to rename <from>: …`.
    pub async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let attempt = self.attempt("filesystem.rename", "rename", from);
        attempt.check()?;
        check::absolute(attempt.operation, "to", to).map_err(|error| attempt.failed(error))?;
        self.files.rename(from, to).await.map_err(|error| attempt.failed(error).with_context("to", to))
    }

    /// Changes to this file, or to the entries of this directory; with `recursive`, to the tree below it.
    ///
    /// # Errors
    /// `Failed to watch <path>: …`; `Unsupported` if the provider cannot.
    pub async fn watch(&self, path: &str, recursive: bool) -> Result<Watcher> {
        let attempt = self.attempt("filesystem.watch", "watch", path);
        attempt.check()?;
        let stream = self.files.watch(path, recursive).await.map_err(|error| attempt.failed(error))?;
        Ok(Watcher { stream })
    }

    fn attempt<'a>(&'a self, operation: &'static str, verb: &'static str, path: &'a str) -> Attempt<'a> {
        Attempt { provider: &self.provider, operation, verb, path }
    }

    fn reading<'a>(&'a self, path: &'a str) -> Attempt<'a> {
        self.attempt("filesystem.read", "read file", path)
    }

    fn writing<'a>(&'a self, path: &'a str) -> Attempt<'a> {
        self.attempt("filesystem.write", "write file", path)
    }

    async fn open(&self, attempt: Attempt<'_>, how: OpenMode) -> Result<Box<dyn File>> {
        attempt.check()?;
        self.files.open(attempt.path, how, None).await.map_err(|error| attempt.failed(error))
    }

    async fn write(&self, path: &str, how: OpenMode, content: &[u8]) -> Result<()> {
        let mut file = self.open(self.writing(path), how).await?;
        let written = async {
            file.write_all(content).await?;
            file.shutdown().await
        };
        written.await.map_err(|error| self.writing(path).broke(error))
    }
}

impl fmt::Debug for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filesystem").field("provider", &self.provider).finish_non_exhaustive()
    }
}
