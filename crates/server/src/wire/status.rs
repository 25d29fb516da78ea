//! Our errors and ends, in the words of the wire (modal-wire notes, 5.1 and 5.6).

use crate::state::EndRecord;
pub(crate) use crate::state::seconds;
use computesdk_core::{EndCause, Error, ErrorKind, ExitCause, ExitStatus};
use computesdk_modal_proto::client::GenericResult;
use computesdk_modal_proto::client::generic_result::GenericStatus;
use std::time::Duration;
use tonic::{Code, Status};

/// The signal that clients are told for a process whose time was up.
const KILL: i32 = 9;

/// An error of the provider's as a client is told it.
pub(crate) fn of_error(error: &Error) -> Status {
    let code = match error.kind() {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::QuotaExceeded => Code::ResourceExhausted,
        // The client's own token is good: it is the provider behind this server that refuses the server's.
        ErrorKind::FailedPrecondition
        | ErrorKind::MissingCredentials
        | ErrorKind::AuthenticationFailed
        | ErrorKind::NoDefaultProvider => Code::FailedPrecondition,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Timeout => Code::DeadlineExceeded,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Unsupported => Code::Unimplemented,
        _ => Code::Internal,
    };
    // Clients have another word for it.
    let mut text = error.to_string().replace("invalid `cwd`", "invalid `workdir`");
    if let Some(hint) = error.hint() {
        text.push_str("; ");
        text.push_str(hint);
    }
    if code == Code::Internal {
        tracing::error!(report = %error.report(), "a call failed");
    }
    Status::new(code, text)
}

/// For `map_err`.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(crate) fn refuse(error: Error) -> Status {
    of_error(&error)
}

/// What is not there and what is not the caller's are answered alike.
pub(crate) fn not_found(what: &str, id: &str) -> Status {
    Status::not_found(format!("{what} {} is not known here", shown(id)))
}

/// A client's text, as much of it as is worth repeating.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let mut shown: String = text.chars().take(MOST).flat_map(char::escape_default).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

/// The same without quotation marks, for texts that clients look for.
pub(crate) fn plain(text: &str) -> String {
    shown(text).trim_matches('"').to_owned()
}

/// How a sandbox ended. Whoever lives has no result at all.
pub(crate) fn result(end: &EndRecord) -> GenericResult {
    let (status, exception) = match &end.cause {
        EndCause::Exited { code: 0 } => (GenericStatus::Success, String::new()),
        EndCause::Exited { .. } => (GenericStatus::Failure, String::new()),
        EndCause::TimedOut => (GenericStatus::Timeout, end.cause.to_string()),
        EndCause::IdleTimedOut => (GenericStatus::IdleTimeout, end.cause.to_string()),
        EndCause::Terminated => (GenericStatus::Terminated, String::new()),
        EndCause::OutOfMemory => (GenericStatus::KernelOomKill, end.cause.to_string()),
        EndCause::ProcessLimit | EndCause::DiskFull => (GenericStatus::Failure, end.cause.to_string()),
        _ => (GenericStatus::InternalFailure, end.cause.to_string()),
    };
    GenericResult { status: status.into(), exception, exitcode: end.exit_code }
}

/// How a process ended: its code, or the signal that ended it.
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
}

pub(crate) fn exit(status: ExitStatus) -> Exit {
    match status.cause {
        ExitCause::Signalled { signal } => Exit::Signal(signal),
        ExitCause::TimedOut | ExitCause::SandboxEnded => Exit::Signal(KILL),
        _ => Exit::Code(status.code()),
    }
}

/// A time limit of a long poll, within reason.
pub(crate) fn patience(seconds: f32) -> Duration {
    const MOST: Duration = Duration::from_secs(3600);
    Duration::try_from_secs_f32(seconds.max(0.0)).map_or(MOST, |asked| asked.min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_the_status_that_clients_tell_apart() {
        let status = |cause, exit_code| result(&EndRecord { cause, exit_code }).status();
        assert_eq!(status(EndCause::Exited { code: 0 }, 0), GenericStatus::Success);
        assert_eq!(status(EndCause::Exited { code: 7 }, 7), GenericStatus::Failure);
        assert_eq!(status(EndCause::TimedOut, 124), GenericStatus::Timeout);
        assert_eq!(status(EndCause::Terminated, 137), GenericStatus::Terminated);
        assert_eq!(status(EndCause::OutOfMemory, 137), GenericStatus::KernelOomKill);
        let lost = result(&EndRecord { cause: EndCause::HostLost { reason: "gone".into() }, exit_code: 137 });
        assert_eq!((lost.status(), lost.exception.as_str()), (GenericStatus::InternalFailure, "host lost: gone"));
    }

    #[test]
    fn a_time_limit_is_signal_9_and_a_missing_program_is_a_code() {
        let of = |cause| match exit(ExitStatus { cause }) {
            Exit::Code(code) => (code, 0),
            Exit::Signal(signal) => (0, signal),
        };
        assert_eq!(of(ExitCause::TimedOut), (0, 9));
        assert_eq!(of(ExitCause::Signalled { signal: 15 }), (0, 15));
        assert_eq!(of(ExitCause::NotStarted { reason: computesdk_core::StartFailure::NotFound }), (127, 0));
        assert_eq!(of(ExitCause::OutOfMemory { code: 137 }), (137, 0));
    }

    #[test]
    fn hostile_numbers_and_texts_are_bounded() {
        assert_eq!(patience(f32::NAN), Duration::ZERO);
        assert_eq!(patience(f32::INFINITY), Duration::from_secs(3600));
        assert_eq!(patience(-1.0), Duration::ZERO);
        assert!(shown(&"\n".repeat(10_000)).len() < 200);
    }
}
