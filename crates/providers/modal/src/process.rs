//! A process that was started in a sandbox.

use crate::error::{NAME, call_error};
use crate::input::{Input, Target};
use crate::output::{Fd, Output, Progress, Source};
use crate::sandbox::ModalSandbox;
use crate::wire::{Deadline, Router, is_transient};
use computesdk_core::{
    BoxRead, BoxWrite, Error, ErrorKind, ExecOptions, ExitCause, ExitStatus, Process, ProcessId, PtySize, Result,
    Signal, Stdio, Usage, async_trait,
};
use computesdk_modal_proto::client::PtyInfo;
use computesdk_modal_proto::client::pty_info::PtyType;
use computesdk_modal_proto::router::task_exec_wait_response::ExitStatus as WireStatus;
use computesdk_modal_proto::router::{
    TaskExecStartRequest, TaskExecStderrConfig, TaskExecStdinWriteRequest, TaskExecStdoutConfig, TaskExecWaitRequest,
};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;
use tonic::{Code, Status};

/// How long one question for the end of a process may go unanswered; it is then asked again, without end.
const WAIT: Deadline = Deadline(Duration::from_secs(60));
/// How long to wait before asking again after a failure, and how long a router may be out of reach.
const AGAIN: Duration = Duration::from_secs(1);
const OUTAGE: Duration = Duration::from_secs(60);
/// The number after the last signal of Linux (`signal(7)`).
const SIGNALS: i32 = 65;

/// A process, running or ended. Dropping it leaves it alone.
pub(crate) struct ModalProcess {
    id: ProcessId,
    router: Arc<Router>,
    sandbox: Weak<ModalSandbox>,
    started: Instant,
    timeout: Option<Duration>,
    has_terminal: bool,
    stdin: Mutex<Option<Input>>,
    stdout: Mutex<Option<Output>>,
    stderr: Mutex<Option<Output>>,
    progress: [Option<Progress>; 2],
    end: OnceCell<ExitStatus>,
}

impl fmt::Debug for ModalProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModalProcess").field("id", &self.id).field("sandbox", &self.router.sandbox_id).finish()
    }
}

impl ModalProcess {
    /// Starts it. What Modal cannot keep has been refused before.
    pub(crate) async fn start(sandbox: &Arc<ModalSandbox>, options: ExecOptions) -> Result<Self, Status> {
        let router = Arc::clone(&sandbox.router);
        let (id, resumed) = match &options.id {
            Some(id) => (id.as_str().to_owned(), true),
            None => (Router::fresh_id()?, false),
        };
        let timeout = options.timeout.filter(|timeout| *timeout != Duration::MAX);
        let has_terminal = options.pty.is_some();
        let (stdin, stdout, stderr) = (options.stdin, options.stdout, options.stderr);
        let request = TaskExecStartRequest {
            task_id: router.task().await?.to_owned(),
            exec_id: id.clone(),
            command_args: options.argv,
            stdout_config: match stdout {
                Stdio::Null => TaskExecStdoutConfig::Devnull,
                _ => TaskExecStdoutConfig::Pipe,
            }
            .into(),
            stderr_config: match stderr {
                Stdio::Null => TaskExecStderrConfig::Devnull,
                Stdio::Merged => TaskExecStderrConfig::Stdout,
                Stdio::Piped => TaskExecStderrConfig::Pipe,
            }
            .into(),
            timeout_secs: timeout.map(whole_seconds),
            workdir: options.cwd,
            pty_info: options.pty.map(|size| terminal(size, options.env.get("TERM"))),
            env: options.env.into_iter().collect(),
            ..TaskExecStartRequest::default()
        };
        let start = router
            .call(Deadline::SHORT, request, |mut client, request| async move { client.task_exec_start(request).await });
        start.await?;
        let started = Instant::now();
        let output = |fd| Output::open(&router, Source::Exec(id.clone()), fd);
        let stdout = (has_terminal || stdout != Stdio::Null).then(|| output(Fd::Stdout));
        let stderr = (!has_terminal && stderr == Stdio::Piped).then(|| output(Fd::Stderr));
        let stdin = if has_terminal || stdin == Stdio::Piped {
            Some(Input::open(&router, Target::Exec { id: id.clone(), resumed }))
        } else {
            close(&router, id.clone());
            None
        };
        Ok(Self {
            id: ProcessId::new(id),
            router,
            sandbox: Arc::downgrade(sandbox),
            started,
            timeout,
            has_terminal,
            progress: [&stdout, &stderr].map(|output| output.as_ref().map(Output::progress)),
            stdin: Mutex::new(stdin),
            stdout: Mutex::new(stdout),
            stderr: Mutex::new(stderr),
            end: OnceCell::new(),
        })
    }

