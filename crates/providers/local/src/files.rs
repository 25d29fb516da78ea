//! Files of a sandbox.

use crate::error::{NAME, call_error};
use crate::used::Used;
use computesdk_core::{
    DirEntry, Error, File, FileKind, FileStat, Files, OpenMode, Result, WatchEvent, WatchKind, WatchStream, async_trait,
};
use computesdk_engine::{self as engine, Open};

use std::io::ErrorKind;

/// Permission bits of a file that is made without saying.
const DEFAULT_MODE: u32 = 0o644;

#[derive(Debug)]
pub(crate) struct LocalFiles {
    pub(crate) id: String,
    pub(crate) sandbox: engine::Sandbox,
}

impl LocalFiles {
    fn error(&self, operation: &'static str, path: &str) -> impl FnOnce(engine::EngineError) -> Error {
        let (id, path) = (self.id.clone(), path.to_owned());
        move |error| call_error(operation, &id, error).with_context("path", path)
    }
}

#[async_trait]
impl Files for LocalFiles {
    async fn open(&self, path: &str, how: OpenMode, mode: Option<u32>) -> Result<Box<dyn File>> {
        let how = match how {
            OpenMode::Read => Open::Read,
            OpenMode::Write => Open::Write,
            OpenMode::Append => Open::Append,
            OpenMode::ReadWrite => Open::ReadWrite,
        };
        let mode = mode.unwrap_or(DEFAULT_MODE);
        if mode & !0o7777 != 0 {
            let problem = format_args!("{mode:#o} has bits beyond 0o7777").to_string();
            return Err(Error::invalid("filesystem.open", "mode", problem).with_provider(NAME));
        }
        let file = self.sandbox.open(path, how, mode).await.map_err(self.error("filesystem.open", path))?;
        Ok(Box::new(Used::new(tokio::fs::File::from_std(file), self.sandbox.activity().clone())))
    }

    async fn stat(&self, path: &str, follow: bool) -> Result<FileStat> {
        let stat = self.sandbox.stat(path, follow).await.map(file_stat);
        stat.map_err(|error| {
            // Below a file there is nothing: for who asks about a path, that is one more way not to be there.
            let below_file = matches!(&error, engine::EngineError::File(io) if io.kind() == ErrorKind::NotADirectory);
            let error = self.error("filesystem.stat", path)(error);
            if !below_file {
                return error;
            }
            Error::new(computesdk_core::ErrorKind::NotFound, "filesystem.stat", error.to_string())
                .with_provider(NAME)
                .with_context("path", path)
                .with_errno(error.errno().unwrap_or_default())
                .with_source(error)
        })
    }

    async fn list(&self, path: &str) -> Result<Vec<DirEntry>> {
        let entries = self.sandbox.list(path).await.map_err(self.error("filesystem.list", path))?;
        Ok(entries.into_iter().map(|(name, stat)| DirEntry { name, stat: file_stat(stat) }).collect())
    }

    async fn make_dir(&self, path: &str) -> Result<()> {
        self.sandbox.make_dir(path).await.map_err(self.error("filesystem.mkdir", path))
    }

    async fn remove(&self, path: &str) -> Result<()> {
        self.sandbox.remove(path).await.map_err(self.error("filesystem.remove", path))
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.sandbox.rename(from, to).await.map_err(self.error("filesystem.rename", from))
    }

    async fn watch(&self, path: &str, recursive: bool) -> Result<Box<dyn WatchStream>> {
        let watch = self.sandbox.watch(path, recursive).await.map_err(self.error("filesystem.watch", path))?;
        Ok(Box::new(LocalWatch(watch)))
    }
}

struct LocalWatch(engine::Watch);

#[async_trait]
impl WatchStream for LocalWatch {
    async fn next(&mut self) -> Option<WatchEvent> {
        let change = self.0.next().await?;
        let kind = match change.kind {
            engine::ChangeKind::Created => WatchKind::Created,
            engine::ChangeKind::Modified => WatchKind::Modified,
            engine::ChangeKind::Removed => WatchKind::Removed,
            engine::ChangeKind::Overflow => WatchKind::Overflow,
        };
        Some(WatchEvent { kind, path: change.path })
    }
}

fn file_stat(stat: engine::Stat) -> FileStat {
    FileStat {
        kind: match stat.kind {
            engine::FileKind::File => FileKind::File,
            engine::FileKind::Directory => FileKind::Directory,
            engine::FileKind::Symlink => FileKind::Symlink,
            engine::FileKind::Other => FileKind::Other,
        },
        size: stat.size,
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        owner: stat.owner,
        group: stat.group,
        modified: stat.modified,
        symlink_target: stat.target,
    }
}
