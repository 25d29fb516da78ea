//! Files and sockets of a sandbox.
//!
//! The agent resolves every path, inside; descriptors come out and are checked. The host never looks at a path that the
//! sandbox controls.

use crate::{EngineError, Sandbox, descriptor};
use computesdk_guest_protocol::agent::{Answer, Ask, Change as WireChange, ChangeKind as WireKind, Kind};
use computesdk_guest_protocol::{agent, decode};
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// For reading.
    Read,
    /// For writing, emptied; parents are made.
    Write,
    /// For writing at the end; parents are made.
    Append,
    /// For reading and writing, content kept; parents are made.
    ReadWrite,
}

/// The type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device.
    Other,
}

/// Metadata of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// The type.
    pub kind: FileKind,
    /// Bytes; 0 for directories.
    pub size: u64,
    /// Permission bits, `0o7777`.
    pub mode: u32,
    /// Owner, as the sandbox numbers it.
    pub uid: u32,
    /// Group, as the sandbox numbers it.
    pub gid: u32,
    /// Owner's name in the sandbox.
    pub owner: Option<String>,
    /// Group's name in the sandbox.
    pub group: Option<String>,
    /// Last modification.
    pub modified: SystemTime,
    /// Where a symbolic link points.
    pub target: Option<String>,
}

/// What happened to a watched path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It appeared.
    Created,
    /// Its content or attributes changed.
    Modified,
    /// It is gone.
    Removed,
    /// Changes were lost.
    Overflow,
}

/// One change below a watched path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// Where.
    pub path: String,
}

/// Changes as they happen. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    pipe: pipe::Receiver,
}

/// Longest change that is read: a path is at most 4096 bytes (`PATH_MAX`) from an honest agent.
const MAX_CHANGE: u32 = 64 * 1024;

