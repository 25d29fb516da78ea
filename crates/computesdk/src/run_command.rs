//! `run_command`: one program, run to its end or handed out live.

use crate::request::{Request, request_methods};
use crate::run::{self, Streams};
use crate::{Command, ExecutionResult, Sandbox, check};
use computesdk_core::{ExitCause, ExitStatus, PtySize, Result, Stdio, Usage};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::future::IntoFuture;
use std::time::Instant;

/// A command that is not started yet: `.await` runs it to its end, [`RunCommand::spawn`] hands it out live.
///
/// A non-zero exit is a result, and so is a program that does not exist (code 127). Output is returned when it has
/// ended for all who hold it, or 100 ms of silence after the command's own exit: a descendant left in the background
/// does not hold the call up. **Dropping the future kills the command's process group**, so that a call that was
/// cancelled leaves no work behind. It needs a Tokio runtime with its timer enabled.
#[derive(Debug)]
#[must_use = "nothing runs until this is awaited or spawned"]
pub struct RunCommand<'a> {
    request: Request<'a>,
    background: bool,
}

request_methods!(RunCommand);

impl<'a> RunCommand<'a> {
    pub(crate) fn new(sandbox: Sandbox, argv: Vec<String>) -> Self {
        Self { request: Request::new(sandbox, argv), background: false }
    }

    /// Gives it a terminal of this size; all output then comes on standard output.
    pub fn pty(mut self, size: PtySize) -> Self {
        self.request.options.pty = Some(size);
        self
    }

    /// Returns once it is started, with code 0 and no output (code 126 or 127 if it could not be started). It runs
    /// on with its output going nowhere, until it ends or its sandbox does.
    pub fn background(mut self) -> Self {
        self.background = true;
        self
    }

    /// Starts it and returns a handle on its streams. Dropping that handle leaves the command running.
    ///
    /// # Errors
    /// `InvalidArgument` for unusable options, or together with `on_stdout` or `on_stderr`; `NotFound` if the sandbox
    /// has ended.
    pub async fn spawn(self) -> Result<Command> {
        let request = self.request;
        request.refuse_callbacks("on_stdout and on_stderr are for `.await`: read `Command::stdout` after spawn")?;
        check::exec(&request.options)?;
        let started = Instant::now();
        let running = run::start(request.sandbox.as_core(), request.options).await?;
        Ok(Command::new(running, request.sandbox.identity(), started, request.stdin))
    }

    async fn execute(mut self) -> Result<ExecutionResult> {
        if self.background {
            return self.start_in_background().await;
        }
        let request = &mut self.request;
        if request.options.pty.is_some() {
            // A terminal cannot be /dev/null: a command that reads it gets an end of file instead.
            request.stdin.get_or_insert_default();
        }
        request.settle_stdin();
        check::exec(&request.options)?;
        let started = Instant::now();
        let mut running = run::start(request.sandbox.as_core(), std::mem::take(&mut request.options)).await?;
        let process = &*running.process;
        let streams = Streams {
            stdin: request.stdin.take().and_then(|bytes| Some((process.take_stdin()?, bytes))),
            stdout: process.take_stdout(),
            stderr: process.take_stderr(),
            on_stdout: request.on_stdout.take(),
            on_stderr: request.on_stderr.take(),
        };
        let output = run::gather(process, streams).await?;
        running.armed = false;
        let identity = request.sandbox.identity();
        let texts = (output.stdout, output.stderr);
        Ok(ExecutionResult::new(identity, output.status, texts, started.elapsed(), output.usage))
    }

    async fn start_in_background(self) -> Result<ExecutionResult> {
        let mut request = self.request;
        request.refuse_callbacks("runCommand with streaming callbacks does not support background mode.")?;
        request.settle_stdin();
        request.options.stdout = Stdio::Null;
        request.options.stderr = Stdio::Null;
        check::exec(&request.options)?;
        let started = Instant::now();
        let mut running = run::start(request.sandbox.as_core(), request.options).await?;
        running.armed = false;
        if let (Some(bytes), Some(pipe)) = (request.stdin, running.process.take_stdin()) {
            let process = std::sync::Arc::clone(&running.process);
            tokio::spawn(async move {
                let streams = Streams { stdin: Some((pipe, bytes)), ..Streams::default() };
                // Nobody is left to be told.
                let _ = run::gather(&*process, streams).await;
            });
        }
        let status = match running.process.wait().now_or_never() {
            Some(Ok(status)) if matches!(status.cause, ExitCause::NotStarted { .. }) => status,
            _ => ExitStatus::exited(0),
        };
        let identity = request.sandbox.identity();
        let texts = (Vec::new(), Vec::new());
        Ok(ExecutionResult::new(identity, status, texts, started.elapsed(), Usage::default()))
    }
}

impl<'a> IntoFuture for RunCommand<'a> {
    type Output = Result<ExecutionResult>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.execute())
    }
}