    /// Its streams, for those who use them here.
    pub(crate) fn streams(&self) -> (Option<Input>, Option<Output>, Option<Output>) {
        (take(&self.stdin), take(&self.stdout), take(&self.stderr))
    }

    /// The error of a call on its sandbox.
    pub(crate) async fn sandbox_error(&self, operation: &'static str, status: Status) -> Error {
        match self.sandbox.upgrade() {
            Some(sandbox) => sandbox.error(operation, status).await,
            None => call_error(operation, status),
        }
    }

    /// The end, once what was written before it is here: whoever is told of it may soon read no more.
    async fn until_end(&self) -> Result<ExitStatus, Status> {
        let status = self.ask_end().await?;
        let exit = tokio::time::Instant::now();
        let caught_up = self.progress.iter().flatten().map(|progress| progress.clone().caught_up(exit));
        futures_util::future::join_all(caught_up).await;
        Ok(status)
    }

    async fn ask_end(&self) -> Result<ExitStatus, Status> {
        let mut silent_since: Option<Instant> = None;
        loop {
            let request = TaskExecWaitRequest {
                task_id: self.router.task().await?.to_owned(),
                exec_id: self.id.as_str().to_owned(),
            };
            let asked = self
                .router
                .poll(WAIT, request, |mut client, request| async move { client.task_exec_wait(request).await });
            let status = match asked.await {
                Ok(answer) => match answer.exit_status {
                    Some(status) => return Ok(self.status(status).await),
                    None => {
                        silent_since = None;
                        continue;
                    }
                },
                // It is gone with its sandbox.
                Err(status) if status.code() == Code::NotFound => match self.sandbox_has_ended().await {
                    true => return Ok(ExitStatus { cause: ExitCause::SandboxEnded }),
                    false => return Err(status),
                },
                Err(status) => status,
            };
            match status.code() {
                // Still running, as far as we know.
                Code::DeadlineExceeded => silent_since = None,
                code if is_transient(code) => {
                    let since = *silent_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > OUTAGE {
                        return Err(status);
                    }
                }
                _ => return Err(status),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn status(&self, status: WireStatus) -> ExitStatus {
        let cause = match status {
            WireStatus::Code(code) => ExitCause::Exited { code },
            // A passed time limit has no status of its own.
            WireStatus::Signal(9) if self.timeout.is_some_and(|timeout| self.started.elapsed() >= timeout) => {
                ExitCause::TimedOut
            }
            WireStatus::Signal(9) if self.sandbox_has_ended().await => ExitCause::SandboxEnded,
            WireStatus::Signal(signal) => ExitCause::Signalled { signal },
        };
        ExitStatus { cause }
    }

    async fn sandbox_has_ended(&self) -> bool {
        match self.sandbox.upgrade() {
            Some(sandbox) => sandbox.poll_end().await.is_ok_and(|end| end.is_some()),
            None => crate::sandbox::ask_end(&self.router, 0.0).await.is_ok_and(|end| end.is_some()),
        }
    }
}

/// Gives a process the end of its input, in the background: its output need not wait for it.
fn close(router: &Arc<Router>, exec_id: String) {
    let way = Arc::clone(router);
    router.runtime.spawn(async move {
        let task_id = way.task().await?.to_owned();
        let request = TaskExecStdinWriteRequest { task_id, exec_id, eof: true, ..TaskExecStdinWriteRequest::default() };
        // One that has ended needs no end of its input.
        way.call(
            Deadline::SHORT,
            request,
            |mut client, request| async move { client.task_exec_stdin_write(request).await },
        )
        .await
    });
}

/// A duration on the wire, rounded up: never shorter than what was asked for.
pub(crate) fn whole_seconds(duration: Duration) -> u32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

fn terminal(size: PtySize, term: Option<&String>) -> PtyInfo {
    PtyInfo {
        enabled: true,
        winsz_rows: size.rows.into(),
        winsz_cols: size.cols.into(),
        env_term: term.map_or("xterm-256color", String::as_str).to_owned(),
        pty_type: PtyType::Shell.into(),
        no_terminate_on_idle_stdin: true,
        ..PtyInfo::default()
    }
}

/// Refuses what Modal has no way for.
pub(crate) fn unsupported(operation: &'static str, what: &str, why: &str) -> Error {
    Error::unsupported(operation, what, why).with_provider(NAME)
}

/// What every process says to a signal: Modal has none.
pub(crate) fn refuse_signal(signal: Signal) -> Error {
    if !(1..SIGNALS).contains(&signal.0) {
        return Error::invalid("process.signal", "signal", format_args!("{} is no signal", signal.0))
            .with_provider(NAME);
    }
    unsupported(
        "process.signal",
        "signal",
        "Modal sends no signals to processes; end the sandbox, or give the process a time limit",
    )
}

/// What every process says to another size of its terminal.
pub(crate) fn refuse_size(has_terminal: bool) -> Error {
    if has_terminal {
        return unsupported("process.resize", "resize", "on Modal a terminal keeps the size that it was started with");
    }
    Error::new(ErrorKind::FailedPrecondition, "process.resize", "the process has no terminal").with_provider(NAME)
}

pub(crate) fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[async_trait]
impl Process for ModalProcess {
    fn id(&self) -> &ProcessId {
        &self.id
    }

    fn take_stdin(&self) -> Option<BoxWrite> {
        take(&self.stdin).map(|stream| Box::new(stream) as BoxWrite)
    }

    fn take_stdout(&self) -> Option<BoxRead> {
        take(&self.stdout).map(|stream| Box::new(stream) as BoxRead)
    }

    fn take_stderr(&self) -> Option<BoxRead> {
        take(&self.stderr).map(|stream| Box::new(stream) as BoxRead)
    }

    async fn resize(&self, _size: PtySize) -> Result<()> {
        Err(refuse_size(self.has_terminal))
    }

    async fn signal(&self, signal: Signal) -> Result<()> {
        match (refuse_signal(signal), self.end.initialized()) {
            // One that has ended is not an error.
            (error, true) if error.kind() == ErrorKind::Unsupported => Ok(()),
            (error, _) => Err(error),
        }
    }

    async fn wait(&self) -> Result<ExitStatus> {
        let asked = self.end.get_or_try_init(|| self.until_end()).await;
        asked.copied().map_err(|status| {
            call_error("process.wait", status).with_context("sandbox", self.router.sandbox_id.as_str())
        })
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(Usage::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        for (duration, seconds) in [(1, 1), (1000, 1), (1001, 2), (1500, 2), (90_000, 90)] {
            assert_eq!(whole_seconds(Duration::from_millis(duration)), seconds);
        }
        assert_eq!(whole_seconds(Duration::MAX - Duration::from_secs(1)), u32::MAX);
    }

    #[test]
    fn signals_are_refused_by_name() {
        assert_eq!(refuse_signal(Signal::KILL).kind(), ErrorKind::Unsupported);
        assert_eq!(refuse_signal(Signal(0)).kind(), ErrorKind::InvalidArgument);
        assert_eq!(refuse_size(false).kind(), ErrorKind::FailedPrecondition);
    }
}
