//! What can go wrong in the engine.

use crate::End;
use crate::image::ImageError;
use computesdk_guest_protocol::agent::Refusal;
use computesdk_guest_protocol::launcher::Failure;
use std::fmt;
use std::io;

/// A rung that this host does not offer, and why.
#[derive(Debug, Clone)]
pub struct RungFailure {
    /// `A (root)`, `B (rootless, subuid)`, `C (rootless, single id)`.
    pub rung: &'static str,
    /// What failed, in one line.
    pub why: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Why a program was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub refusal: Refusal,
    /// The kernel's error number; 0 if it was not asked.
    pub errno: i32,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.refusal {
            Refusal::NotFound => "no such program",
            Refusal::IsDirectory => "it is a directory",
            Refusal::NotExecutable => "it may not be executed",
            Refusal::BadInterpreter => "the interpreter that its first line names is not there",
            Refusal::WrongFormat => "it is neither a program of this machine nor a script with a `#!` line",
            Refusal::WorkingDirectory => "no such working directory",
            Refusal::UnknownUser => "no such user",
            Refusal::SingleUser => "this sandbox has one user only, because no subordinate ids are set up for you",
            Refusal::TooLarge => "arguments and environment are larger than the kernel takes (2 MiB)",
            Refusal::Other => return write!(f, "{}", io::Error::from_raw_os_error(self.errno)),
        })
    }
}

/// A failure of the engine. Display gives one line; causes are in [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No rung works here, or none that the caller accepts. Nothing weaker is ever used instead.
    #[error("this machine offers no sandbox isolation: {}", reasons(.0))]
    NoIsolation(Vec<RungFailure>),
    /// The host image could not be prepared.
    #[error("the host image could not be prepared")]
    Image(#[from] ImageError),
    /// An argument that the caller can correct.
    #[error("invalid `{field}`: {problem}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A limit that cannot be kept here; nothing was made.
    #[error("the limit `{limit}` cannot be kept on this machine; nothing was created")]
    NoLimit {
        /// Which.
        limit: &'static str,
    },
    /// A sandbox could not be made; nothing of it is left.
    #[error("{}", describe(.0))]
    Create(Failure),
    /// The program could not be started.
    #[error("{0}")]
    Refused(Refused),
    /// The sandbox has ended.
    #[error("the sandbox has ended: {0}")]
    Ended(End),
    /// A call about files failed inside the sandbox.
    #[error("{0}")]
    File(io::Error),
    /// A file that lives where the host does not read from: `/proc`, a device, a FIFO.
    #[error("{0}")]
    NotAFile(&'static str),
    /// The launcher is gone, and every sandbox with it.
    #[error("host lost: {0}")]
    HostLost(String),
    /// The engine was started by another process, of which this one is a fork.
    #[error("this process was forked from the one that started the engine; start an engine of its own")]
    Forked,
    /// The sandbox did not answer in time. What was asked may still happen.
    #[error("the sandbox did not answer within {0:?}")]
    NoAnswer(std::time::Duration),
    /// Something of this machine failed.
    #[error("{what}")]
    Host {
        /// What was attempted.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl EngineError {
    pub(crate) fn host(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Host { what, source }
    }

    /// This process may not have more open files: a descriptor that was sent to it was lost (`unix(7)`).
    pub(crate) fn no_room(what: &str) -> Self {
        let source = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        Self::Host { what: format!("{what}: this process has too many open files (`ulimit -n`)"), source }
    }

    /// What the reader can do about it, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoIsolation(failures) => failures.iter().rev().find_map(|failure| failure.hint.clone()),
            Self::NoLimit { .. } => Some(crate::cgroup::advice()),
            _ => None,
        }
    }
}

fn reasons(failures: &[RungFailure]) -> String {
    failures.iter().map(|failure| format!("rung {}: {}", failure.rung, failure.why)).collect::<Vec<_>>().join("; ")
}

/// One line for a failure of the launcher.
pub(crate) fn describe(failure: &Failure) -> String {
    let mut text = format!("cannot {}", failure.step);
    if failure.errno != 0 {
        text += &format!(": {}", io::Error::from_raw_os_error(failure.errno));
    }
    if !failure.detail.is_empty() {
        // fsopen(2): the kernel marks its lines as error, warning or information.
        let unmarked = |line: &'_ str| -> String {
            let marks = ["e ", "w ", "i "];
            marks.iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line).to_owned()
        };
        text += &format!(" ({})", failure.detail.lines().map(unmarked).collect::<Vec<_>>().join("; "));
    }
    text
}
