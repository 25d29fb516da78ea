//! Our streams, signals and terminal, tied to a running command until it ends.
//!
//! Only bytes are copied: nothing of ours is ever handed into the sandbox.

use crate::exit::Failure;
use crate::printer::output_failed;
use crate::signals::Signals;
use crate::stdio::read_ready;
use crate::terminal::Terminal;
use computesdk::{BoxRead, Command, ErrorKind, ExitStatus, PtySize, Signal, Usage};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a program may take to end after a signal of ours was passed on to it.
const GRACE: Duration = Duration::from_secs(2);
/// How long output must be silent after the exit before a descendant that holds it open is left behind.
const QUIET: Duration = Duration::from_millis(100);
/// How much may still come after the exit: more than a pipe can hold. Past that, it is a descendant's.
pub(crate) const PIPE: usize = 1 << 20;
/// The same where output is kept on its way: there is no saying how much.
#[cfg(feature = "serve")]
pub(crate) const ANY: usize = usize::MAX;

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// When, with its output.
    pub(crate) at: std::time::Instant,
    /// What it used.
    pub(crate) usage: Usage,
    /// Our standard output was closed before everything was written.
    pub(crate) broken_pipe: bool,
}

/// Copies standard input to the command, in the background, until its end or the command's.
pub(crate) fn feed(command: &mut Command) {
    let Some(mut pipe) = command.stdin() else { return };
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        // An input that is empty, short or not there needs no thread that waits for it.
        while let Some(read) = read_ready(&mut buffer) {
            match read {
                Ok(count @ 1..) if pipe.write_all(&buffer[..count]).await.is_ok() => {}
                // Its end, a fault, or a command that does not read: in each case the command sees the end.
                _ => return,
            }
        }
        let mut stdin = tokio::io::stdin();
        // What cannot be read has ended; a command that does not read is none of our business.
        while let Ok(count @ 1..) = stdin.read(&mut buffer).await {
            if pipe.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
        let _ = pipe.shutdown().await;
    });
}

/// Copies the command's output, and passes signals and sizes on, until it ends. After its exit so many bytes may still come of each stream.
pub(crate) async fn attach(
    mut command: Command,
    (stdout, stderr): (impl AsyncWrite + Unpin, impl AsyncWrite + Unpin),
    signals: &mut Signals,
    mut terminal: Option<Terminal>,
    after_exit: usize,
) -> Result<Ended, Failure> {
    let (exit, exited) = watch::channel(false);
    let stdout = copy(command.stdout(), stdout, exited.clone(), after_exit);
    let stderr = copy(command.stderr(), stderr, exited, after_exit);
    let command = &command;
    let wait = async {
        let status = command.wait().await;
        exit.send_replace(true);
        status
    };
    let end = async {
        let (status, stdout, stderr) = tokio::join!(wait, stdout, stderr);
        let at = std::time::Instant::now();
        let broken_pipe = match stdout.map_err(output_failed) {
            Err(Failure::BrokenPipe) => true,
            other => other.map(|()| false)?,
        };
        // Nobody could be told that standard error cannot be written.
        drop(stderr);
        // What cannot be asked any more is not told.
        let usage = command.usage().await.unwrap_or_default();
        Ok(Ended { status: status?, at, usage, broken_pipe })
    };
    let mut end = std::pin::pin!(end);
    let mut told: Option<(Signal, Instant)> = None;
    loop {
        tokio::select! {
            ended = &mut end => return match told {
                Some((signal, _)) => Err(Failure::Signalled(signal)),
                None => ended,
            },
            signal = signals.next() => {
                if told.is_some() {
                    return Err(Failure::Signalled(signal));
                }
                told = Some((signal, Instant::now() + GRACE));
                match command.signal(signal).await {
                    // It cannot be told: we end without it.
                    Err(error) if error.kind() == ErrorKind::Unsupported => return Err(Failure::Signalled(signal)),
                    other => other?,
                }
            }
            () = until(told) => return Err(Failure::Signalled(told.map_or(Signal::INT, |(signal, _)| signal))),
            size = resized(terminal.as_mut()) => match command.resize(size).await {
                // It keeps the size that it has.
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                other => other?,
            },
        }
    }
}

/// Copies to the end, or to the end of what the program itself can have written.
///
/// If our side is closed, so is the program's: it then gets SIGPIPE, as it would have without us.
async fn copy(
    from: Option<BoxRead>,
    mut to: impl AsyncWrite + Unpin,
    mut exited: watch::Receiver<bool>,
    after_exit: usize,
) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; 64 * 1024];
    let mut left = None;
    loop {
        let count = match left {
            None => tokio::select! {
                // First what is there to be read.
                biased;
                count = from.read(&mut buffer) => count?,
                _ = exited.wait_for(|exited| *exited) => {
                    left = Some(after_exit);
                    continue;
                }
            },
            Some(0) => return Ok(()),
            Some(_) => match timeout(QUIET, from.read(&mut buffer)).await {
                Ok(count) => count?,
                Err(_silent) => return Ok(()),
            },
        };
        if count == 0 {
            return Ok(());
        }
        left = left.map(|left: usize| left.saturating_sub(count));
        to.write_all(&buffer[..count]).await?;
        // Live: whoever looks on sees it now.
        to.flush().await?;
    }
}

async fn until(told: Option<(Signal, Instant)>) {
    match told {
        Some((_, deadline)) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn resized(terminal: Option<&mut Terminal>) -> PtySize {
    match terminal {
        Some(terminal) => terminal.resized().await,
        None => std::future::pending().await,
    }
}
