//! Waiting until what a sandbox is for can be used.

use crate::run::{self, Running};
use crate::{IntoArgs, Sandbox, check};
use computesdk_core::{BoxRead, EndCause, Error, ErrorKind, ExecOptions, ExitCause, ExitStatus, Result, Stdio};
use futures_util::future::{Either, select};
use std::fmt;
use std::pin::pin;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, timeout};

const OPERATION: &str = "sandbox.wait_until_ready";
/// One attempt that takes longer has failed: a server that hangs at its start may answer the next one.
const ATTEMPT: Duration = Duration::from_secs(10);
/// How long the cause may take to be known once a call has said that the sandbox has ended.
const CAUSE: Duration = Duration::from_secs(1);
/// As much of the end of a command's standard error is told.
const SAID: usize = 200;

/// When a sandbox counts as ready, for [`Sandbox::wait_until_ready`].
///
/// ```
/// use computesdk::Probe;
/// use std::time::Duration;
///
/// let server = Probe::tcp(8080).deadline(Duration::from_secs(10));
/// let database = Probe::exec(["pg_isready", "-q"]).interval(Duration::from_millis(500));
/// # let _ = (server, database);
/// ```
#[derive(Debug, Clone)]
#[must_use = "it is for `Sandbox::wait_until_ready`"]
pub struct Probe {
    what: What,
    interval: Duration,
    deadline: Duration,
}

#[derive(Debug, Clone)]
enum What {
    Tcp(u16),
    Exec(Vec<String>),
}

impl Probe {
    /// Ready when something in the sandbox takes a TCP connection on this port, which is then closed at once. The port need
    /// not be published.
    pub fn tcp(port: u16) -> Self {
        Self::new(What::Tcp(port))
    }

    /// Ready when this command, program first and without a shell, exits with code 0. Each attempt runs it anew.
    pub fn exec(argv: impl IntoArgs) -> Self {
        Self::new(What::Exec(argv.into_args()))
    }

    fn new(what: What) -> Self {
        Self { what, interval: Duration::from_millis(100), deadline: Duration::from_secs(60) }
    }

    /// The pause between two attempts. Default: 100 ms.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// For all attempts together. Default: 60 s; [`Duration::MAX`] is no limit. One attempt takes 10 s at most.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    fn check(&self) -> Result<()> {
        match &self.what {
            What::Tcp(port) => check::port(OPERATION, *port)?,
            What::Exec(argv) => check::exec(&ExecOptions::new(argv.iter()))?,
        }
        if self.deadline.is_zero() {
            return Err(Error::invalid(OPERATION, "deadline", "it is zero; for no limit use `Duration::MAX`"));
        }
        Ok(())
    }

    /// Waits; an end of the sandbox ends it.
    pub(crate) async fn wait(&self, sandbox: &Sandbox) -> Result<Duration> {
        self.check()?;
        let begun = Instant::now();
        let end = pin!(sandbox.wait());
        let ready = pin!(self.ask(sandbox, begun));
        match select(end, ready).await {
            Either::Left((Ok(cause), _)) => Err(self.ended(sandbox, &cause)),
            // Whether it lives cannot be asked; the probe can all the same.
            Either::Left((Err(_), ready)) => ready.await,
            Either::Right((Err(error), end)) if error.kind() == ErrorKind::NotFound => {
                match timeout(CAUSE, end).await {
                    Ok(Ok(cause)) => Err(self.ended(sandbox, &cause).with_source(error)),
                    _ => Err(error),
                }
            }
            Either::Right((result, _)) => result,
        }
    }

    /// Asks until the answer is yes, or the deadline passes.
    async fn ask(&self, sandbox: &Sandbox, begun: Instant) -> Result<Duration> {
        let left = || self.deadline.saturating_sub(begun.elapsed());
        let (mut attempts, mut last) = (0_u64, None);
        while !left().is_zero() {
            attempts += 1;
            let bound = ATTEMPT.min(left());
            match timeout(bound, self.attempt(sandbox)).await {
                Ok(Ok(Answer::Yes)) => return Ok(begun.elapsed()),
                Ok(Ok(Answer::No(why))) => last = Some(why),
                Ok(Err(error)) => return Err(error),
                // The one that the deadline cut short says less than one before it.
                Err(_) if bound == ATTEMPT || last.is_none() => last = Some(format!("no answer within {bound:.1?}")),
                Err(_) => {}
            }
            tokio::time::sleep(self.interval.min(left())).await;
        }
        let times = if attempts == 1 { "1 attempt" } else { &format!("{attempts} attempts") };
        let last = last.unwrap_or_default();
        let text = format!("{} was not ready within {:?}: {times}, the last one: {last}", self.what, self.deadline);
        Err(Error::new(ErrorKind::Timeout, OPERATION, text)
            .with_provider(sandbox.provider())
            .with_context("sandbox", sandbox.sandbox_id())
            .with_context("attempts", attempts.to_string()))
    }

    async fn attempt(&self, sandbox: &Sandbox) -> Result<Answer> {
        let answer = match &self.what {
            What::Tcp(port) => sandbox.as_core().connect(*port).await.map(|_closed| Answer::Yes),
            What::Exec(argv) => exec(sandbox, argv).await,
        };
        answer.or_else(|error| match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::QuotaExceeded => {
                Ok(Answer::No(with_cause(&error)))
            }
            _ => Err(error),
        })
    }

    fn ended(&self, sandbox: &Sandbox, cause: &EndCause) -> Error {
        let id = sandbox.sandbox_id();
        let text = format!("{} never was ready: sandbox {id} has ended: {cause}", self.what);
        Error::new(ErrorKind::NotFound, OPERATION, text).with_provider(sandbox.provider()).with_context("sandbox", id)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "port {port}"),
            Self::Exec(argv) => write!(f, "`{}`", argv.join(" ")),
        }
    }
}

