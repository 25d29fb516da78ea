//! The main process of a sandbox: its end is the end of the sandbox.

use crate::error::call_error;
use crate::input::{Input, Target};
use crate::output::{Fd, Output, Source};
use crate::process::{refuse_signal, refuse_size};
use crate::sandbox::{ask_end, until_end};
use crate::wire::Router;
use computesdk_core::{
    BoxRead, BoxWrite, EndCause, ErrorKind, ExitCause, ExitStatus, Process, ProcessId, PtySize, Result, Signal, Usage,
    async_trait,
};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::OnceCell;

/// What `create` was asked to run. Its streams are opened when they are taken.
pub(crate) struct MainProcess {
    id: ProcessId,
    router: Arc<Router>,
    /// What was written to its input to start it.
    offset: u64,
    taken: [AtomicBool; 3],
    end: Arc<OnceCell<EndCause>>,
}

impl fmt::Debug for MainProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MainProcess").field("sandbox", &self.router.sandbox_id).finish()
    }
}

impl MainProcess {
    pub(crate) fn new(router: Arc<Router>, offset: u64, end: Arc<OnceCell<EndCause>>) -> Self {
        let id = ProcessId::new(format!("{}-main", router.sandbox_id));
        Self { id, router, offset, taken: Default::default(), end }
    }

    /// Whether this is the first time.
    fn take(&self, stream: usize) -> bool {
        !self.taken[stream].swap(true, Ordering::Relaxed)
    }

    fn output(&self, fd: Fd) -> BoxRead {
        Box::new(Output::open(&self.router, Source::Main, fd))
    }
}

#[async_trait]
impl Process for MainProcess {
    fn id(&self) -> &ProcessId {
        &self.id
    }

    fn take_stdin(&self) -> Option<BoxWrite> {
        let target = Target::Main { offset: self.offset };
        self.take(0).then(|| Box::new(Input::open(&self.router, target)) as BoxWrite)
    }

    fn take_stdout(&self) -> Option<BoxRead> {
        self.take(1).then(|| self.output(Fd::Stdout))
    }

    fn take_stderr(&self) -> Option<BoxRead> {
        self.take(2).then(|| self.output(Fd::Stderr))
    }

    async fn resize(&self, _size: PtySize) -> Result<()> {
        Err(refuse_size(false))
    }

    async fn signal(&self, signal: Signal) -> Result<()> {
        let error = refuse_signal(signal);
        let ended =
            error.kind() == ErrorKind::Unsupported && ask_end(&self.router, 0.0).await.is_ok_and(|end| end.is_some());
        // One that has ended is not an error.
        if ended { Ok(()) } else { Err(error) }
    }

    async fn wait(&self) -> Result<ExitStatus> {
        let end = until_end(&self.router, &self.end).await;
        let end =
            end.map_err(|status| call_error("process.wait", status).with_context("sandbox", &*self.router.sandbox_id))?;
        let cause = match end {
            EndCause::Exited { code } => ExitCause::Exited { code },
            EndCause::OutOfMemory => ExitCause::OutOfMemory { code: 137 },
            _ => ExitCause::SandboxEnded,
        };
        Ok(ExitStatus { cause })
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(Usage::default())
    }
}
