//! Processes: running ones, and programs that could not be started.

use crate::error::NAME;
use computesdk_core::{
    BoxRead, BoxWrite, Error, ErrorKind, ExitCause, ExitStatus, Process, ProcessId, PtySize, Result, Signal,
    StartFailure, Usage, async_trait,
};
use computesdk_engine::{Exec, ExecEnd};
use std::io::Cursor;
use std::sync::{Mutex, PoisonError};

/// The number after the last signal of Linux (`signal(7)`).
const SIGNALS: i32 = 65;

#[derive(Debug)]
pub(crate) struct LocalProcess {
    pub(crate) id: ProcessId,
    pub(crate) state: State,
}

#[derive(Debug)]
pub(crate) enum State {
    Started(Exec),
    /// It never ran. What it would have said stands on the stream that the caller asked for.
    NotStarted {
        reason: StartFailure,
        stdout: Mutex<Option<Vec<u8>>>,
        stderr: Mutex<Option<Vec<u8>>>,
    },
}

fn take(place: &Mutex<Option<Vec<u8>>>) -> Option<BoxRead> {
    let bytes = place.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    Some(Box::new(Cursor::new(bytes)))
}

#[async_trait]
impl Process for LocalProcess {
    fn id(&self) -> &ProcessId {
        &self.id
    }

    fn take_stdin(&self) -> Option<BoxWrite> {
        match &self.state {
            State::Started(exec) => exec.take_stdin().map(|stream| Box::new(stream) as BoxWrite),
            State::NotStarted { .. } => Some(Box::new(tokio::io::sink())),
        }
    }

    fn take_stdout(&self) -> Option<BoxRead> {
        match &self.state {
            State::Started(exec) => exec.take_stdout().map(|stream| Box::new(stream) as BoxRead),
            State::NotStarted { stdout, .. } => take(stdout),
        }
    }

    fn take_stderr(&self) -> Option<BoxRead> {
        match &self.state {
            State::Started(exec) => exec.take_stderr().map(|stream| Box::new(stream) as BoxRead),
            State::NotStarted { stderr, .. } => take(stderr),
        }
    }

    async fn resize(&self, size: PtySize) -> Result<()> {
        let failed =
            |text: String| Error::new(ErrorKind::FailedPrecondition, "process.resize", text).with_provider(NAME);
        match &self.state {
            State::Started(exec) => match exec.resize(size.rows, size.cols) {
                Ok(true) => Ok(()),
                Ok(false) => Err(failed(String::from("the process has no terminal"))),
                Err(error) => Err(failed(String::from("the terminal refused the size")).with_source(error)),
            },
            State::NotStarted { .. } => Err(failed(String::from("the process was not started"))),
        }
    }

    async fn signal(&self, signal: Signal) -> Result<()> {
        if !(1..SIGNALS).contains(&signal.0) {
            return Err(Error::invalid("process.signal", "signal", format_args!("{} is no signal", signal.0))
                .with_provider(NAME));
        }
        if let State::Started(exec) = &self.state {
            exec.signal(signal.0).await;
        }
        Ok(())
    }

    async fn wait(&self) -> Result<ExitStatus> {
        let cause = match &self.state {
            State::NotStarted { reason, .. } => ExitCause::NotStarted { reason: *reason },
            State::Started(exec) => match exec.wait().await {
                ExecEnd::Exited { code } => ExitCause::Exited { code },
                ExecEnd::Signalled { signal } => ExitCause::Signalled { signal },
                ExecEnd::TimedOut => ExitCause::TimedOut,
                ExecEnd::OutOfMemory { code } => ExitCause::OutOfMemory { code },
                ExecEnd::ProcessLimit { code } => ExitCause::ProcessLimit { code },
                ExecEnd::DiskFull { code } => ExitCause::DiskFull { code },
                _ => ExitCause::SandboxEnded,
            },
        };
        Ok(ExitStatus { cause })
    }

    async fn usage(&self) -> Result<Usage> {
        let mut usage = Usage::default();
        if let State::Started(exec) = &self.state {
            let used = exec.usage();
            usage.peak_memory_bytes = used.peak_memory_bytes;
            usage.cpu_time = used.cpu_time;
            usage.output_bytes = Some(used.output_bytes);
        }
        Ok(usage)
    }
}
