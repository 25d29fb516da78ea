//! Running one process to its end: start, feed, drain, wait.
//!
//! Everything comfortable ends here, so its three promises are kept once:
//!
//! * Standard input, output, error and the exit are handled in parallel: no amount of output blocks the process.
//! * A process that was started for a call ends with the call: if the future is dropped, its group gets SIGKILL.
//! * After the exit, output is read until its end, or until nothing has come for [`QUIET`] (a descendant may hold the
//!   pipe open for ever), at most [`LINGER`] in all.

use computesdk_core::{
    BoxRead, BoxWrite, Error, ErrorKind, ExecOptions, ExitStatus, Process, Result, Sandbox as CoreSandbox, Signal,
    Usage,
};
use futures_util::future::{Either, select, try_join4};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

/// How long output must be silent after the exit before a descendant that holds it open is left behind.
const QUIET: Duration = Duration::from_millis(100);
/// How long after the exit output of such a descendant is read at most.
const LINGER: Duration = Duration::from_secs(10);
/// EIO: what a terminal reads after its last user has gone.
const TERMINAL_CLOSED: i32 = 5;

/// Receives output as it comes.
pub(crate) type Callback<'a> = Box<dyn FnMut(&[u8]) + Send + 'a>;

/// A started process whose group is killed on drop while it is armed.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Arc<dyn Process>,
    pub(crate) armed: bool,
    handle: Option<Handle>,
}

impl Running {
    fn new(process: Arc<dyn Process>) -> Self {
        Self { process, armed: true, handle: Handle::try_current().ok() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let (true, Some(handle)) = (self.armed, &self.handle) {
            let process = Arc::clone(&self.process);
            handle.spawn(async move {
                // Best effort: it may have ended, and nobody is left to be told.
                let _ = process.signal(Signal::KILL).await;
            });
        }
    }
}

/// Starts a process. Being dropped half-way still leaves nothing running.
pub(crate) async fn start(sandbox: &Arc<dyn CoreSandbox>, options: ExecOptions) -> Result<Running> {
    let (sender, receiver) = oneshot::channel();
    let sandbox = Arc::clone(sandbox);
    // In a task of its own, because a provider's half-done exec cannot be taken back: if nobody waits any more, the
    // process is dropped, and so killed, as soon as it is there.
    let task = tokio::spawn(async move {
        let started = sandbox.exec(options).await.map(Running::new);
        drop(sender.send(started));
    });
    match receiver.await {
        Ok(started) => started,
        Err(_) => Err(match task.await {
            Err(error) if error.is_panic() => {
                Error::new(ErrorKind::Unexpected, "sandbox.exec", "the provider panicked").with_source(error)
            }
            _ => Error::new(ErrorKind::Cancelled, "sandbox.exec", "the runtime is shutting down"),
        }),
    }
}

/// The ends of a process's streams, and who wants to see them live.
#[derive(Default)]
pub(crate) struct Streams<'a> {
    pub(crate) stdin: Option<(BoxWrite, Vec<u8>)>,
    pub(crate) stdout: Option<BoxRead>,
    pub(crate) stderr: Option<BoxRead>,
    pub(crate) on_stdout: Option<Callback<'a>>,
    pub(crate) on_stderr: Option<Callback<'a>>,
}

/// How a process ended and all that it wrote.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) usage: Usage,
}

/// Feeds, drains and waits, all at once.
pub(crate) async fn gather(process: &dyn Process, streams: Streams<'_>) -> Result<Output> {
    let (exit, exited) = watch::channel(false);
    let wait = async {
        let status = process.wait().await?;
        exit.send_replace(true);
        Ok(status)
    };
    let stdout = drain(streams.stdout, exited.clone(), streams.on_stdout);
    let stderr = drain(streams.stderr, exited.clone(), streams.on_stderr);
    let stdin = feed(streams.stdin, exited);
    let (status, stdout, stderr, ()) = try_join4(wait, stdout, stderr, stdin).await?;
    let usage = process.usage().await?;
    Ok(Output { status, stdout, stderr, usage })
}

/// Writes all input and closes it. A process that does not read it, or has ended, is no error.
async fn feed(stdin: Option<(BoxWrite, Vec<u8>)>, mut exited: watch::Receiver<bool>) -> Result<()> {
    if let Some((mut pipe, bytes)) = stdin {
        let write = pin!(async {
            if pipe.write_all(&bytes).await.is_ok() {
                let _ = pipe.shutdown().await;
            }
        });
        let _ = select(write, pin!(exited.wait_for(|exited| *exited))).await;
    }
    Ok(())
}

/// Reads to the end, or to the end of what the process itself can have written.
async fn drain(
    stream: Option<BoxRead>,
    mut exited: watch::Receiver<bool>,
    mut callback: Option<Callback<'_>>,
) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    let Some(mut stream) = stream else { return Ok(all) };
    let mut chunk = vec![0; 64 * 1024];
    let mut last_read: Option<Instant> = None;
    loop {
        let read = match last_read {
            None => match select(pin!(stream.read(&mut chunk)), pin!(exited.wait_for(|exited| *exited))).await {
                Either::Left((read, _)) => read,
                Either::Right(_) => {
                    last_read = Some(Instant::now() + LINGER);
                    continue;
                }
            },
            Some(end) => {
                let patience = QUIET.min(end.saturating_duration_since(Instant::now()));
                match timeout(patience, stream.read(&mut chunk)).await {
                    Ok(read) => read,
                    Err(_) => return Ok(all),
                }
            }
        };
        match read {
            Ok(0) => return Ok(all),
            Ok(count) => {
                if let Some(callback) = &mut callback {
                    callback(&chunk[..count]);
                }
                all.extend_from_slice(&chunk[..count]);
            }
            Err(error) if error.raw_os_error() == Some(TERMINAL_CLOSED) => return Ok(all),
            Err(error) => {
                return Err(Error::new(ErrorKind::Unavailable, "process.read", format!("reading output: {error}"))
                    .with_source(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWrite;

    /// Drains a stream whose process has exited at the start, while `write` writes to it; on a clock of its own.
    async fn after_exit<F: Future<Output = ()>>(
        write: impl FnOnce(Box<dyn AsyncWrite + Unpin>) -> F,
    ) -> (usize, Duration) {
        let (reader, writer) = tokio::io::duplex(64);
        let (_exit, exited) = watch::channel(true);
        let start = Instant::now();
        let drained = drain(Some(Box::new(reader)), exited, None);
        let write = write(Box::new(writer));
        let bytes = match select(pin!(drained), pin!(write)).await {
            Either::Left((bytes, _)) => bytes,
            Either::Right(((), drained)) => drained.await,
        };
        (bytes.unwrap().len(), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_within_100_ms_is_waited_for() {
        let (bytes, time) = after_exit(|mut pipe| async move {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(90)).await;
                pipe.write_all(b"x").await.unwrap();
            }
        })
        .await;
        assert_eq!((bytes, time.as_millis()), (20, 1800));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it() {
        let (bytes, time) = after_exit(|mut pipe| async move {
            pipe.write_all(b"x").await.unwrap();
            tokio::time::sleep(Duration::from_millis(150)).await;
            pipe.write_all(b"too late").await.unwrap();
        })
        .await;
        assert_eq!(bytes, 1);
        assert!((100..110).contains(&time.as_millis()), "{time:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_stops_is_left_behind() {
        let (bytes, time) = after_exit(|mut pipe| async move {
            while pipe.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        assert!((199..=201).contains(&bytes) && (9_900..10_100).contains(&time.as_millis()), "{bytes} {time:?}");
    }
}
