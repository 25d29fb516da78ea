//! The errors of file operations: which prefix, which path, which cause.

use computesdk_core::{Error, ErrorKind, Result};

/// One operation on one path, for its errors.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) provider: &'a str,
    pub(crate) operation: &'static str,
    pub(crate) verb: &'static str,
    pub(crate) path: &'a str,
}

impl Attempt<'_> {
    pub(crate) fn check(&self) -> Result<()> {
        crate::check::absolute(self.operation, "path", self.path).map_err(|error| self.failed(error))
    }

    pub(crate) fn failed(&self, cause: Error) -> Error {
        let hint = cause.hint().map(ToOwned::to_owned);
        let error = self.error(cause.kind(), &cause.to_string()).with_source(cause);
        if let Some(hint) = hint { error.with_hint(hint) } else { error }
    }

    pub(crate) fn broke(&self, cause: std::io::Error) -> Error {
        let kind = match cause.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::QuotaExceeded,
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            std::io::ErrorKind::IsADirectory => ErrorKind::InvalidArgument,
            std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset => ErrorKind::Unavailable,
            _ => ErrorKind::Unexpected,
        };
        self.error(kind, &cause.to_string()).with_source(cause)
    }

    pub(crate) fn error(&self, kind: ErrorKind, reason: &str) -> Error {
        Error::new(kind, self.operation, format!("Failed to {} {}: {reason}", self.verb, self.path))
            .with_provider(self.provider)
            .with_context("path", self.path)
    }
}
