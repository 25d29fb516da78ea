//! What an execution gave.

use computesdk_core::{Error, ErrorKind, ExitCause, ExitStatus, Result, SandboxId, Usage};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a command or a program wrote, and how it ended. A failure of the command is data here, not an error.
///
/// Serialises as `stdout`, `stderr`, `exitCode`, `executionTime` (milliseconds, a number above 0), `sandboxId`,
/// `provider`, and `usage` where something is known of it. If it did not end by a plain exit, `cause` is added
/// (`signalled` with `signal`, `timedOut`, `outOfMemory`, `processLimit`, `diskFull`, `notStarted` with `reason`,
/// `sandboxEnded`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Wire", from = "Wire")]
#[non_exhaustive]
pub struct ExecutionResult {
    /// Standard output as text; bytes that are not UTF-8 are shown as U+FFFD.
    pub stdout: String,
    /// Standard error as text; bytes that are not UTF-8 are shown as U+FFFD.
    pub stderr: String,
    /// The code a shell would report: 128+N for signal N, 124 for a time limit, 126 or 127 if it was not started.
    pub exit_code: i32,
    /// Wall-clock time from the call to the result, never zero.
    pub execution_time: Duration,
    /// The sandbox it ran in.
    pub sandbox_id: SandboxId,
    /// The provider of that sandbox.
    pub provider: String,
    /// How it ended, with its cause.
    pub status: ExitStatus,
    /// What it used.
    pub usage: Usage,
    // Kept only where the text above lost something.
    raw_stdout: Option<Vec<u8>>,
    raw_stderr: Option<Vec<u8>>,
}

impl ExecutionResult {
    pub(crate) fn new(
        (sandbox_id, provider): (SandboxId, String),
        status: ExitStatus,
        (stdout, stderr): (Vec<u8>, Vec<u8>),
        execution_time: Duration,
        usage: Usage,
    ) -> Self {
        let (stdout, raw_stdout) = text(stdout);
        let (stderr, raw_stderr) = text(stderr);
        Self {
            stdout,
            stderr,
            exit_code: status.code(),
            execution_time: execution_time.max(Duration::from_nanos(1)),
            sandbox_id,
            provider,
            status,
            usage,
            raw_stdout,
            raw_stderr,
        }
    }

    /// Standard output, byte for byte.
    #[must_use]
    pub fn stdout_bytes(&self) -> &[u8] {
        self.raw_stdout.as_deref().unwrap_or(self.stdout.as_bytes())
    }

    /// Standard error, byte for byte.
    #[must_use]
    pub fn stderr_bytes(&self) -> &[u8] {
        self.raw_stderr.as_deref().unwrap_or(self.stderr.as_bytes())
    }

    /// Whether it exited with code 0.
    #[must_use]
    pub const fn success(&self) -> bool {
        self.status.success()
    }

    /// Whether its time limit ended it; its output up to then is here.
    #[must_use]
    pub const fn timed_out(&self) -> bool {
        matches!(self.status.cause, ExitCause::TimedOut)
    }

    /// Standard output, read as one JSON value.
    ///
    /// # Errors
    /// `InvalidArgument` if it is not JSON for a `T`; context `stderr` and `exit_code` tell what the program did.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(self.stdout_bytes()).map_err(|error| {
            Error::new(
                ErrorKind::InvalidArgument,
                "result.json",
                format!("stdout is not the expected JSON: {error} (exit code {})", self.exit_code),
            )
            .with_provider(&self.provider)
            .with_context("exit_code", self.exit_code.to_string())
            .with_context("stderr", &self.stderr)
            .with_source(error)
        })
    }
}

fn text(bytes: Vec<u8>) -> (String, Option<Vec<u8>>) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let bytes = error.into_bytes();
            (String::from_utf8_lossy(&bytes).into_owned(), Some(bytes))
        }
    }
}

/// The form in JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    stdout: String,
    stderr: String,
    exit_code: i32,
    execution_time: f64,
    sandbox_id: SandboxId,
    provider: String,
    #[serde(default, skip_serializing_if = "Usage::is_unknown")]
    usage: Usage,
    #[serde(flatten)]
    status: Option<WireStatus>,
}

/// The cause without its code, which stands in `exitCode`.
#[derive(Serialize, Deserialize)]
struct WireStatus {
    cause: String,
    #[serde(flatten)]
    details: serde_json::Map<String, serde_json::Value>,
}

impl WireStatus {
    fn of(status: ExitStatus) -> Option<Self> {
        if matches!(status.cause, ExitCause::Exited { .. }) {
            return None;
        }
        let mut value = serde_json::to_value(status).ok()?;
        value.as_object_mut()?.remove("code");
        serde_json::from_value(value).ok()
    }

    fn status(mut self, exit_code: i32) -> Option<ExitStatus> {
        self.details.insert(String::from("code"), exit_code.into());
        serde_json::from_value(serde_json::to_value(self).ok()?).ok()
    }
}

