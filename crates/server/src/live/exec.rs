//! One process in a sandbox, as clients see it: by id, with output that stays, and a status that stays.

use super::input::Input;
use super::output::{Output, Spool};
use bytes::BytesMut;
use computesdk_core::{BoxRead, ExitCause, ExitStatus, Process};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;
use tokio::time::timeout;

/// A process has ended and its output goes on: something that it left behind still holds the pipe. If that says nothing for so long,
/// the output counts as ended, since readers wait for its end.
const SILENCE: Duration = Duration::from_millis(500);
/// Output that nobody has read is kept for so long after the end of its process, whatever room it takes.
const AFTERWARDS: Duration = Duration::from_secs(60);
/// How long the end of a process is kept back for those who follow its output.
const FOLLOWERS: Duration = Duration::from_millis(200);
/// Reads start small, since most processes say little, and grow with what they find.
const SMALL: usize = 4 << 10;
const LARGE: usize = 256 << 10;

/// See the module. Dropping it leaves the process alone.
#[derive(Debug)]
pub(crate) struct Exec {
    process: Arc<dyn Process>,
    stdout: Option<Arc<Output>>,
    stderr: Option<Arc<Output>>,
    stdin: Input,
    status: watch::Receiver<Option<ExitStatus>>,
    ended_at: OnceLock<Instant>,
}

impl Exec {
    /// Takes over a process that was just started: its output is read from now on.
    pub(crate) fn take_over(process: Arc<dyn Process>, spool: &Spool, has_terminal: bool) -> Arc<Self> {
        let (ended, status) = watch::channel(None);
        let pump = |stream: Option<BoxRead>| {
            let stream = stream?;
            let output = Arc::new(Output::new(spool.clone()));
            tokio::spawn(pump(stream, Arc::clone(&output), status.clone()));
            Some(output)
        };
        let stdout = pump(process.take_stdout());
        let stderr = pump(process.take_stderr());
        let stdin = Input::new(process.take_stdin(), has_terminal);
        let exec = Arc::new(Self { process, stdout, stderr, stdin, status, ended_at: OnceLock::new() });
        tokio::spawn({
            let exec = Arc::clone(&exec);
            async move {
                let status = exec.process.wait().await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "the end of a process cannot be told");
                    ExitStatus { cause: ExitCause::SandboxEnded }
                });
                exec.stdin.end();
                let _ = exec.ended_at.set(Instant::now());
                ended.send_replace(Some(status));
            }
        });
        exec
    }

    /// Its standard output, if it was asked for.
    pub(crate) fn stdout(&self) -> Option<&Arc<Output>> {
        self.stdout.as_ref()
    }

    /// Its standard error, if it was asked for and is a stream of its own.
    pub(crate) fn stderr(&self) -> Option<&Arc<Output>> {
        self.stderr.as_ref()
    }

    /// Its standard input.
    pub(crate) fn stdin(&self) -> &Input {
        &self.stdin
    }

    /// How it ended, if it has.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        *self.status.borrow()
    }

    /// Returns when it has ended. Output may still be on its way.
    pub(crate) async fn wait(&self) -> ExitStatus {
        let mut status = self.status.clone();
        match status.wait_for(Option::is_some).await {
            Ok(ended) => ended.unwrap_or(ExitStatus { cause: ExitCause::SandboxEnded }),
            // Whoever waited for the process is gone: the server is stopping.
            Err(_) => ExitStatus { cause: ExitCause::SandboxEnded },
        }
    }

    fn outputs(&self) -> impl Iterator<Item = &Arc<Output>> {
        [&self.stdout, &self.stderr].into_iter().flatten()
    }

    /// How much of its output is in memory.
    pub(crate) fn held(&self) -> u64 {
        self.outputs().map(|output| output.held()).sum()
    }

    /// Whether it has ended, and everybody had what they are likely to want of it.
    pub(crate) fn is_over(&self) -> bool {
        let long_ago = self.ended_at.get().map(|at| at.elapsed() > AFTERWARDS);
        long_ago.is_some_and(|long_ago| long_ago || self.outputs().all(|output| output.is_read()))
    }

    /// Returns when it has ended and those who follow its output have had the end of that, for a moment at most: some clients exit as soon
    /// as they know that it has ended.
    pub(crate) async fn wait_for_followers(&self) -> ExitStatus {
        let status = self.wait().await;
        let followed = async {
            for output in self.outputs() {
                output.unfollowed().await;
            }
        };
        let _ = timeout(FOLLOWERS, followed).await;
        status
    }

    /// Returns when all of its output has come, too.
    pub(crate) async fn drained(&self) {
        self.wait().await;
        for output in self.outputs() {
            output.finished().await;
        }
    }
}

/// Moves what a process writes to where it is kept.
async fn pump(mut stream: BoxRead, output: Arc<Output>, mut status: watch::Receiver<Option<ExitStatus>>) {
    let mut size = SMALL;
    let mut buffer = BytesMut::new();
    let mut has_ended = false;
    loop {
        if buffer.capacity() > 2 * size {
            buffer = BytesMut::new();
        }
        buffer.reserve(size);
        let read = {
            let mut window = (&mut stream).take(size as u64);
            let read = window.read_buf(&mut buffer);
            if output.is_finished() {
                read.await
            } else if has_ended {
                match timeout(SILENCE, read).await {
                    Ok(read) => read,
                    // What comes from here on is thrown away, so that whatever writes it is not stopped.
                    Err(_) => {
                        output.finish();
                        continue;
                    }
                }
            } else {
                tokio::select! {
                    biased;
                    read = read => read,
                    _ = status.wait_for(Option::is_some) => {
                        has_ended = true;
                        continue;
                    }
                }
            }
        };
        match read {
            Ok(0) => break,
            Ok(count) => {
                if count == size {
                    size = (size * 2).min(LARGE);
                } else if count < size / 16 {
                    // A flood is over: what waits for the next one is small again.
                    size = SMALL;
                }
                if output.is_finished() {
                    buffer.clear();
                    continue;
                }
                if let Err(error) = output.push(&mut buffer).await {
                    buffer.clear();
                    tracing::warn!(%error, "output cannot be set aside; the rest of it is lost");
                    output.finish();
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a stream of output broke");
                break;
            }
        }
    }
    output.finish();
}
