//! The one error type at the waist.
//!
//! An [`Error`] says *what kind* of failure it is ([`ErrorKind`], for programs), *what was attempted*
//! (the operation), *with what* (context pairs) and *why* (its source). Its `Display` is the message users match on;
//! the texts of the JavaScript SDK are kept as prefixes.
//!
//! A command that exits non-zero, or a program that raises an exception, is **not** an error: it is a result.

use std::error::Error as StdError;
use std::fmt;

/// `std::result::Result` with our [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure an [`Error`] is: the part a program decides on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A sandbox, process, file or name that does not exist (any more).
    NotFound,
    /// A name or id that is already taken.
    AlreadyExists,
    /// An argument that the caller can correct; the message names it.
    InvalidArgument,
    /// No credentials where the provider needs some.
    MissingCredentials,
    /// Credentials that the provider refuses.
    AuthenticationFailed,
    /// The caller is known and may not do this.
    PermissionDenied,
    /// A quota or rate limit of the provider.
    QuotaExceeded,
    /// The thing is in a state that does not allow the call.
    FailedPrecondition,
    /// A concurrent change came first.
    Conflict,
    /// *Our* deadline passed. A command's timeout is data, see [`ExitCause::TimedOut`](crate::ExitCause::TimedOut).
    Timeout,
    /// The caller cancelled.
    Cancelled,
    /// The provider cannot be reached, or went away.
    Unavailable,
    /// The provider cannot do or keep what was asked.
    Unsupported,
    /// No provider was given and no default is configured.
    NoDefaultProvider,
    /// The main program of a `run_code` does not compile.
    SyntaxError,
    /// Anything else: a defect of ours or of the provider.
    Unexpected,
}

impl ErrorKind {
    /// Every kind, for tables that must be complete.
    pub const ALL: &'static [Self] = &[
        Self::NotFound,
        Self::AlreadyExists,
        Self::InvalidArgument,
        Self::MissingCredentials,
        Self::AuthenticationFailed,
        Self::PermissionDenied,
        Self::QuotaExceeded,
        Self::FailedPrecondition,
        Self::Conflict,
        Self::Timeout,
        Self::Cancelled,
        Self::Unavailable,
        Self::Unsupported,
        Self::NoDefaultProvider,
        Self::SyntaxError,
        Self::Unexpected,
    ];

    /// The stable name of this kind, as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::InvalidArgument => "InvalidArgument",
            Self::MissingCredentials => "MissingCredentials",
            Self::AuthenticationFailed => "AuthenticationFailed",
            Self::PermissionDenied => "PermissionDenied",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::FailedPrecondition => "FailedPrecondition",
            Self::Conflict => "Conflict",
            Self::Timeout => "Timeout",
            Self::Cancelled => "Cancelled",
            Self::Unavailable => "Unavailable",
            Self::Unsupported => "Unsupported",
            Self::NoDefaultProvider => "NoDefaultProvider",
            Self::SyntaxError => "SyntaxError",
            Self::Unexpected => "Unexpected",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The context key of [`Error::with_errno`].
