//! Everything that `compute` itself says: results on standard output, the rest on standard error.

use crate::args::Output;
use crate::exit::Failure;
use computesdk::{Error, ErrorKind};
use serde::Serialize;
use std::error::Error as _;
use std::io::{self, IsTerminal as _, Write as _};

/// How to say it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    output: Output,
}

impl Printer {
    pub(crate) fn new(output: Output) -> Self {
        Self { output }
    }

    pub(crate) fn is_json(self) -> bool {
        self.output == Output::Json
    }

    /// A result on standard output.
    pub(crate) fn result(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(output_failed)
    }

    /// One line of JSON on standard output.
    pub(crate) fn json(self, value: &str) -> Result<(), Failure> {
        self.result(&format!("{value}\n"))
    }

    /// One line on standard error. If that is closed, nobody wants to know.
    pub(crate) fn note(self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// A failure, with its causes and what to do about it.
    pub(crate) fn failure(self, failure: &Failure) {
        let cancelled;
        let error = match failure {
            Failure::Error(error, _) => error,
            Failure::Signalled(signal) if self.is_json() => {
                let text = format!("ended by signal {}", signal.0);
                cancelled = Error::new(ErrorKind::Cancelled, "compute", text);
                &cancelled
            }
            // Whoever sent the signal, or closed the pipe, knows.
            Failure::Signalled(_) | Failure::BrokenPipe => return,
        };
        if self.is_json() {
            // If standard output is closed, the exit code tells.
            let _ = self.json(&as_json(error));
        } else {
            self.note(&format!("{} {}", label("error:"), error.report()));
        }
    }
}

#[derive(Serialize)]
struct ErrorReport<'a> {
    error: ErrorFields<'a>,
}

#[derive(Serialize)]
struct ErrorFields<'a> {
    kind: &'a str,
    message: String,
    operation: &'a str,
    hint: Option<&'a str>,
}

fn as_json(error: &Error) -> String {
    let fields = ErrorFields {
        kind: error.kind().as_str(),
        message: one_line(error),
        operation: error.operation(),
        hint: error.hint(),
    };
    // Strings alone: it cannot fail.
    serde_json::to_string(&ErrorReport { error: fields }).unwrap_or_default()
}

/// A result as JSON.
#[cfg(feature = "serve")]
pub(crate) fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| {
        Error::new(ErrorKind::Unexpected, "output", "cannot write the result as JSON").with_source(error).into()
    })
}

/// The message with its causes.
fn one_line(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        // The provider's texts often hold their cause already.
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}

/// The failure of writing to standard output.
pub(crate) fn output_failed(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::BrokenPipe;
    }
    Error::new(ErrorKind::Unavailable, "output", "cannot write to standard output").with_source(error).into()
}

/// Red and bold for people who can see it, plain for everything else (<https://no-color.org>).
fn label(text: &str) -> String {
    let unset = |name| std::env::var_os(name).is_none_or(|value| value.is_empty());
    if io::stderr().is_terminal() && unset("NO_COLOR") && std::env::var_os("TERM").is_some_and(|term| term != "dumb") {
        format!("\x1b[1;31m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
