//! How processes and sandboxes end, and what is known of a sandbox while it lives.

use crate::{Runtime, SandboxId, Usage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

/// A POSIX signal, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(pub i32);

impl Signal {
    /// Hang-up.
    pub const HUP: Self = Self(1);
    /// What Ctrl-C sends.
    pub const INT: Self = Self(2);
    /// What Ctrl-\ sends.
    pub const QUIT: Self = Self(3);
    /// Cannot be caught.
    pub const KILL: Self = Self(9);
    /// The polite request to end.
    pub const TERM: Self = Self(15);
}

/// Why a program could not be started. The conventions of shells: 127 if it is not there, 126 if it cannot be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum StartFailure {
    /// No such program on `PATH`, or no such file. Exit code 127.
    NotFound,
    /// The path is a directory. Exit code 126.
    IsDirectory,
    /// The file may not be executed. Exit code 126.
    NotExecutable,
    /// The `#!` line names an interpreter that is not there. Exit code 126.
    BadInterpreter,
    /// Neither a program of this machine nor a script. Exit code 126.
    WrongFormat,
    /// The kernel refused for another reason. Exit code 126.
    Other,
}

impl StartFailure {
    /// 127 for [`StartFailure::NotFound`], else 126.
    #[must_use]
    pub const fn exit_code(self) -> i32 {
        match self {
            Self::NotFound => 127,
            _ => 126,
        }
    }
}

/// Why a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "cause")]
#[non_exhaustive]
pub enum ExitCause {
    /// It called `exit` with this code.
    Exited {
        /// 0 to 255.
        code: i32,
    },
    /// This signal ended it.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// Its own time limit passed and it was killed.
    TimedOut,
    /// It failed after the kernel had killed it, or something that it started, because memory ran out.
    OutOfMemory {
        /// As a shell would report its own end: 137 if it was killed itself.
        code: i32,
    },
    /// It failed after a process or thread could not be made because of the sandbox's limit.
    ProcessLimit {
        /// As a shell would report its end.
        code: i32,
    },
    /// It failed, and the sandbox's disk is full.
    DiskFull {
        /// As a shell would report its end.
        code: i32,
    },
    /// It was never started.
    NotStarted {
        /// Why not.
        reason: StartFailure,
    },
    /// Its sandbox ended first.
    SandboxEnded,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExitStatus {
    /// The typed cause.
    #[serde(flatten)]
    pub cause: ExitCause,
}

impl ExitStatus {
    /// The status of a program that called `exit(code)`.
    #[must_use]
    pub const fn exited(code: i32) -> Self {
        Self { cause: ExitCause::Exited { code } }
    }

    /// The code a shell would report: the exit code, 128+N for signal N, 124 for a time limit, 126 or 127 if it was
    /// not started, 137 if its sandbox ended. A limit that was met changes nothing about it.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self.cause {
            ExitCause::Exited { code }
            | ExitCause::OutOfMemory { code }
            | ExitCause::ProcessLimit { code }
            | ExitCause::DiskFull { code } => code,
            ExitCause::Signalled { signal } => 128 + signal,
            ExitCause::TimedOut => 124,
            ExitCause::NotStarted { reason } => reason.exit_code(),
            ExitCause::SandboxEnded => 128 + 9,
        }
    }

    /// Whether it exited with code 0.
    #[must_use]
    pub const fn success(self) -> bool {
        matches!(self.cause, ExitCause::Exited { code: 0 })
    }
}

/// Why a sandbox ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "cause")]
#[non_exhaustive]
pub enum EndCause {
    /// Its main process exited.
    Exited {
        /// That process's exit code, 128+N for signal N.
        code: i32,
    },
    /// Memory ran out: its main process failed for it, or the sandbox's own first process was killed.
    OutOfMemory,
    /// Its main process failed after the limit of processes was met.
    ProcessLimit,
    /// Its main process failed with a full disk.
    DiskFull,
    /// Its lifetime passed.
    TimedOut,
    /// Nothing used it for as long as its [`idle_timeout`](crate::CreateOptions::idle_timeout).
    IdleTimedOut,
    /// Somebody called `destroy`, `kill` or `terminate`.
    Terminated,
    /// The engine or the machine under it went away.
    HostLost {
        /// What was seen.
        reason: String,
    },
}

