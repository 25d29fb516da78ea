//! A provider whose errors have kinds and no numbers.

use computesdk_core::{DirEntry, Error, File, FileStat, Files, OpenMode, Result, WatchStream, async_trait};
use std::sync::Arc;

/// Files whose errors say no more than their kind.
#[derive(Debug)]
pub(super) struct Numberless(pub(super) Arc<dyn Files>);

fn less<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| Error::new(error.kind(), error.operation(), error.to_string()))
}

#[async_trait]
impl Files for Numberless {
    async fn open(&self, path: &str, how: OpenMode, mode: Option<u32>) -> Result<Box<dyn File>> {
        less(self.0.open(path, how, mode).await)
    }

    async fn stat(&self, path: &str, follow: bool) -> Result<FileStat> {
        less(self.0.stat(path, follow).await)
    }

    async fn list(&self, path: &str) -> Result<Vec<DirEntry>> {
        less(self.0.list(path).await)
    }

    async fn make_dir(&self, path: &str) -> Result<()> {
        less(self.0.make_dir(path).await)
    }

    async fn remove(&self, path: &str) -> Result<()> {
        less(self.0.remove(path).await)
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        less(self.0.rename(from, to).await)
    }

    async fn watch(&self, path: &str, recursive: bool) -> Result<Box<dyn WatchStream>> {
        less(self.0.watch(path, recursive).await)
    }
}
