//! Input of a process: sent in order, by byte offset, so that what is sent twice arrives once.

use crate::error::sentence;
use crate::wire::{Deadline, Family, Router};
use bytes::{Bytes, BytesMut};
use computesdk_modal_proto::client::SandboxStdinWriteRequest;
use computesdk_modal_proto::router::{
    SandboxStdinWriteV2Request, TaskExecStdinStatusRequest, TaskExecStdinWriteRequest,
};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::AsyncWrite;
use tokio::sync::Notify;
use tonic::{Code, Status};

/// What is taken from the writer before it is sent; as much goes into one message.
const BUFFER: usize = 1 << 20;

/// Whose input.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Of a process that was started in the sandbox. `resumed` if somebody else may have written to it before.
    Exec {
        /// Its id.
        id: String,
        /// Whether the offset must be asked for.
        resumed: bool,
    },
    /// Of the sandbox's main process, which has been given so many bytes.
    Main {
        /// The offset of the next one.
        offset: u64,
    },
}

/// The writer's end. Shutting it down is the reader's end of file, and so is dropping it: what was written is sent all the same.
#[derive(Debug)]
pub(crate) struct Input {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    work: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: BytesMut,
    /// Something is on its way.
    sending: bool,
    /// The writer is done.
    closed: bool,
    /// The server knows that it is.
    finished: bool,
    failed: Option<(io::ErrorKind, String)>,
    waker: Option<Waker>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn error(&self) -> Option<io::Error> {
        self.failed.as_ref().map(|(kind, text)| io::Error::new(*kind, text.clone()))
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Input {
    pub(crate) fn open(router: &Arc<Router>, target: Target) -> Self {
        let shared = Arc::<Shared>::default();
        let sender = Sender { router: Arc::clone(router), target, offset: None, index: 1 };
        router.runtime.spawn(run(Arc::clone(&shared), sender));
        Self { shared }
    }
}

impl AsyncWrite for Input {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.shared.state();
        if let Some(error) = state.error() {
            return Poll::Ready(Err(error));
        }
        if state.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(BUFFER.saturating_sub(state.queue.len()));
        if count == 0 && !bytes.is_empty() {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.queue.extend_from_slice(&bytes[..count]);
        drop(state);
        self.shared.work.notify_one();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.state();
        if let Some(error) = state.error() {
            return Poll::Ready(Err(error));
        }
        if state.queue.is_empty() && !state.sending {
            return Poll::Ready(Ok(()));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.state();
        if !state.closed {
            state.closed = true;
            self.shared.work.notify_one();
        }
        if let Some(error) = state.error() {
            return Poll::Ready(Err(error));
        }
        if state.finished {
            return Poll::Ready(Ok(()));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.work.notify_one();
    }
}

/// Sends what is written until the writer is done, or the reader.
async fn run(shared: Arc<Shared>, mut sender: Sender) {
    loop {
        let (data, eof) = loop {
            let work = shared.work.notified();
            {
                let mut state = shared.state();
                if !state.queue.is_empty() || state.closed {
                    state.sending = true;
                    let data = state.queue.split().freeze();
                    break (data, state.closed);
                }
            }
            work.await;
        };
        let nothing_lost = data.is_empty();
        let sent = sender.send(data, eof).await;
        let mut state = shared.state();
        state.sending = false;
        match sent {
            Ok(()) => state.finished = eof,
            // It reads no more, and nothing was left to be read.
            Err(status) if nothing_lost && is_gone(&status) => state.finished = true,
            Err(status) if is_gone(&status) => {
                state.failed =
                    Some((io::ErrorKind::BrokenPipe, String::from("the process does not read its input any more")));
            }
            Err(status) => state.failed = Some((io::ErrorKind::Other, sentence(&status))),
        }
        state.wake();
        if state.finished || state.failed.is_some() {
            return;
        }
    }
}

/// Whether the reader has closed its end, or has ended.
fn is_gone(status: &Status) -> bool {
    matches!(status.code(), Code::FailedPrecondition | Code::Aborted | Code::NotFound)
}

/// What knows how far the input is.
struct Sender {
    router: Arc<Router>,
    target: Target,
    offset: Option<u64>,
    /// Of calls that are numbered and not by offset.
    index: u32,
}

impl Sender {
    async fn send(&mut self, data: Bytes, eof: bool) -> Result<(), Status> {
        let offset = match self.offset {
            Some(offset) => offset,
            None => self.begin().await?,
        };
        let count = data.len() as u64;
        match (&self.target, self.router.family) {
            (Target::Exec { id, .. }, _) => {
                let task_id = self.router.task().await?.to_owned();
                let request = TaskExecStdinWriteRequest { task_id, exec_id: id.clone(), offset, data, eof };
                let call = self.router.call(Deadline::SHORT, request, |mut client, request| async move {
                    client.task_exec_stdin_write(request).await
                });
                call.await?;
            }
            (Target::Main { .. }, Family::V2) => {
                let task_id = self.router.task().await?.to_owned();
                let request = SandboxStdinWriteV2Request { task_id, offset, data, eof };
                let call = self.router.call(Deadline::SHORT, request, |mut client, request| async move {
                    client.sandbox_stdin_write_v2(request).await
                });
                call.await?;
            }
            (Target::Main { .. }, Family::V1) => {
                let sandbox_id = self.router.sandbox_id.clone();
                let request = SandboxStdinWriteRequest { sandbox_id, input: data, index: self.index, eof };
                let call = self.router.control.call(Deadline::SHORT, request, |mut client, request| async move {
                    client.sandbox_stdin_write(request).await
                });
                call.await?;
            }
        }
        self.index += 1;
        self.offset = Some(offset + count);
        Ok(())
    }

    /// Where the input begins for us.
    async fn begin(&self) -> Result<u64, Status> {
        match &self.target {
            Target::Main { offset } => Ok(*offset),
            Target::Exec { resumed: false, .. } => Ok(0),
            Target::Exec { id, resumed: true } => {
                let task_id = self.router.task().await?.to_owned();
                let request = TaskExecStdinStatusRequest { task_id, exec_id: id.clone() };
                let call = self.router.call(Deadline::SHORT, request, |mut client, request| async move {
                    client.task_exec_stdin_status(request).await
                });
                Ok(call.await?.num_bytes_written)
            }
        }
    }
}