impl Watch {
    /// The next change; `None` when the sandbox has ended, nothing is watched any more, or the agent wrote nonsense.
    pub async fn next(&mut self) -> Option<Change> {
        let len = self.pipe.read_u32_le().await.ok().filter(|len| *len <= MAX_CHANGE)?;
        let mut bytes = vec![0; len as usize];
        self.pipe.read_exact(&mut bytes).await.ok()?;
        let WireChange { kind, path } = decode(&bytes).ok()?;
        let kind = match kind {
            WireKind::Created => ChangeKind::Created,
            WireKind::Modified => ChangeKind::Modified,
            WireKind::Removed => ChangeKind::Removed,
            WireKind::Overflow => ChangeKind::Overflow,
        };
        Some(Change { kind, path: text(path) })
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

impl From<agent::Stat> for Stat {
    fn from(stat: agent::Stat) -> Self {
        let seconds = Duration::from_secs(stat.mtime.unsigned_abs());
        let nanos = Duration::from_nanos(u64::from(stat.mtime_nanos));
        let epoch = SystemTime::UNIX_EPOCH;
        let time = if stat.mtime < 0 { epoch.checked_sub(seconds) } else { epoch.checked_add(seconds) };
        Self {
            kind: match stat.kind {
                Kind::File => FileKind::File,
                Kind::Directory => FileKind::Directory,
                Kind::Symlink => FileKind::Symlink,
                Kind::Other => FileKind::Other,
            },
            size: stat.size,
            mode: stat.mode & 0o7777,
            uid: stat.uid,
            gid: stat.gid,
            owner: stat.owner,
            group: stat.group,
            modified: time.and_then(|time| time.checked_add(nanos)).unwrap_or(epoch),
            target: stat.target.map(text),
        }
    }
}

fn wire_path(path: &str) -> Result<Vec<u8>, EngineError> {
    let invalid = |problem: &str| Err(EngineError::Invalid { field: "path", problem: problem.to_owned() });
    if path.contains('\0') {
        return invalid("it has a NUL byte");
    }
    if !path.starts_with('/') {
        return invalid(&format!("{path:?} is not absolute"));
    }
    Ok(path.as_bytes().to_vec())
}

impl Sandbox {
    /// Opens a regular file; `mode` is for one that is made.
    ///
    /// # Errors
    /// [`EngineError::File`] with the kernel's reason; [`EngineError::NotAFile`] for anything but a file on a disk of
    /// the sandbox.
    pub async fn open(&self, path: &str, how: Open, mode: u32) -> Result<std::fs::File, EngineError> {
        let how = match how {
            Open::Read => agent::Open::Read,
            Open::Write => agent::Open::Write,
            Open::Append => agent::Open::Append,
            Open::ReadWrite => agent::Open::ReadWrite,
        };
        match self.ask(Ask::Open { path: wire_path(path)?, how, mode }).await? {
            (Answer::Done, Some(fd)) => descriptor::regular_file(fd),
            (Answer::Done, None) => Err(EngineError::no_room("take the file")),
            _ => Err(unexpected()),
        }
    }

    /// Metadata; with `follow`, of what a symbolic link points to.
    ///
    /// # Errors
    /// [`EngineError::File`] with the kernel's reason.
    pub async fn stat(&self, path: &str, follow: bool) -> Result<Stat, EngineError> {
        match self.ask(Ask::Stat { path: wire_path(path)?, follow }).await? {
            (Answer::Stat(stat), _) => Ok(stat.into()),
            _ => Err(unexpected()),
        }
    }

    /// The entries of a directory with their metadata, sorted by name.
    ///
    /// # Errors
    /// [`EngineError::File`] with the kernel's reason.
    pub async fn list(&self, path: &str) -> Result<Vec<(String, Stat)>, EngineError> {
        match self.ask(Ask::List { path: wire_path(path)? }).await? {
            (Answer::Entries(entries), _) => {
                Ok(entries.into_iter().map(|(name, stat)| (text(name), stat.into())).collect())
            }
            _ => Err(unexpected()),
        }
    }

    /// Makes a directory and its parents; one that exists is fine.
    ///
    /// # Errors
    /// [`EngineError::File`] with the kernel's reason.
    pub async fn make_dir(&self, path: &str) -> Result<(), EngineError> {
        self.ask_done(Ask::MakeDir { path: wire_path(path)? }).await
    }

    /// Removes a file or tree, never through a link; what is missing is fine.
    ///
    /// # Errors
    /// [`EngineError::File`] with the kernel's reason.
    pub async fn remove(&self, path: &str) -> Result<(), EngineError> {
        self.ask_done(Ask::Remove { path: wire_path(path)? }).await
    }

    /// Renames; parents of the new name are made.
    ///
    /// # Errors
    /// [`EngineError::File`] with the kernel's reason.
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), EngineError> {
        self.ask_done(Ask::Rename { from: wire_path(from)?, to: wire_path(to)? }).await
    }

    /// Watches a file, a directory, or with `recursive` a tree.
    ///
    /// # Errors
    /// [`EngineError::File`] with the kernel's reason.
    pub async fn watch(&self, path: &str, recursive: bool) -> Result<Watch, EngineError> {
        let host = EngineError::host("make a pipe for a watch");
        let (read, write) = match pipe_with(PipeFlags::CLOEXEC) {
            Ok(ends) => ends,
            Err(errno) => return Err(host(errno.into())),
        };
        let pipe = pipe::Receiver::from_owned_fd(read).map_err(host)?;
        self.agent()?.ask(Ask::Watch { path: wire_path(path)?, recursive }, vec![write]).await?;
        Ok(Watch { pipe })
    }

    /// Connects to a TCP port on the sandbox's own loopback. Needs no network and no privilege: the agent makes the
    /// socket where it is.
    ///
    /// # Errors
    /// [`EngineError::File`] with the kernel's reason: nobody listens there.
    pub async fn connect(&self, port: u16) -> Result<tokio::net::TcpStream, EngineError> {
        match self.ask(Ask::Connect { port }).await? {
            (Answer::Done, Some(fd)) => tokio::net::TcpStream::from_std(descriptor::tcp_socket(fd)?)
                .map_err(EngineError::host("register the sandbox's socket")),
            (Answer::Done, None) => Err(EngineError::no_room("take the sandbox's socket")),
            _ => Err(unexpected()),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<(Answer, Option<std::os::fd::OwnedFd>), EngineError> {
        match self.agent()?.ask(ask, Vec::new()).await {
            Err(error) => Err(self.explain(error).await),
            answered => answered,
        }
    }

    async fn ask_done(&self, ask: Ask) -> Result<(), EngineError> {
        match self.ask(ask).await? {
            (Answer::Done, _) => Ok(()),
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> EngineError {
    EngineError::File(io::Error::new(io::ErrorKind::InvalidData, "the sandbox gave an answer to another question"))
}
