//! Telling a program that does not compile from one that fails.
//!
//! The test is narrow on purpose: a program may print `SyntaxError`, raise one, or `eval` something broken, and that is
//! its result. Only when the interpreter itself says that *the main program* does not compile, and so nothing of it
//! ran, is it an error.

use crate::run::Output;
use computesdk_core::{Error, ErrorKind, ExitCause, Runtime};

/// What is known of a syntax error, taken from an [`Error`] of kind `SyntaxError`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyntaxErrorDetails {
    /// What the interpreter wrote.
    pub stderr: String,
    /// The interpreter's exit code.
    pub exit_code: i32,
    /// The line in the program, counted from 1.
    pub line: Option<u32>,
}

impl SyntaxErrorDetails {
    /// The details; `None` if the error is of another kind.
    #[must_use]
    pub fn of(error: &Error) -> Option<Self> {
        if error.kind() != ErrorKind::SyntaxError {
            return None;
        }
        Some(Self {
            stderr: error.context_value("stderr")?.to_owned(),
            exit_code: error.context_value("exit_code")?.parse().ok()?,
            line: error.context_value("line").and_then(|line| line.parse().ok()),
        })
    }
}

/// The error, if this output tells that the program at `main` does not compile.
pub(crate) fn error(runtime: Runtime, main: &str, output: &Output) -> Option<Error> {
    let ExitCause::Exited { code: 1 } = output.status.cause else { return None };
    let stderr = String::from_utf8_lossy(&output.stderr);
    let plain = without_colour(&stderr);
    let line = match runtime {
        Runtime::Python => python(main, &plain)?,
        Runtime::Node => node(main, &plain)?,
    };
    let message = format!("Syntax error: {}", plain.trim());
    let error = Error::new(ErrorKind::SyntaxError, "sandbox.run_code", message)
        .with_context("stderr", stderr)
        .with_context("exit_code", "1");
    Some(if line == 0 { error } else { error.with_context("line", line.to_string()) })
}

/// CPython: no traceback, the last line is a syntax error, and the last file named is the main program.
/// The line is 0 where it has none (an unknown encoding).
fn python(main: &str, stderr: &str) -> Option<u32> {
    if stderr.lines().any(|line| line == "Traceback (most recent call last):") {
        return None;
    }
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty())?;
    if !["SyntaxError:", "IndentationError:", "TabError:"].iter().any(|name| last.starts_with(name)) {
        return None;
    }
    let place = stderr.lines().rev().find_map(|line| line.strip_prefix("  File "))?;
    let line = place.strip_prefix(&format!("\"{main}\", line "))?;
    line.trim_end().parse().ok()
}

/// Node: after nothing but its own warnings comes a line with the main program's name and a line number; then a
/// `SyntaxError`; and no frame of the stack is the program's.
fn node(main: &str, stderr: &str) -> Option<u32> {
    let ours = |line: &str| line.is_empty() || line.starts_with("(node:") || line.starts_with("(Use `node ");
    let mut lines = stderr.lines().skip_while(|line| ours(line));
    let place = lines.next()?;
    let number = place.strip_prefix("file://").unwrap_or(place).strip_prefix(main)?.strip_prefix(':')?;
    let number = number.parse().ok()?;
    lines.clone().find(|line| line.starts_with("SyntaxError: ") || line.starts_with("SyntaxError ["))?;
    let mut frames = lines.clone().filter(|line| line.starts_with("    at ")).peekable();
    let uncaught = lines.any(|line| line.starts_with("Node.js v"));
    // Our bootstrap tells a failed compilation without frames and without Node's last line.
    if frames.peek().is_none() && uncaught {
        return None;
    }
    frames.all(|frame| frame.contains("node:")).then_some(number)
}

/// Without terminal colours, which `FORCE_COLOR` brings into pipes.
fn without_colour(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        rest = rest.strip_prefix(|c: char| c.is_ascii_alphabetic()).unwrap_or(rest);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
#[path = "syntax_tests.rs"]
mod tests;