impl From<ExecutionResult> for Wire {
    fn from(result: ExecutionResult) -> Self {
        // Whole microseconds: no digits that were never measured, and never 0.
        let micros = (result.execution_time.as_secs_f64() * 1e6).round().max(1.0);
        Self {
            stdout: result.stdout,
            stderr: result.stderr,
            exit_code: result.exit_code,
            execution_time: micros / 1e3,
            sandbox_id: result.sandbox_id,
            provider: result.provider,
            usage: result.usage,
            status: WireStatus::of(result.status),
        }
    }
}

impl From<Wire> for ExecutionResult {
    fn from(wire: Wire) -> Self {
        let millis = if wire.execution_time.is_finite() { wire.execution_time.max(0.0) } else { 0.0 };
        Self {
            exit_code: wire.exit_code,
            execution_time: Duration::try_from_secs_f64(millis / 1e3).unwrap_or(Duration::MAX),
            sandbox_id: wire.sandbox_id,
            provider: wire.provider,
            status: wire
                .status
                .and_then(|status| status.status(wire.exit_code))
                .unwrap_or(ExitStatus::exited(wire.exit_code)),
            usage: wire.usage,
            stdout: wire.stdout,
            stderr: wire.stderr,
            raw_stdout: None,
            raw_stderr: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use computesdk_core::StartFailure;

    fn result(cause: ExitCause, stdout: &[u8]) -> ExecutionResult {
        ExecutionResult::new(
            (SandboxId::new("sb-1"), "local".into()),
            ExitStatus { cause },
            (stdout.to_vec(), b"warn\n".to_vec()),
            Duration::from_micros(1_234_567),
            Usage::default(),
        )
    }

    #[test]
    fn json_has_the_keys_of_the_javascript_sdk() {
        let json = serde_json::to_string(&result(ExitCause::Exited { code: 3 }, b"hi\n")).unwrap();
        assert_eq!(
            json,
            r#"{"stdout":"hi\n","stderr":"warn\n","exitCode":3,"executionTime":1234.567,"sandboxId":"sb-1","provider":"local"}"#
        );
        let back: ExecutionResult = serde_json::from_str(&json).unwrap();
        assert_eq!(back, result(ExitCause::Exited { code: 3 }, b"hi\n"));
    }

    #[test]
    fn a_cause_is_added_only_when_it_is_not_a_plain_exit() {
        let json = |cause| serde_json::to_value(result(cause, b"")).unwrap();
        assert_eq!(json(ExitCause::Exited { code: 124 }).get("cause"), None);
        assert_eq!(json(ExitCause::TimedOut)["cause"], "timedOut");
        assert_eq!(json(ExitCause::TimedOut)["exitCode"], 124);
        assert_eq!(json(ExitCause::Signalled { signal: 9 })["signal"], 9);
        assert_eq!(json(ExitCause::NotStarted { reason: StartFailure::NotFound })["reason"], "notFound");
        assert_eq!(json(ExitCause::OutOfMemory { code: 137 })["cause"], "outOfMemory");
        assert_eq!(json(ExitCause::OutOfMemory { code: 137 }).get("code"), None);
        for cause in [
            ExitCause::TimedOut,
            ExitCause::Signalled { signal: 9 },
            ExitCause::SandboxEnded,
            ExitCause::OutOfMemory { code: 137 },
            ExitCause::NotStarted { reason: StartFailure::NotFound },
        ] {
            let back: ExecutionResult = serde_json::from_value(json(cause)).unwrap();
            assert_eq!(back.status.cause, cause);
        }
    }

    #[test]
    fn a_time_is_never_zero_and_never_wraps() {
        let time = |duration| {
            let who = (SandboxId::new("sb-1"), String::new());
            let result =
                ExecutionResult::new(who, ExitStatus::exited(0), (Vec::new(), Vec::new()), duration, Usage::default());
            serde_json::to_value(result).unwrap()["executionTime"].as_f64().unwrap()
        };
        assert!(time(Duration::ZERO) > 0.0);
        assert!((time(Duration::from_secs(86_400)) - 86_400_000.0).abs() < 1.0);
    }

    #[test]
    fn bytes_that_are_not_text_are_kept() {
        let result = result(ExitCause::Exited { code: 0 }, b"a\xff\0b");
        assert_eq!(result.stdout, "a\u{fffd}\0b");
        assert_eq!(result.stdout_bytes(), b"a\xff\0b");
        assert_eq!(result.stderr_bytes(), b"warn\n");
    }

    #[test]
    fn json_output_is_parsed_or_explained() {
        let values: Vec<i32> = result(ExitCause::Exited { code: 0 }, b"[1, 2]\n").json().unwrap();
        assert_eq!(values, [1, 2]);
        let error = result(ExitCause::Exited { code: 1 }, b"").json::<Vec<i32>>().unwrap_err();
        assert_eq!(error.context_value("stderr"), Some("warn\n"));
        assert!(error.to_string().contains("exit code 1"), "{error}");
    }
}