impl fmt::Display for EndCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "its main process exited with code {code}"),
            Self::OutOfMemory => f.write_str("out of memory"),
            Self::ProcessLimit => f.write_str("its limit of processes was reached"),
            Self::DiskFull => f.write_str("its disk was full"),
            Self::TimedOut => f.write_str("its lifetime passed"),
            Self::IdleTimedOut => f.write_str("it was idle for too long"),
            Self::Terminated => f.write_str("it was destroyed"),
            Self::HostLost { reason } => write!(f, "host lost: {reason}"),
        }
    }
}

/// The three states users are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxStatus {
    /// It lives.
    Running,
    /// It ended as asked: destroyed, timed out, idle, or its main process exited with 0.
    Stopped,
    /// It ended badly: its main process failed, a limit was met, or the host was lost.
    Error,
}

impl SandboxStatus {
    /// The state that follows from an end, `None` meaning that it still lives.
    #[must_use]
    pub fn of(end: Option<&EndCause>) -> Self {
        match end {
            None => Self::Running,
            Some(EndCause::Exited { code: 0 } | EndCause::TimedOut | EndCause::IdleTimedOut | EndCause::Terminated) => {
                Self::Stopped
            }
            Some(
                EndCause::Exited { .. }
                | EndCause::OutOfMemory
                | EndCause::ProcessLimit
                | EndCause::DiskFull
                | EndCause::HostLost { .. },
            ) => Self::Error,
        }
    }
}

impl fmt::Display for SandboxStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Error => "error",
        })
    }
}

/// What is known of a sandbox. Serialises with camelCase keys, times in ISO 8601 and `timeout` in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxInfo {
    /// The id.
    pub id: SandboxId,
    /// The provider's name.
    pub provider: String,
    /// The language that `run_code` uses when neither the call nor the code says which.
    pub runtime: Runtime,
    /// Running, stopped or error.
    pub status: SandboxStatus,
    /// When it was made, by this machine's clock.
    #[serde(with = "crate::time::iso")]
    pub created_at: SystemTime,
    /// Its lifetime, counted from `created_at`; [`Duration::MAX`] is "no limit".
    #[serde(with = "crate::time::ms")]
    pub timeout: Duration,
    /// Its unique name, if it was given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How it is isolated, in the provider's words: `A (root)`, `B (rootless, subuid)`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<String>,
    /// Why it ended; absent while it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<EndCause>,
    /// What it has used so far, or in all.
    #[serde(default, skip_serializing_if = "Usage::is_unknown")]
    pub usage: Usage,
    /// Once it has ended: the end of the output of its main process, else of the process that was started last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_output: Option<String>,
    /// What whoever looks should know: output that is held back because nobody reads it, for one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// The caller's own notes, see [`CreateOptions::metadata`](crate::CreateOptions::metadata).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_follow_the_shell() {
        let code = |cause| ExitStatus { cause }.code();
        assert_eq!(code(ExitCause::Exited { code: 3 }), 3);
        assert_eq!(code(ExitCause::Signalled { signal: 9 }), 137);
        assert_eq!(code(ExitCause::TimedOut), 124);
        assert_eq!(code(ExitCause::NotStarted { reason: StartFailure::NotFound }), 127);
        assert_eq!(code(ExitCause::NotStarted { reason: StartFailure::BadInterpreter }), 126);
    }

    #[test]
    fn an_idle_end_is_one_that_was_asked_for() {
        let end = EndCause::IdleTimedOut;
        assert_eq!(SandboxStatus::of(Some(&end)), SandboxStatus::Stopped);
        assert_eq!(end.to_string(), "it was idle for too long");
        assert_eq!(serde_json::to_value(&end).unwrap(), serde_json::json!({ "cause": "idleTimedOut" }));
    }

    #[test]
    fn info_has_the_keys_of_the_javascript_sdk() {
        let info = SandboxInfo {
            id: SandboxId::new("sb-1"),
            provider: "local".into(),
            runtime: Runtime::Python,
            status: SandboxStatus::Running,
            created_at: SystemTime::UNIX_EPOCH,
            timeout: Duration::from_secs(300),
            name: None,
            isolation: None,
            end: None,
            usage: Usage::default(),
            last_output: None,
            notices: Vec::new(),
            metadata: BTreeMap::new(),
        };
        assert_eq!(
            serde_json::to_value(&info).unwrap(),
            serde_json::json!({
                "id": "sb-1", "provider": "local", "runtime": "python", "status": "running",
                "createdAt": "1970-01-01T00:00:00.000Z", "timeout": 300_000
            })
        );
    }
}
