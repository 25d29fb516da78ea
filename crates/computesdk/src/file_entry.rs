//! What listing and watching a directory gives.

use computesdk_core::time::iso;
use computesdk_core::{FileKind, FileStat, WatchEvent, WatchStream};
use serde::Serialize;
use std::fmt;
use std::time::SystemTime;

/// One entry of a directory. Serialises with the five keys `name`, `path`, `isDirectory`, `size`, `lastModified`
/// (ISO 8601) of the JavaScript SDK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FileEntry {
    /// The name alone.
    pub name: String,
    /// The full path.
    pub path: String,
    /// Whether it is a directory; a symbolic link to one is not.
    pub is_directory: bool,
    /// Bytes; 0 for directories.
    pub size: u64,
    /// Last modification of the content.
    #[serde(with = "iso")]
    pub last_modified: SystemTime,
    /// Everything else: type, permission bits, owner, group, target of a symbolic link.
    #[serde(skip)]
    pub stat: FileStat,
}

impl FileEntry {
    pub(crate) fn new(parent: &str, name: String, stat: FileStat) -> Self {
        let is_directory = stat.kind == FileKind::Directory;
        Self {
            path: format!("{parent}/{name}"),
            name,
            is_directory,
            size: if is_directory { 0 } else { stat.size },
            last_modified: stat.modified,
            stat,
        }
    }
}

/// A watch on a path, from [`Filesystem::watch`](crate::Filesystem::watch). Dropping it ends the watch.
pub struct Watcher {
    pub(crate) stream: Box<dyn WatchStream>,
}

impl Watcher {
    /// The next change; `None` once the sandbox has ended or the watched path is gone.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        self.stream.next().await
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}
