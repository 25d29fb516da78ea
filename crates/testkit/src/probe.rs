//! Running commands at the waist, for trials that look closer than the facade does.

use crate::check::{Failure, Outcome};
use crate::context::{Context, soon, until};
use computesdk::Sandbox;
use computesdk_core::{ExecOptions, ExitStatus, Process, Result};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A process's end and all of its output.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text, without the last newline.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end_matches('\n').to_owned()
    }

    /// Standard error as text.
    pub(crate) fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// `sh -c script`, to be changed further before it is run.
pub(crate) fn sh(script: impl Into<String>) -> ExecOptions {
    ExecOptions::new(["sh".to_owned(), "-c".to_owned(), script.into()])
}

/// Starts a process.
pub(crate) async fn start(sandbox: &Sandbox, options: ExecOptions) -> Result<Arc<dyn Process>> {
    sandbox.as_core().exec(options).await
}

/// Runs a process with nothing on its input and collects everything; the error is the provider's.
pub(crate) async fn exec(sandbox: &Sandbox, options: ExecOptions) -> Result<Output> {
    let process = start(sandbox, options).await?;
    drop(process.take_stdin());
    finish(process.as_ref()).await
}

/// Runs a shell script that must succeed, and returns what it printed.
pub(crate) async fn script(sandbox: &Sandbox, text: impl Into<String>) -> Outcome<String> {
    let text = text.into();
    let output = soon(&text, exec(sandbox, sh(text.as_str()))).await??;
    ensure!(output.status.success(), "`{text}` ended with {:?}: {}", output.status.cause, output.error_text());
    Ok(output.text())
}

/// The rest of a process's output, and its end.
pub(crate) async fn finish(process: &dyn Process) -> Result<Output> {
    let (stdout, stderr) = (process.take_stdout(), process.take_stderr());
    let (stdout, stderr, status) = tokio::join!(read_all(stdout), read_all(stderr), process.wait());
    Ok(Output { status: status?, stdout, stderr })
}

/// Runs a process with these bytes on its input.
pub(crate) async fn feed(sandbox: &Sandbox, options: ExecOptions, input: &[u8]) -> Outcome<Output> {
    let process = start(sandbox, options).await?;
    let mut stdin = process.take_stdin().ok_or_else(|| Failure::new("a piped standard input is not there"))?;
    let write = async {
        // A reader that is gone is the process's own business; its status tells.
        let _ = stdin.write_all(input).await;
        let _ = stdin.shutdown().await;
        drop(stdin);
    };
    let ((), output) = tokio::join!(write, finish(process.as_ref()));
    Ok(output?)
}

async fn read_all(stream: Option<computesdk_core::BoxRead>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // What came before an error is still what the trial compares.
        let _ = stream.read_to_end(&mut bytes).await;
    }
    bytes
}

/// Reads exactly one line, without its end.
pub(crate) async fn line(stream: &mut computesdk_core::BoxRead) -> Outcome<String> {
    let mut bytes = Vec::new();
    soon("a line of output", async {
        loop {
            match stream.read_u8().await {
                Ok(b'\n') => return Ok(()),
                Ok(byte) => bytes.push(byte),
                Err(error) => return Err(error),
            }
        }
    })
    .await??;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\r').to_owned())
}

/// Waits until no process with this id is left in the sandbox (a zombie that nobody reaped counts as gone).
pub(crate) async fn gone(sandbox: &Sandbox, pid: &str) -> Outcome {
    until(&format!("process {pid} is gone"), || async {
        let state = format!("grep -s '^State:' /proc/{pid}/status || true");
        let state = script(sandbox, state).await?;
        Ok(state.is_empty() || state.contains('Z') || state.contains('X'))
    })
    .await
}

/// Which of these programs the default image has. If that cannot be found out, all of them: then their trials fail
/// instead of being skipped.
pub(crate) async fn programs(context: Context, asked: BTreeSet<&'static str>) -> BTreeSet<&'static str> {
    if asked.is_empty() {
        return asked;
    }
    let found = look_up(&context, &asked).await;
    let _ = context.clean_up().await;
    found.unwrap_or(asked)
}

async fn look_up(context: &Context, asked: &BTreeSet<&'static str>) -> Outcome<BTreeSet<&'static str>> {
    let sandbox = soon("a sandbox", context.sandbox()).await??;
    let mut found = BTreeSet::new();
    for program in asked {
        if soon("looking it up", exec(&sandbox, sh(format!("command -v {program}")))).await??.status.success() {
            found.insert(*program);
        }
    }
    Ok(found)
}
