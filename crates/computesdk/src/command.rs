//! A command that runs while its caller looks on.

use crate::ExecutionResult;
use crate::run::{self, Running, Streams};
use computesdk_core::{
    BoxRead, BoxWrite, Error, ErrorKind, ExitStatus, ProcessId, PtySize, Result, SandboxId, Signal, Usage,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::io::AsyncWriteExt as _;

/// A live handle on a started command, from [`RunCommand::spawn`](crate::RunCommand::spawn) or
/// [`RunCode::spawn`](crate::RunCode::spawn).
///
/// Output that is not read yet is kept: on `local` up to 1 GiB of each stream (1 MiB in memory, the rest on disk), then the
/// command waits. Dropping the handle closes its ends of the streams (a command that writes on gets SIGPIPE, as in a shell)
/// and leaves the command running, unless [`Command::kill_on_drop`] was set.
pub struct Command {
    running: Running,
    identity: (SandboxId, String),
    started: Instant,
    // Exclusive, never locked: they make the handle `Sync`, and with it the futures of `&self` methods `Send`.
    stdin: Exclusive<BoxWrite>,
    stdout: Exclusive<BoxRead>,
    stderr: Exclusive<BoxRead>,
}

/// A value that only `&mut self` reaches.
struct Exclusive<T>(Mutex<Option<T>>);

impl<T> Exclusive<T> {
    fn new(value: Option<T>) -> Self {
        Self(Mutex::new(value))
    }

    fn get(&mut self) -> &mut Option<T> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Command {
    /// `input`, if given, is written and standard input then closed.
    pub(crate) fn new(
        mut running: Running,
        identity: (SandboxId, String),
        started: Instant,
        input: Option<Vec<u8>>,
    ) -> Self {
        running.armed = false;
        let process = &running.process;
        let (mut stdin, stdout, stderr) = (process.take_stdin(), process.take_stdout(), process.take_stderr());
        if let Some(input) = input
            && let Some(pipe) = stdin.take()
        {
            let process = Arc::clone(process);
            tokio::spawn(async move {
                let streams = Streams { stdin: Some((pipe, input)), ..Streams::default() };
                // A command that does not read its input is no error.
                let _ = run::gather(&*process, streams).await;
            });
        }
        let (stdin, stdout, stderr) = (Exclusive::new(stdin), Exclusive::new(stdout), Exclusive::new(stderr));
        Self { running, identity, started, stdin, stdout, stderr }
    }

    /// The id of its process.
    #[must_use]
    pub fn id(&self) -> &ProcessId {
        self.running.process.id()
    }

    /// Kills its process group when the handle is dropped before [`Command::wait_with_output`] has returned.
    /// Default: no. The drop needs a Tokio runtime, and does not wait.
    pub fn kill_on_drop(&mut self, kill: bool) {
        self.running.armed = kill;
    }

    /// Its standard input, once; `None` if taken or closed, or if the input was given beforehand.
    pub fn stdin(&mut self) -> Option<BoxWrite> {
        self.stdin.get().take()
    }

    /// Its standard output, once; `None` if taken. With a terminal, all output.
    pub fn stdout(&mut self) -> Option<BoxRead> {
        self.stdout.get().take()
    }

    /// Its standard error, once; `None` if taken, or with a terminal.
    pub fn stderr(&mut self) -> Option<BoxRead> {
        self.stderr.get().take()
    }

    /// Writes to its standard input, waiting until the command takes it.
    ///
    /// # Errors
    /// `FailedPrecondition` if the input is closed or taken; `Unavailable` if the command does not read any more.
    pub async fn write_stdin(&mut self, bytes: impl AsRef<[u8]> + Send) -> Result<()> {
        const OPERATION: &str = "process.write_stdin";
        let Some(stdin) = self.stdin.get() else {
            return Err(Error::new(ErrorKind::FailedPrecondition, OPERATION, "stdin is closed or taken"));
        };
        let write = async {
            stdin.write_all(bytes.as_ref()).await?;
            stdin.flush().await
        };
        write.await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, OPERATION, format!("writing stdin: {error}")).with_source(error)
        })
    }

    /// Ends its standard input: the command reads an end of file. Doing so twice is fine.
    pub async fn close_stdin(&mut self) {
        if let Some(mut stdin) = self.stdin.get().take() {
            // The command may have ended: then it is closed all the same.
            let _ = stdin.shutdown().await;
        }
    }

    /// Sends a signal to its process group. One that has ended is not an error.
    ///
    /// # Errors
    /// `InvalidArgument` for a number that is no signal.
    pub async fn signal(&self, signal: Signal) -> Result<()> {
        self.running.process.signal(signal).await
    }

    /// Kills its process group.
    ///
    /// # Errors
    /// If the provider could not be asked.
    pub async fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL).await
    }

    /// Changes the size of its terminal.
    ///
    /// # Errors
    /// `FailedPrecondition` if it has none.
    pub async fn resize(&self, size: PtySize) -> Result<()> {
        self.running.process.resize(size).await
    }

    /// Returns when it has ended; any number of times. Output may still be unread then.
    ///
    /// # Errors
    /// If the provider could not be asked.
    pub async fn wait(&self) -> Result<ExitStatus> {
        self.running.process.wait().await
    }

    /// What it used; of a running one, what is known.
    ///
    /// # Errors
    /// If the provider could not be asked.
    pub async fn usage(&self) -> Result<Usage> {
        self.running.process.usage().await
    }

    /// Closes its standard input, reads what was not taken of its output, and returns when it has ended.
    /// Dropping the future kills it only after [`Command::kill_on_drop`].
    ///
    /// # Errors
    /// If the provider could not be asked, or went away.
    pub async fn wait_with_output(mut self) -> Result<ExecutionResult> {
        self.close_stdin().await;
        let streams =
            Streams { stdout: self.stdout.get().take(), stderr: self.stderr.get().take(), ..Streams::default() };
        let output = run::gather(&*self.running.process, streams).await?;
        self.running.armed = false;
        let texts = (output.stdout, output.stderr);
        let time = self.started.elapsed();
        Ok(ExecutionResult::new(self.identity.clone(), output.status, texts, time, output.usage))
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command").field("id", self.id()).field("sandbox", &self.identity.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_and_its_futures_go_to_other_tasks() {
        fn is_send<T: Send>(_: &T) {}
        fn check(command: &mut Command) {
            fn is_sync<T: Send + Sync>(_: &T) {}
            is_sync(command);
            is_send(&command.kill());
            is_send(&command.wait());
            is_send(&command.resize(PtySize::default()));
            is_send(&command.write_stdin(b"x"));
        }
        // Compiling it is the test.
        let _: fn(&mut Command) = check;
    }
}
