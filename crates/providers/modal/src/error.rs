//! Answers of the server as the waist's errors.
//!
//! The status code alone decides on the kind; the server's sentence becomes the message.

use computesdk_core::{Error, ErrorKind};
use std::error::Error as _;
use tonic::{Code, Status};

/// The provider's name.
pub(crate) const NAME: &str = "modal";

/// What kind of failure a status code is.
pub(crate) const fn kind(code: Code) -> ErrorKind {
    match code {
        Code::Cancelled => ErrorKind::Cancelled,
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::InvalidArgument,
        Code::DeadlineExceeded => ErrorKind::Timeout,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::PermissionDenied => ErrorKind::PermissionDenied,
        Code::ResourceExhausted => ErrorKind::QuotaExceeded,
        Code::FailedPrecondition => ErrorKind::FailedPrecondition,
        Code::Aborted => ErrorKind::Conflict,
        Code::Unimplemented => ErrorKind::Unsupported,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::Unauthenticated => ErrorKind::AuthenticationFailed,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => ErrorKind::Unexpected,
    }
}

/// What a call says for itself, with the last cause of a connection that failed.
pub(crate) fn sentence(status: &Status) -> String {
    let mut cause = status.source();
    let mut last = None;
    while let Some(error) = cause {
        last = Some(error.to_string());
        cause = error.source();
    }
    match (status.message(), last) {
        ("", None) => status.code().description().to_owned(),
        ("", Some(last)) => last,
        (message, Some(last)) if !message.contains(&last) => format!("{message}: {last}"),
        (message, _) => message.to_owned(),
    }
}

/// A refusal that names an option in Modal's words, in ours: the option and what is wrong with it.
fn named(text: &str) -> Option<(&str, &str)> {
    let (option, problem) = text.strip_prefix("invalid `")?.split_once("`: ")?;
    Some((if option == "workdir" { "cwd" } else { option }, problem))
}

/// The error of a call.
pub(crate) fn call_error(operation: &'static str, status: Status) -> Error {
    let text = sentence(&status);
    let kind = kind(status.code());
    if let (ErrorKind::InvalidArgument, Some((option, problem))) = (kind, named(&text)) {
        return Error::invalid(operation, option, problem).with_provider(NAME).with_source(Answer(status));
    }
    let text = match kind {
        ErrorKind::AuthenticationFailed => format!("Modal authentication failed: {text}"),
        ErrorKind::QuotaExceeded => format!("Modal quota exceeded: {text}"),
        _ => text,
    };
    let error = Error::new(kind, operation, text).with_provider(NAME).with_source(Answer(status));
    match kind {
        ErrorKind::AuthenticationFailed => {
            error.with_hint("check MODAL_TOKEN_ID and MODAL_TOKEN_SECRET: both, and of this server")
        }
        _ => error,
    }
}

/// The error of a call that was to make a sandbox.
pub(crate) fn create_error(status: Status) -> Error {
    let error = call_error("sandbox.create", status);
    match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::QuotaExceeded => error,
        _ => {
            let text = format!("Failed to create Modal sandbox: {error}");
            error.with_message(text)
        }
    }
}

/// The error for a sandbox that is not there, or not any more.
pub(crate) fn no_sandbox(operation: &'static str, id: &str) -> Error {
    Error::new(ErrorKind::NotFound, operation, format!("no sandbox {id}"))
        .with_provider(NAME)
        .with_context("sandbox", id)
}

/// A status as a cause: its code's name and its sentence, and none of its metadata.
#[derive(Debug)]
struct Answer(Status);

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Part of the message already, so that nobody reads it twice.
        let sentence = sentence(&self.0);
        f.write_str(named(&sentence).map_or(&sentence, |(_, problem)| problem))
    }
}

impl std::error::Error for Answer {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_kind_and_the_servers_sentence() {
        for code in (0..=16).map(Code::from_i32).filter(|code| *code != Code::Ok) {
            let error = call_error("sandbox.exec", Status::new(code, "why it is so"));
            assert_eq!(error.kind(), kind(code));
            assert!(error.to_string().ends_with("why it is so"), "{error}");
            assert_eq!(error.provider(), Some(NAME));
        }
        assert_eq!(kind(Code::NotFound), ErrorKind::NotFound);
        assert_eq!(kind(Code::ResourceExhausted), ErrorKind::QuotaExceeded);
    }

    #[test]
    fn create_keeps_the_texts_that_users_match_on() {
        let text = |code| create_error(Status::new(code, "x")).to_string();
        assert_eq!(text(Code::Internal), "Failed to create Modal sandbox: x");
        assert!(text(Code::Unauthenticated).starts_with("Modal authentication failed"));
        assert!(text(Code::ResourceExhausted).starts_with("Modal quota exceeded"));
    }

    #[test]
    fn options_have_our_names() {
        let error = call_error("sandbox.exec", Status::invalid_argument("invalid `workdir`: no such directory"));
        assert_eq!(
            (error.to_string().as_str(), error.context_value("field")),
            ("invalid `cwd`: no such directory", Some("cwd"))
        );
        assert_eq!(call_error("sandbox.exec", Status::invalid_argument("too long")).to_string(), "too long");
    }

    #[test]
    fn a_report_says_each_thing_once() {
        let error = call_error("sandbox.exec", Status::not_found("no such exec"));
        assert_eq!(error.report(), "no such exec");
    }
}
