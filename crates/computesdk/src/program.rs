//! A program's source in a sandbox: where it lies, how it is started, how it is removed.

use crate::run::Output;
use computesdk_core::{Error, ErrorKind, ExecOptions, ExitCause, Files, OpenMode, Result, Runtime};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Handle;

/// The environment variable with the path of the inputs.
const INPUTS: &str = "COMPUTESDK_INPUTS";

/// What is written for one run.
pub(crate) struct Source<'a> {
    pub(crate) code: &'a [u8],
    pub(crate) inputs: Option<&'a [u8]>,
}

/// The directory of one run; removed on drop unless that was done before.
#[derive(Debug)]
pub(crate) struct Program {
    files: Arc<dyn Files>,
    runtime: Runtime,
    directory: String,
    main: String,
    present: AtomicBool,
}

impl Program {
    /// A fresh place; nothing is written yet.
    pub(crate) fn new(files: Arc<dyn Files>, runtime: Runtime) -> Self {
        let directory = format!("/tmp/.computesdk-run-{:016x}", unique());
        let main = format!("{directory}/{}", if runtime == Runtime::Python { "main.py" } else { "main.js" });
        Self { files, runtime, directory, main, present: AtomicBool::new(false) }
    }

    pub(crate) fn runtime(&self) -> Runtime {
        self.runtime
    }

    /// The path of the main program.
    pub(crate) fn main(&self) -> &str {
        &self.main
    }

    /// Puts interpreter, bootstrap and path before the program's own arguments.
    pub(crate) fn set_command(&self, options: &mut ExecOptions, with_inputs: bool) {
        let start: &[&str] = match self.runtime {
            Runtime::Python => &["python3", "-c", include_str!("boot.py"), &self.main],
            Runtime::Node => &["node", "-e", include_str!("boot.js"), "--", &self.main],
        };
        options.argv.splice(0..0, start.iter().map(|&word| word.to_owned()));
        if with_inputs {
            options.env.insert(INPUTS.to_owned(), self.inputs_path());
        }
    }

    /// Writes the program and its inputs.
    pub(crate) async fn write(&self, source: Source<'_>) -> Result<()> {
        self.present.store(true, Ordering::Relaxed);
        self.write_file(&self.main, source.code).await?;
        match source.inputs {
            Some(inputs) => self.write_file(&self.inputs_path(), inputs).await,
            None => Ok(()),
        }
    }

    /// Removes what was written, as well as it goes: a sandbox that has ended has no files to remove.
    pub(crate) async fn remove(&self) {
        if self.present.swap(false, Ordering::Relaxed) {
            let _ = self.files.remove(&self.directory).await;
        }
    }

    fn inputs_path(&self) -> String {
        format!("{}/inputs.json", self.directory)
    }

    async fn write_file(&self, path: &str, content: &[u8]) -> Result<()> {
        const OPERATION: &str = "sandbox.run_code";
        let fail = |kind, reason: String| {
            Error::new(kind, OPERATION, format!("Failed to write file {path}: {reason}")).with_context("path", path)
        };
        // Readable by whatever user the program runs as.
        let opened = self.files.open(path, OpenMode::Write, Some(0o644)).await;
        let mut file = opened.map_err(|error| match error.kind() {
            // Directories are made, so nothing but the sandbox can be missing: that alone is what the caller can use.
            ErrorKind::NotFound => error,
            kind => fail(kind, error.to_string()).with_source(error),
        })?;
        let written = async {
            file.write_all(content).await?;
            file.shutdown().await
        };
        written.await.map_err(|error| fail(ErrorKind::Unexpected, error.to_string()).with_source(error))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let (true, Ok(handle)) = (self.present.load(Ordering::Relaxed), Handle::try_current()) {
            let (files, directory) = (Arc::clone(&self.files), std::mem::take(&mut self.directory));
            handle.spawn(async move {
                // Nobody is left to be told.
                let _ = files.remove(&directory).await;
            });
        }
    }
}

/// The error of a run whose interpreter could not be started.
pub(crate) fn missing(runtime: Runtime, output: &Output) -> Option<Error> {
    let (program, what, image) = match runtime {
        Runtime::Python => ("python3", "Python 3", "python:3.13-slim"),
        Runtime::Node => ("node", "Node.js", "node:20-slim"),
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    let untold = || {
        // Providers that know no more than the code, as a shell would tell it.
        output.stdout.is_empty()
            && stderr.lines().count() == 1
            && stderr.contains(program)
            && ["not found", "no such file"].iter().any(|text| stderr.to_lowercase().contains(text))
    };
    let reason = match output.status.cause {
        ExitCause::NotStarted { .. } => stderr.trim().to_owned(),
        ExitCause::Exited { code: 127 } if untold() => stderr.trim().to_owned(),
        _ => return None,
    };
    let message = if reason.is_empty() {
        format!("{what} code needs `{program}`, which this sandbox does not have")
    } else {
        format!("{what} code needs `{program}`, which this sandbox cannot start: {reason}")
    };
    Some(
        Error::new(ErrorKind::FailedPrecondition, "sandbox.run_code", message)
            .with_context("interpreter", program)
            .with_context("exit_code", output.status.code().to_string())
            .with_hint(format!(
                "create the sandbox from an image with `{program}` on its PATH, such as `{image}`; on `local`, whose \
                 default image is this machine's own /usr, install {what} on this machine"
            )),
    )
}

/// A number that no other run in the same sandbox has, whichever process started it.
fn unique() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Seeded by the system's randomness, anew for each process.
    RandomState::new().hash_one((COUNT.fetch_add(1, Ordering::Relaxed), std::process::id(), std::time::Instant::now()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use computesdk_core::{ExitStatus, StartFailure};

    fn output(cause: ExitCause, stderr: &str) -> Output {
        Output {
            status: ExitStatus { cause },
            stdout: Vec::new(),
            stderr: stderr.into(),
            usage: computesdk_core::Usage::default(),
        }
    }

    #[test]
    fn a_missing_interpreter_is_named() {
        let not_found = ExitCause::NotStarted { reason: StartFailure::NotFound };
        let error = missing(Runtime::Node, &output(not_found, "node: not found\n")).unwrap();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(error.to_string().contains("`node`") && error.hint().unwrap().contains("Node.js"), "{error}");
        let exit = ExitCause::Exited { code: 127 };
        assert!(missing(Runtime::Python, &output(exit, "sh: 1: python3: not found\n")).is_some());
        assert!(missing(Runtime::Python, &output(exit, "my own message\n")).is_none());
        assert!(missing(Runtime::Python, &output(ExitCause::Exited { code: 1 }, "python3: not found")).is_none());
    }

    #[test]
    fn numbers_differ() {
        let numbers: std::collections::HashSet<_> = (0..1000).map(|_| unique()).collect();
        assert_eq!(numbers.len(), 1000);
    }
}