const ERRNO: &str = "errno";

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// A failure of ours or of the provider, never of the code that ran in a sandbox.
///
/// `Display` prints the message alone; the cause chain is in [`source`](StdError::source), and
/// [`Error::report`] prints both, with a hint where there is one.
///
/// ```
/// use computesdk_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::NotFound, "filesystem.read", "Failed to read file /app/x: no such file")
///     .with_context("path", "/app/x");
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert!(error.to_string().starts_with("Failed to read file /app/x"));
/// ```
pub struct Error {
    // Boxed, so that `Result<T>` stays small on the path where nothing fails.
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    provider: Option<String>,
    message: String,
    hint: Option<String>,
    context: Vec<(&'static str, String)>,
    cleanup: Option<Error>,
    source: Option<Source>,
}

impl Error {
    /// Makes an error of this kind; `operation` is dotted (`sandbox.create`), `message` is what `Display` prints.
    #[must_use]
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                operation,
                provider: None,
                message: message.into(),
                hint: None,
                context: Vec::new(),
                cleanup: None,
                source: None,
            }),
        }
    }

    /// An [`ErrorKind::InvalidArgument`] that names the argument.
    #[must_use]
    pub fn invalid(operation: &'static str, field: &str, problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidArgument, operation, format!("invalid `{field}`: {problem}"))
            .with_context("field", field)
    }

    /// An [`ErrorKind::Unsupported`] that names the option and says why it cannot be kept.
    #[must_use]
    pub fn unsupported(operation: &'static str, option: &str, why: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Unsupported, operation, format!("`{option}` is not supported: {why}"))
            .with_context("option", option)
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Adds one fact, such as the path or the id.
    #[must_use]
    pub fn with_context(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.inner.context.push((key, value.into()));
        self
    }

    /// Adds the number that the sandbox's kernel gave (`errno`, as Linux counts), for whoever must tell more apart than kinds do.
    #[must_use]
    pub fn with_errno(self, number: i32) -> Self {
        self.with_context(ERRNO, number.to_string())
    }

    /// Says which provider failed.
    #[must_use]
    pub fn with_provider(mut self, provider: impl Into<String>) -> Self {
        self.inner.provider = Some(provider.into());
        self
    }

    /// Says what the reader can do about it. Printed apart from the message.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// Adds the failure of the clean-up that followed: what was left behind stands there.
    #[must_use]
    pub fn with_cleanup_error(mut self, cleanup: Self) -> Self {
        self.inner.cleanup = Some(cleanup);
        self
    }

    /// Replaces the message; kind, context and cause stay.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.inner.message = message.into();
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What was attempted, dotted: `sandbox.create`, `filesystem.read`.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.inner.operation
    }

    /// Which provider failed, if one was involved.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        self.inner.provider.as_deref()
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// The facts of the failure, in the order they were added.
    #[must_use]
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.inner.context
    }

    /// The value of one fact.
    #[must_use]
    pub fn context_value(&self, key: &str) -> Option<&str> {
        self.inner.context.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
    }

    /// The number that the sandbox's kernel gave, where the provider knows it; see [`Error::with_errno`].
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.context_value(ERRNO)?.parse().ok()
    }

    /// The failure of the clean-up that followed this error, if that failed too.
    #[must_use]
    pub fn cleanup_error(&self) -> Option<&Self> {
        self.inner.cleanup.as_ref()
    }

    /// The whole story on several lines: message, causes, failed clean-up, hint.
    #[must_use]
    pub fn report(&self) -> String {
        use fmt::Write as _;
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            // Messages with an exact prefix often end in their cause: nobody needs to read it twice.
            let reason = error.to_string();
            if !text.contains(&reason) {
                let _ = write!(text, "\n  caused by: {reason}");
            }
            cause = error.source();
        }
        if let Some(cleanup) = self.cleanup_error() {
            let _ = write!(text, "\n  and cleaning up failed: {cleanup}");
        }
        if let Some(hint) = self.hint() {
            let _ = write!(text, "\n\nhint: {hint}");
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug
            .field("kind", &self.inner.kind)
            .field("operation", &self.inner.operation)
            .field("message", &self.inner.message);
        if let Some(provider) = &self.inner.provider {
            debug.field("provider", provider);
        }
        if !self.inner.context.is_empty() {
            debug.field("context", &self.inner.context);
        }
        if let Some(cleanup) = &self.inner.cleanup {
            debug.field("cleanup", cleanup);
        }
        if let Some(source) = &self.inner.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_distinct_names() {
        let mut names: Vec<_> = ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn a_report_keeps_every_cause_and_the_clean_up() {
        let io = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = Error::new(ErrorKind::Unexpected, "sandbox.create", "Failed to create local sandbox: mount")
            .with_source(io)
            .with_cleanup_error(Error::new(ErrorKind::Unexpected, "sandbox.create", "rmdir: busy"))
            .with_hint("run `compute doctor`");
        let report = error.report();
        assert!(report.contains("caused by: permission denied"), "{report}");
        assert!(report.contains("cleaning up failed: rmdir: busy"), "{report}");
        assert!(report.ends_with("hint: run `compute doctor`"), "{report}");
    }

    #[test]
    fn the_kernels_number_is_kept() {
        let error = Error::new(ErrorKind::InvalidArgument, "filesystem.open", "is a directory");
        assert_eq!(error.errno(), None);
        assert_eq!(error.with_context("path", "/tmp").with_errno(21).errno(), Some(21));
    }

    #[test]
    fn invalid_and_unsupported_name_the_field() {
        assert_eq!(
            Error::invalid("sandbox.exec", "args", "a NUL byte at index 2").to_string(),
            "invalid `args`: a NUL byte at index 2"
        );
        let error = Error::unsupported("sandbox.create", "memory", "no cgroup");
        assert_eq!(error.context_value("option"), Some("memory"));
    }
}
