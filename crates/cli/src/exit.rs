//! What `compute` exits with, and the failures that lead there.

use computesdk::{Error, Signal};
use std::process::ExitCode;

/// An exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    /// All is well.
    pub(crate) const OK: Self = Self(0);
    /// `doctor`: no full isolation here.
    pub(crate) const UNHEALTHY: Self = Self(1);
    /// A failure of ours, or of the engine.
    pub(crate) const OURS: Self = Self(125);
    /// The program is there and cannot be run.
    pub(crate) const NOT_EXECUTABLE: Self = Self(126);
    /// The program is not there.
    pub(crate) const NOT_FOUND: Self = Self(127);
    /// As if SIGPIPE had ended us.
    pub(crate) const BROKEN_PIPE: Self = Self(128 + 13);

    /// The code of a program in the sandbox.
    pub(crate) fn passed_on(code: i32) -> Self {
        u8::try_from(code).map_or(Self::OURS, Self)
    }

    /// What a shell reports for a program that this signal ended.
    pub(crate) fn signal(signal: Signal) -> Self {
        Self::passed_on(128 + signal.0)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// Why a command did not come to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something went wrong.
    Error(Error, Exit),
    /// Somebody told us to stop.
    Signalled(Signal),
    /// Nobody reads our output any more.
    BrokenPipe,
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Error(_, exit) => *exit,
            Self::Signalled(signal) => Exit::signal(*signal),
            Self::BrokenPipe => Exit::BROKEN_PIPE,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error, Exit::OURS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_passed_on_and_never_wrap() {
        assert_eq!(Exit::passed_on(0), Exit::OK);
        assert_eq!(Exit::passed_on(255), Exit(255));
        assert_eq!(Exit::passed_on(256), Exit::OURS);
        assert_eq!(Exit::passed_on(-1), Exit::OURS);
        assert_eq!(Exit::signal(Signal::INT), Exit(130));
    }
}
