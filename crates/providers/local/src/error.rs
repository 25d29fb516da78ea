//! The engine's errors as the waist's.

use computesdk_core::{Error, ErrorKind};
use computesdk_engine::{EngineError, ImageError};
use std::io;

/// The provider's name.
pub(crate) const NAME: &str = "local";

/// An error of a call that made a sandbox.
pub(crate) fn create_error(error: EngineError) -> Error {
    let operation = "sandbox.create";
    let text = format!("Failed to create local sandbox: {error}");
    let kind = match &error {
        EngineError::Invalid { field, problem } => {
            return Error::invalid(operation, field, problem).with_provider(NAME);
        }
        EngineError::Image(ImageError::Interpreter { field, path, why }) => {
            return Error::invalid(operation, field, format_args!("{}: {why}", path.display())).with_provider(NAME);
        }
        EngineError::NoLimit { limit } => {
            return no_limit(limit, error.hint());
        }
        EngineError::NoIsolation(_) | EngineError::Forked | EngineError::Image(_) => ErrorKind::FailedPrecondition,
        EngineError::HostLost(_) => ErrorKind::Unavailable,
        EngineError::NoAnswer(_) => ErrorKind::Timeout,
        _ => ErrorKind::Unexpected,
    };
    let hint = error.hint().or_else(|| {
        matches!(error, EngineError::NoIsolation(_))
            .then(|| String::from("`compute doctor` shows what this machine offers and what to do about it"))
    });
    let error = Error::new(kind, operation, text).with_provider(NAME).with_source(error);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// A limit that this machine or this user cannot keep.
fn no_limit(limit: &str, advice: Option<String>) -> Error {
    let why = "no control group for it can be made here; nothing was created";
    let error = Error::unsupported("sandbox.create", limit, why).with_provider(NAME);
    match advice {
        Some(advice) => error.with_hint(advice),
        None => error,
    }
}

/// An error of a call on a running sandbox.
pub(crate) fn call_error(operation: &'static str, id: &str, error: EngineError) -> Error {
    let (kind, text) = match &error {
        EngineError::Invalid { field, problem } => {
            return Error::invalid(operation, field, problem).with_provider(NAME);
        }
        EngineError::Ended(end) => (ErrorKind::NotFound, format!("sandbox {id} has ended: {end}")),
        EngineError::File(error) => (file_kind(error), reason(error)),
        EngineError::NotAFile(_) => (ErrorKind::InvalidArgument, error.to_string()),
        EngineError::HostLost(_) => (ErrorKind::Unavailable, error.to_string()),
        EngineError::NoAnswer(_) => (ErrorKind::Timeout, error.to_string()),
        EngineError::Forked => (ErrorKind::FailedPrecondition, error.to_string()),
        _ => (ErrorKind::Unexpected, error.to_string()),
    };
    let number = match &error {
        EngineError::File(error) => error.raw_os_error(),
        _ => None,
    };
    let error = Error::new(kind, operation, text).with_provider(NAME).with_context("sandbox", id).with_source(error);
    match number {
        Some(number) => error.with_errno(number),
        None => error,
    }
}

/// The kernel's reason, without the number that std adds.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn file_kind(error: &io::Error) -> ErrorKind {
    use io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound | Io::ConnectionRefused => ErrorKind::NotFound,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        Io::AlreadyExists => ErrorKind::AlreadyExists,
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::QuotaExceeded,
        Io::TimedOut => ErrorKind::Timeout,
        Io::InvalidInput
        | Io::InvalidFilename
        | Io::IsADirectory
        | Io::NotADirectory
        | Io::DirectoryNotEmpty
        | Io::CrossesDevices
        | Io::ResourceBusy => ErrorKind::InvalidArgument,
        // ELOOP has no stable kind of its own: too many links, or one of /proc that leads anywhere.
        _ if error.raw_os_error() == Some(40) => ErrorKind::InvalidArgument,
        _ => ErrorKind::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_error_keeps_its_cause_and_loses_the_number() {
        let error = call_error("filesystem.open", "sb-1", EngineError::File(io::Error::from_raw_os_error(2)));
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.to_string(), "no such file or directory");
        assert_eq!(error.errno(), Some(2));
        assert!(std::error::Error::source(&error).is_some());
    }
}
