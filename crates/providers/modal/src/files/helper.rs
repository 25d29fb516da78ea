//! The helper program: one exec for one operation, its failure as JSON on standard error.

use crate::error::NAME;
use crate::input::Input;
use crate::output::Output;
use crate::process::ModalProcess;
use crate::sandbox::ModalSandbox;
use computesdk_core::{Error, ErrorKind, ExecOptions, Process as _, Result};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Where it is in every sandbox; servers may answer in its place.
const PROGRAM: &str = "/__modal/.bin/modal-sandbox-fs-tools";
/// The most that an operation may tell at once: entries of a directory, an error. Contents of files go by pieces.
const MOST: usize = 64 << 20;

/// Runs operations in one sandbox.
#[derive(Debug, Clone)]
pub(crate) struct Helper {
    pub(crate) sandbox: Arc<ModalSandbox>,
}

/// An operation under way.
#[derive(Debug)]
pub(crate) struct Running {
    process: ModalProcess,
    errors: Option<Output>,
    operation: &'static str,
    path: String,
}

/// What the helper says of a failure.
#[derive(Debug, Deserialize)]
struct Told {
    error_kind: String,
    #[serde(default)]
    message: String,
}

impl Helper {
    /// Starts an operation; its input is open, its output is on its way.
    pub(crate) async fn start(
        &self,
        operation: &'static str,
        path: &str,
        what: &Value,
    ) -> Result<(Running, Input, Output)> {
        self.exec(operation, path, vec![PROGRAM.to_owned(), what.to_string()]).await
    }

    /// Starts a program of the sandbox's own.
    pub(crate) async fn exec(
        &self,
        operation: &'static str,
        path: &str,
        argv: Vec<String>,
    ) -> Result<(Running, Input, Output)> {
        let mut options = ExecOptions::new(argv);
        // What programs say about failures is read: in English.
        options.env.insert(String::from("LC_ALL"), String::from("C"));
        let process = match ModalProcess::start(&self.sandbox, options).await {
            Ok(process) => process,
            Err(status) => return Err(self.sandbox.error(operation, status).await.with_context("path", path)),
        };
        let (input, output, errors) = process.streams();
        let (Some(input), Some(output)) = (input, output) else {
            return Err(Error::new(ErrorKind::Unexpected, operation, "a stream is missing").with_provider(NAME));
        };
        Ok((Running { process, errors, operation, path: path.to_owned() }, input, output))
    }

    /// Runs an operation without input to its end; returns what it told.
    pub(crate) async fn run(&self, operation: &'static str, path: &str, what: &Value) -> Result<Vec<u8>> {
        let (running, input, output) = self.start(operation, path, what).await?;
        drop(input);
        let (told, finished) = tokio::join!(collect(output), running.finish());
        finished?;
        told.map_err(|error| broken(operation, path, error))
    }
}

impl Running {
    /// Waits for the end; a failure is told as the helper tells it.
    pub(crate) async fn finish(self) -> Result<()> {
        self.finish_with(helper_error).await
    }

    /// Waits for the end; a failure is read from the exit code and standard error by `read`.
    pub(crate) async fn finish_with(
        mut self,
        read: impl FnOnce(i32, &str) -> (ErrorKind, String, Option<String>),
    ) -> Result<()> {
        let errors = self.errors.take();
        let errors = async {
            match errors {
                Some(errors) => collect(errors).await.unwrap_or_default(),
                None => Vec::new(),
            }
        };
        let (status, errors) = tokio::join!(self.process.wait(), errors);
        let status = status?;
        if status.success() {
            return Ok(());
        }
        if status.cause == computesdk_core::ExitCause::SandboxEnded {
            let status = tonic::Status::not_found("the sandbox has ended");
            return Err(self.process.sandbox_error(self.operation, status).await.with_context("path", &*self.path));
        }
        let (kind, text, told) = read(status.code(), String::from_utf8_lossy(&errors).trim());
        let error = Error::new(kind, self.operation, text).with_provider(NAME).with_context("path", &*self.path);
        Err(match told {
            Some(told) => error.with_context("error_kind", told),
            None => error,
        })
    }
}

/// The kind and the text of a failure, and the helper's own word for it.
fn helper_error(code: i32, text: &str) -> (ErrorKind, String, Option<String>) {
    let Ok(told) = serde_json::from_str::<Told>(text) else {
        let missing = [126, 127].contains(&code);
        let kind = if missing { ErrorKind::Unsupported } else { ErrorKind::Unexpected };
        let what = if missing { "the sandbox has no helper program for files" } else { "the helper for files failed" };
        return (kind, format!("{what} (exit code {code}): {}", short(text)), None);
    };
    let (kind, words) = match told.error_kind.as_str() {
        "NotFound" => (ErrorKind::NotFound, "no such file or directory"),
        "PermissionDenied" => (ErrorKind::PermissionDenied, "permission denied"),
        "PathAlreadyExists" | "AlreadyExists" => (ErrorKind::AlreadyExists, "a file is in the way"),
        "IsDirectory" => (ErrorKind::InvalidArgument, "it is a directory"),
        "NotDirectory" | "IsFile" => (ErrorKind::InvalidArgument, "it is no directory"),
        "DirectoryNotEmpty" => (ErrorKind::InvalidArgument, "the directory is not empty"),
        "NotSupported" | "InvalidInput" => (ErrorKind::InvalidArgument, "that cannot be done with it"),
        "FileTooLarge" => (ErrorKind::QuotaExceeded, "the file is too large"),
        _ => (ErrorKind::Unexpected, "the helper for files failed"),
    };
    let text = if told.message.is_empty() { words.to_owned() } else { told.message };
    (kind, text, Some(told.error_kind))
}

/// The beginning of what a program said.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(300).collect()
}

/// Everything that comes.
pub(crate) async fn collect(mut output: Output) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(piece) = output.next().await {
        all.extend_from_slice(&piece?);
        if all.len() > MOST {
            return Err(std::io::Error::other("it tells too much"));
        }
    }
    Ok(all)
}

/// The stream of an operation broke.
pub(crate) fn broken(operation: &'static str, path: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, operation, format!("the connection broke: {error}"))
        .with_provider(NAME)
        .with_context("path", path)
        .with_source(error)
}

/// An answer that is none.
pub(crate) fn strange(operation: &'static str, path: &str, error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Unexpected, operation, "the helper for files gave an answer that is none")
        .with_provider(NAME)
        .with_context("path", path)
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_its_kind() {
        let of = |word: &str| helper_error(1, &format!(r#"{{"error_kind":"{word}","message":"m","detail":null}}"#));
        assert_eq!(of("NotFound"), (ErrorKind::NotFound, "m".into(), Some("NotFound".into())));
        assert_eq!(of("IsDirectory").0, ErrorKind::InvalidArgument);
        assert_eq!(of("PathAlreadyExists").0, ErrorKind::AlreadyExists);
        assert_eq!(of("Other").0, ErrorKind::Unexpected);
        let (kind, text, _) = helper_error(1, r#"{"error_kind":"NotFound"}"#);
        assert_eq!((kind, text.as_str()), (ErrorKind::NotFound, "no such file or directory"));
    }

    #[test]
    fn a_sandbox_without_the_helper_is_told() {
        let (kind, text, told) = helper_error(127, "sh: not found");
        assert_eq!((kind, told), (ErrorKind::Unsupported, None));
        assert!(text.contains("no helper program") && text.contains("sh: not found"), "{text}");
        assert_eq!(helper_error(2, "").0, ErrorKind::Unexpected);
    }
}
