//! Failing a trial: [`Failure`], and the macros that make one.

use computesdk_core::{Error, ErrorKind, Result};
use std::fmt;
use std::panic::Location;

/// Why a trial failed, with the place in the suite that saw it.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    place: &'static Location<'static>,
}

/// What a trial returns.
pub(crate) type Outcome<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure with this message, at the caller's line.
    #[track_caller]
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: Location::caller() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  at {}:{}", self.message, self.place.file(), self.place.line())
    }
}

/// `?` on any error fails the trial; ours are told with kind, operation, causes and hint.
impl<E: std::error::Error + 'static> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        let error: &(dyn std::error::Error + 'static) = &error;
        Self::new(match error.downcast_ref::<Error>() {
            Some(ours) => format!("unexpected error {} in {}: {}", ours.kind(), ours.operation(), ours.report()),
            None => format!("unexpected error: {error}"),
        })
    }
}

/// Fails the trial unless the condition holds; further arguments are formatted into the message.
macro_rules! ensure {
    ($condition:expr $(,)?) => {
        ensure!($condition, "does not hold: {}", stringify!($condition))
    };
    ($condition:expr, $($message:tt)+) => {
        // Bound first: "not less than" of two floats reads as a mistake when it stands in one expression.
        let holds: bool = $condition;
        if !holds {
            return Err($crate::check::Failure::new(format!($($message)+)));
        }
    };
}

/// Fails the trial unless both are equal; long values are cut in the message.
macro_rules! ensure_eq {
    ($left:expr, $right:expr $(,)?) => {
        ensure_eq!($left, $right, "{}", stringify!($left))
    };
    ($left:expr, $right:expr, $($message:tt)+) => {
        match (&$left, &$right) {
            (left, right) => {
                if !(*left == *right) {
                    return Err($crate::check::Failure::new(format!(
                        "{}: got {}, expected {}",
                        format_args!($($message)+),
                        $crate::check::short(left),
                        $crate::check::short(right),
                    )));
                }
            }
        }
    };
}

/// `Debug` of a value, cut to what a reader can use.
pub(crate) fn short(value: &impl fmt::Debug) -> String {
    const MOST: usize = 600;
    let text = format!("{value:?}");
    match text.char_indices().nth(MOST) {
        None => text,
        Some((cut, _)) => format!("{}… ({} characters)", &text[..cut], text.chars().count()),
    }
}

/// The error of a call that must fail with this kind.
#[track_caller]
pub(crate) fn refused<T>(what: &str, kind: ErrorKind, result: Result<T>) -> Outcome<Error> {
    match result {
        Ok(_) => Err(Failure::new(format!("{what} was accepted, expected an error of kind {kind}"))),
        Err(error) if error.kind() == kind => Ok(error),
        Err(error) => Err(Failure::new(format!("{what}: expected kind {kind}, got {error:?}"))),
    }
}

/// An `InvalidArgument` that names the argument, in the context (under `field`) or in the message.
#[track_caller]
pub(crate) fn refused_naming<T>(what: &str, field: &str, result: Result<T>) -> Outcome<Error> {
    let error = refused(what, ErrorKind::InvalidArgument, result)?;
    if error.context_value("field") == Some(field) || error.to_string().contains(field) {
        Ok(error)
    } else {
        Err(Failure::new(format!("{what}: the error does not name `{field}`: {error:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compares(left: i32) -> Outcome {
        ensure_eq!(left, 1, "the number");
        Ok(())
    }

    #[test]
    fn failures_say_what_and_where() {
        compares(1).expect("equal");
        let text = compares(2).expect_err("different").to_string();
        assert!(text.contains("the number: got 2, expected 1") && text.contains("check.rs:"), "{text}");
    }

    #[test]
    fn question_mark_keeps_the_kind_and_the_line() {
        fn fails() -> Outcome {
            Err(Error::new(ErrorKind::NotFound, "sandbox.get", "gone"))?;
            Ok(())
        }
        let text = fails().expect_err("an error").to_string();
        assert!(text.contains("NotFound in sandbox.get: gone") && text.contains("check.rs:"), "{text}");
    }

    #[test]
    fn a_refusal_must_have_the_kind_and_the_name() {
        let invalid = || Err::<(), _>(Error::invalid("sandbox.exec", "cwd", "no such directory"));
        refused_naming("exec", "cwd", invalid()).expect("named");
        refused_naming("exec", "user", invalid()).expect_err("the wrong name");
        refused("exec", ErrorKind::NotFound, invalid()).expect_err("the wrong kind");
        refused("exec", ErrorKind::NotFound, Ok(())).expect_err("no error at all");
    }
}
