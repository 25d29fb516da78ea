//! Engine and agent.

use crate::Bytes;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Where one standard stream of a process goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// The next descriptor of the packet.
    Passed,
    /// `/dev/null`.
    Null,
    /// Where standard output goes (standard error only).
    Merged,
}

/// A program to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exec {
    /// The engine's number for it.
    pub exec: u32,
    /// Program and arguments; the program is looked up on the `PATH` in `env` unless it has a slash.
    pub argv: Vec<Bytes>,
    /// `NAME=value`, complete: nothing is inherited.
    pub env: Vec<Bytes>,
    /// Working directory.
    pub cwd: Bytes,
    /// User by name or number; `None` is root.
    pub user: Option<String>,
    /// Rows and columns of a terminal that replaces the three streams.
    pub pty: Option<(u16, u16)>,
    /// Standard input, output, error; ignored with a terminal.
    pub stdio: [Stdio; 3],
    /// Most open files of the program (`RLIMIT_NOFILE`); 0 leaves what it inherits.
    pub open_files: u64,
    /// Whether the last descriptor of the packet is a `cgroup.procs`, which the program enters before it is executed.
    pub group: bool,
}

/// How a file is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// A question about files or sockets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Ask {
    /// Open a regular file; the descriptor comes with the answer.
    Open {
        /// Absolute path.
        path: Bytes,
        /// How.
        how: Open,
        /// Permission bits of a new file.
        mode: u32,
    },
    /// Metadata.
    Stat {
        /// Absolute path.
        path: Bytes,
        /// Of what a symbolic link points to.
        follow: bool,
    },
    /// Entries of a directory.
    List {
        /// Absolute path.
        path: Bytes,
    },
    /// Make a directory and its parents.
    MakeDir {
        /// Absolute path.
        path: Bytes,
    },
    /// Remove a file or tree; missing is fine.
    Remove {
        /// Absolute path.
        path: Bytes,
    },
    /// Rename, replacing a file.
    Rename {
        /// Absolute path.
        from: Bytes,
        /// Absolute path.
        to: Bytes,
    },
    /// Write a [`Change`] for each change into the pipe that comes with the packet, each after its length as four
    /// little-endian bytes, until its reader is gone.
    Watch {
        /// Absolute path.
        path: Bytes,
        /// The whole tree below it.
        recursive: bool,
    },
    /// Connect to a TCP port of the sandbox's loopback; the socket comes with the answer.
    Connect {
        /// The port.
        port: u16,
    },
}

/// One change below a watched path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// Where.
    pub path: Bytes,
}

/// What happened to a watched path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    /// It appeared.
    Created,
    /// Content or attributes changed.
    Modified,
    /// It is gone.
    Removed,
    /// Changes were lost.
    Overflow,
}

/// Type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Regular.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// FIFO, socket, device.
    Other,
}

/// Metadata of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// The type.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Permission bits, `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Owner's name.
    pub owner: Option<String>,
    /// Group's name.
    pub group: Option<String>,
    /// Seconds since the epoch.
    pub mtime: i64,
    /// And nanoseconds.
    pub mtime_nanos: u32,
    /// Where a symbolic link points.
    pub target: Option<Bytes>,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// Done; the descriptor, if one was asked for, comes with the packet.
    Done,
    /// Metadata.
    Stat(Stat),
    /// Entries.
    Entries(Vec<(Bytes, Stat)>),
    /// The call failed with this error number.
    Failed {
        /// `errno(3)`.
        errno: i32,
    },
}

/// Why a program was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// No such program.
    NotFound,
    /// It is a directory.
    IsDirectory,
    /// It may not be executed.
    NotExecutable,
    /// Its `#!` line names a program that is not there.
    BadInterpreter,
    /// Neither a program of this machine nor a script.
    WrongFormat,
    /// The working directory is missing, or is none.
    WorkingDirectory,
    /// No such user.
    UnknownUser,
    /// This sandbox has one id only, and cannot change to another.
    SingleUser,
    /// Arguments and environment are larger than the kernel takes.
    TooLarge,
    /// Something else failed.
    Other,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// What a program used, and how the disk is, as the sandbox tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time of it and the descendants it waited for, in microseconds (`getrusage(2)`).
    pub cpu_micros: u64,
    /// Largest resident set among the same, in KiB.
    pub peak_kib: u64,
    /// Whether the writable part of the file system is full. Looked at only if the program failed.
    pub disk_full: bool,
}

/// Engine to agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToAgent {
    /// Start a program; the [`Stdio::Passed`] descriptors come with the packet.
    Exec(Exec),
    /// Send a signal to a program's process group.
    Signal {
        /// Its number.
        exec: u32,
        /// The signal.
        signal: i32,
    },
    /// A question.
    Ask {
        /// The engine's number for it.
        call: u32,
        /// The question.
        ask: Ask,
    },
}

/// Agent to engine.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromAgent {
    /// A program runs; with a terminal, its master side comes with the packet.
    Started {
        /// Its number.
        exec: u32,
        /// Its process id inside the sandbox.
        pid: i32,
    },
    /// A program was not started.
    Refused {
        /// Its number.
        exec: u32,
        /// Why.
        refusal: Refusal,
        /// The error number.
        errno: i32,
    },
    /// A program ended.
    Exited {
        /// Its number.
        exec: u32,
        /// How.
        exit: Exit,
        /// What it used.
        usage: Usage,
    },
    /// An answer.
    Answer {
        /// The number of the question.
        call: u32,
        /// The answer.
        answer: Answer,
    },
}
