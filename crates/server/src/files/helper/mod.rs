//! The helper program that newer clients exec in the sandbox, answered without one: no program has to be there, and it works over any
//! provider.
//!
//! [`start`] gives what looks like its process: the operation is the one argument, in JSON; content goes through standard input and
//! output; a failure is one JSON object on standard error and exit code 1. Every stream is bounded and waits for its other side. The
//! operation ends when it is done, with a signal, or when nobody is left at its streams. Its end is known before its streams close, so
//! who is refused a write finds a process that has ended.

mod call;
mod run;

use super::pipe::{Reader, ReaderGone, Writer, pipe};
use call::Call;
use computesdk_core::{
    BoxRead, BoxWrite, Error, ErrorKind, ExitCause, ExitStatus, Files, Process, ProcessId, PtySize, Result, Signal,
    Usage, async_trait,
};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Where clients expect the program.
pub(crate) const HELPER: &str = "/__modal/.bin/modal-sandbox-fs-tools";

/// The number after the last signal of Linux (`signal(7)`).
const SIGNALS: i32 = 65;
/// Signals that end nothing unless a program asks for them: CHLD, CONT, URG, WINCH.
const HARMLESS: [i32; 4] = [17, 18, 23, 28];

/// A process that is none: an operation on files with the stdio and the exit code that the helper program would have.
/// `arguments` are those after the program.
pub(crate) fn start(files: Arc<dyn Files>, id: ProcessId, arguments: &[String]) -> Arc<dyn Process> {
    let (stdin, stdin_end, _) = pipe();
    let (stdout_end, stdout, stdout_gone) = pipe();
    let (stderr_end, stderr, _) = pipe();
    let (signal, signalled) = watch::channel(None);
    let (end, ended) = watch::channel(None);
    let mut ends = Ends { stdin: stdin_end, stdout: stdout_end, stdout_gone: Some(stdout_gone), stderr: stderr_end };
    let call = Call::parse(arguments);
    tokio::spawn(async move {
        let cause = tokio::select! {
            biased;
            signal = first(signalled) => ExitCause::Signalled { signal },
            cause = run::run(files.as_ref(), call, &mut ends) => cause,
        };
        end.send_replace(Some(ExitStatus { cause }));
        drop(ends);
    });
    Arc::new(Helper {
        id,
        stdin: Mutex::new(Some(Box::new(stdin))),
        stdout: Mutex::new(Some(Box::new(stdout))),
        stderr: Mutex::new(Some(Box::new(stderr))),
        signal,
        ended,
    })
}

/// The signal that is sent first; never, if none can be sent any more.
async fn first(mut signalled: watch::Receiver<Option<i32>>) -> i32 {
    match signalled.wait_for(Option::is_some).await.map(|signal| *signal) {
        Ok(Some(signal)) => signal,
        _ => std::future::pending().await,
    }
}

struct Helper {
    id: ProcessId,
    stdin: Mutex<Option<BoxWrite>>,
    stdout: Mutex<Option<BoxRead>>,
    stderr: Mutex<Option<BoxRead>>,
    signal: watch::Sender<Option<i32>>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl std::fmt::Debug for Helper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Helper").field("id", &self.id).field("ended", &*self.ended.borrow()).finish_non_exhaustive()
    }
}

fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[async_trait]
impl Process for Helper {
    fn id(&self) -> &ProcessId {
        &self.id
    }

    fn take_stdin(&self) -> Option<BoxWrite> {
        take(&self.stdin)
    }

    fn take_stdout(&self) -> Option<BoxRead> {
        take(&self.stdout)
    }

    fn take_stderr(&self) -> Option<BoxRead> {
        take(&self.stderr)
    }

    async fn resize(&self, _size: PtySize) -> Result<()> {
        Err(Error::new(ErrorKind::FailedPrecondition, "process.resize", "the process has no terminal"))
    }

    async fn signal(&self, signal: Signal) -> Result<()> {
        if !(1..SIGNALS).contains(&signal.0) {
            return Err(Error::invalid("process.signal", "signal", format_args!("{} is no signal", signal.0)));
        }
        if !HARMLESS.contains(&signal.0) {
            self.signal.send_if_modified(|sent| {
                let is_first = sent.is_none();
                sent.get_or_insert(signal.0);
                is_first
            });
        }
        Ok(())
    }

    async fn wait(&self) -> Result<ExitStatus> {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await.map(|status| *status) {
            Ok(Some(status)) => Ok(status),
            _ => Err(Error::new(ErrorKind::Unexpected, "process.wait", "an operation on files was lost")),
        }
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(Usage::default())
    }
}

/// The operation's ends of the streams.
struct Ends {
    stdin: Reader,
    stdout: Writer,
    stdout_gone: Option<ReaderGone>,
    stderr: Writer,
}