/// The message with its cause, on one line.
fn with_cause(error: &Error) -> String {
    let text = error.to_string();
    match std::error::Error::source(error).map(ToString::to_string) {
        Some(cause) if !text.contains(&cause) => format!("{text}: {cause}"),
        _ => text,
    }
}

enum Answer {
    Yes,
    No(String),
}

/// Runs the command once. It is killed if this is dropped.
async fn exec(sandbox: &Sandbox, argv: &[String]) -> Result<Answer> {
    let mut options = ExecOptions::new(argv.iter());
    (options.stdin, options.stdout) = (Stdio::Null, Stdio::Null);
    let mut running = run::start(sandbox.as_core(), options).await?;
    let (status, said) = end_of(&running).await?;
    running.armed = false;
    if status.success() {
        return Ok(Answer::Yes);
    }
    let how = match status.cause {
        ExitCause::Signalled { signal } => format!("ended by signal {signal}"),
        _ => format!("exit code {}", status.code()),
    };
    Ok(Answer::No(if said.is_empty() { how } else { format!("{how}, {said}") }))
}

/// How a command ends, and the last line of its standard error. Whatever it writes, little of it is kept.
async fn end_of(running: &Running) -> Result<(ExitStatus, String)> {
    let mut stderr = running.process.take_stderr();
    let mut tail = Vec::new();
    let status = {
        let read = pin!(async {
            while keep_tail(&mut stderr, &mut tail).await {}
            std::future::pending::<()>().await;
        });
        match select(pin!(running.process.wait()), read).await {
            Either::Left((status, _)) => status?,
            Either::Right(((), _)) => unreachable!("it is pending for ever"),
        }
    };
    // What it wrote last, if it failed; a descendant may hold the pipe open, and write for ever.
    for _ in 0..if status.success() { 0 } else { 16 } {
        if !timeout(Duration::from_millis(100), keep_tail(&mut stderr, &mut tail)).await.unwrap_or(false) {
            break;
        }
    }
    let said = String::from_utf8_lossy(&tail);
    let line = said.trim_end().lines().next_back().unwrap_or_default().trim();
    Ok((status, line.chars().flat_map(char::escape_debug).take(SAID).collect()))
}

/// Reads once; whether there may be more.
async fn keep_tail(stream: &mut Option<BoxRead>, tail: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    let Some(open) = stream else { return false };
    match open.read(&mut chunk).await {
        Ok(count @ 1..) => {
            tail.extend_from_slice(&chunk[..count]);
            let surplus = tail.len().saturating_sub(chunk.len());
            tail.drain(..surplus);
            true
        }
        _ => {
            *stream = None;
            false
        }
    }
}
