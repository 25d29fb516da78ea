//! What is known about a file in a sandbox.

use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// The type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link (not followed).
    Symlink,
    /// A FIFO, socket or device.
    Other,
}

/// Metadata of one file, as the sandbox sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    /// The type.
    pub kind: FileKind,
    /// Bytes; 0 for directories.
    pub size: u64,
    /// Permission bits with setuid, setgid and sticky (`0o7777`).
    pub mode: u32,
    /// Owner, as the sandbox numbers users.
    pub uid: u32,
    /// Group, as the sandbox numbers groups.
    pub gid: u32,
    /// Owner's name in the sandbox's `/etc/passwd`, if it has one.
    pub owner: Option<String>,
    /// Group's name in the sandbox's `/etc/group`, if it has one.
    pub group: Option<String>,
    /// Last modification of the content.
    pub modified: SystemTime,
    /// Where a symbolic link points, exactly as written in it.
    pub symlink_target: Option<String>,
}

/// One entry of a directory listing; never `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name alone. Bytes that are not UTF-8 are shown as U+FFFD.
    pub name: String,
    /// Its metadata; a symbolic link is described itself, not its target.
    pub stat: FileStat,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OpenMode {
    /// For reading; the file must exist.
    #[default]
    Read,
    /// For writing, made if missing, emptied if not. Parent directories are made.
    Write,
    /// For writing at the end, made if missing. Parent directories are made.
    Append,
    /// For reading and writing, made if missing, content kept.
    ReadWrite,
}

/// What happened to a watched path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WatchKind {
    /// A file or directory appeared.
    Created,
    /// Content or attributes changed.
    Modified,
    /// It was deleted, or moved out of the watched tree.
    Removed,
    /// Events were lost because nobody read them; list the directory again.
    Overflow,
}

/// One change below a watched path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchEvent {
    /// What happened.
    pub kind: WatchKind,
    /// The full path in the sandbox.
    pub path: String,
}
