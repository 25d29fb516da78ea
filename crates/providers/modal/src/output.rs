//! Output of a process: read by byte offset, so that a stream that breaks goes on where it was.

use crate::error::sentence;
use crate::wire::{Backoff, Family, Router, is_transient};
use bytes::{Buf as _, Bytes};
use computesdk_modal_proto::client::{FileDescriptor, SandboxGetLogsRequest};
use computesdk_modal_proto::router::{
    SandboxStdioFileDescriptor, SandboxStdioReadV2Request, TaskExecStdioFileDescriptor, TaskExecStdioReadRequest,
};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, Streaming};

/// Messages that wait for the reader; the rest waits in the connection's window, and then at the server.
const WAITING: usize = 2;
/// How long the server is asked to keep a stream of logs open.
const LOG_SECONDS: f32 = 55.0;

/// After the end of a process its output is given so long to arrive, counted from the last of it.
const QUIET: Duration = Duration::from_millis(100);
/// A reader that has some to read and takes none for so long is not waited for.
const IDLE: Duration = Duration::from_secs(1);
/// Output that comes so long after the end is that of a process that was left behind.
const LINGER: Duration = Duration::from_secs(10);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fd {
    Stdout,
    Stderr,
}

/// Whose output.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// Of a process that was started in the sandbox.
    Exec(String),
    /// Of the sandbox's main process.
    Main,
}

/// A stream of output. Dropping it ends the reading, and nothing else.
#[derive(Debug)]
pub(crate) struct Output {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
    progress: Progress,
}

/// How far the reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The server has not answered yet.
    Opening,
    /// It has; this is when the last piece came.
    Open(Instant),
    /// The reader is behind, since then.
    Full(Instant),
}

/// Tells whether what was written has arrived.
#[derive(Debug, Clone)]
pub(crate) struct Progress(watch::Receiver<Phase>);

impl Progress {
    /// Returns once what a process wrote that has ended at `exit` has been taken by the reader, as far as that can be known: it is
    /// at its end, or was silent for a little, or nobody takes it. Processes that it left behind may hold the stream open for ever.
    pub(crate) async fn caught_up(mut self, exit: Instant) {
        // Whoever told the phase may have ended: that is the end of the output, too.
        let _ = timeout_at(exit + LINGER, async {
            loop {
                let phase = *self.0.borrow_and_update();
                let changed = match phase {
                    Phase::Opening => self.0.changed().await,
                    Phase::Open(last) => match timeout_at(last.max(exit) + QUIET, self.0.changed()).await {
                        Ok(changed) => changed,
                        Err(_silent) => return,
                    },
                    Phase::Full(since) => match timeout_at(since + IDLE, self.0.changed()).await {
                        Ok(changed) => changed,
                        Err(_idle) => return,
                    },
                };
                if changed.is_err() {
                    return;
                }
            }
        })
        .await;
    }
}

impl Output {
    /// Begins to read at once: what is there is on its way before anybody asks.
    pub(crate) fn open(router: &Arc<Router>, source: Source, fd: Fd) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (phase, progress) = watch::channel(Phase::Opening);
        let pump =
            Pump { router: Arc::clone(router), source, fd, offset: 0, entry: String::from("0-0"), sender, phase };
        router.runtime.spawn(pump.run());
        Self { receiver, current: Bytes::new(), progress: Progress(progress) }
    }

    /// How far it is; also good when this is gone.
    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.current.has_remaining() {
            return Some(Ok(std::mem::take(&mut self.current)));
        }
        self.receiver.recv().await
    }
}

impl AsyncRead for Output {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match ready!(self.receiver.poll_recv(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(piece) => self.current = piece?,
            }
        }
        let count = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current.split_to(count));
        Poll::Ready(Ok(()))
    }
}

/// What copies from the wire to whoever reads.
struct Pump {
    router: Arc<Router>,
    source: Source,
    fd: Fd,
    offset: u64,
    /// Of logs that are told by entry and not by offset: the last one that was read.
    entry: String,
    sender: mpsc::Sender<io::Result<Bytes>>,
    phase: watch::Sender<Phase>,
}

/// Why a stream ended.
enum Ended {
    /// It is the end of the output.
    Complete,
    /// There may be more.
    ForNow,
    /// Nobody reads any more.
    Unwanted,
}

impl Pump {
    async fn run(mut self) {
        let mut backoff = Backoff::router();
        let wanted = self.sender.clone();
        loop {
            let before = (self.offset, self.entry.clone());
            let ended = tokio::select! {
                () = wanted.closed() => return,
                ended = self.read() => ended,
            };
            if before != (self.offset, self.entry.clone()) {
                // It went on: the patience is for outages, not for the whole of the output.
                backoff.reset();
            }
            let status = match ended {
                Ok(Ended::Complete | Ended::Unwanted) => return,
                Ok(Ended::ForNow) => continue,
                Err(status) => status,
            };
            let delay = if is_transient(status.code()) { backoff.next() } else { None };
            let Some(delay) = delay else {
                let kind = match status.code() {
                    Code::NotFound => io::ErrorKind::NotFound,
                    Code::Unavailable => io::ErrorKind::ConnectionReset,
                    Code::DeadlineExceeded => io::ErrorKind::TimedOut,
                    _ => io::ErrorKind::Other,
                };
                // Whoever does not read any more does not want to know.
                let _ = self.sender.send(Err(io::Error::new(kind, sentence(&status)))).await;
                return;
            };
            self.phase.send_replace(Phase::Opening);
            tokio::select! {
                () = wanted.closed() => return,
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    /// Reads one stream to its end.
    async fn read(&mut self) -> Result<Ended, Status> {
        match (self.source.clone(), self.router.family) {
            (Source::Exec(exec_id), _) => self.read_exec(exec_id).await,
            (Source::Main, Family::V2) => self.read_main().await,
            (Source::Main, Family::V1) => self.read_logs().await,
        }
    }

    async fn read_exec(&mut self, exec_id: String) -> Result<Ended, Status> {
        let fd = match self.fd {
            Fd::Stdout => TaskExecStdioFileDescriptor::Stdout,
            Fd::Stderr => TaskExecStdioFileDescriptor::Stderr,
        };
        let task_id = self.router.task().await?.to_owned();
        let request = TaskExecStdioReadRequest { task_id, exec_id, offset: self.offset, file_descriptor: fd.into() };
        let open = self
            .router
            .stream(request, |mut client, request| async move { client.task_exec_stdio_read(request).await });
        let mut stream = open.await?;
        self.phase.send_replace(Phase::Open(Instant::now()));
        while let Some(piece) = stream.message().await? {
            if !self.send(piece.data).await {
                return Ok(Ended::Unwanted);
            }
        }
        Ok(Ended::Complete)
    }

    async fn read_main(&mut self) -> Result<Ended, Status> {
        let fd = match self.fd {
            Fd::Stdout => SandboxStdioFileDescriptor::Stdout,
            Fd::Stderr => SandboxStdioFileDescriptor::Stderr,
        };
        let task_id = self.router.task().await?.to_owned();
        let request = SandboxStdioReadV2Request { task_id, offset: self.offset, file_descriptor: fd.into() };
        let open = self
            .router
            .stream(request, |mut client, request| async move { client.sandbox_stdio_read_v2(request).await });
        let mut stream = open.await?;
        self.phase.send_replace(Phase::Open(Instant::now()));
        while let Some(piece) = stream.message().await? {
            // What came before is not kept any more.
            self.offset = self.offset.max(piece.starting_offset);
            if !self.send(piece.data).await {
                return Ok(Ended::Unwanted);
            }
        }
        Ok(Ended::Complete)
    }

    /// Of a sandbox of the first generation: text by entries, in streams that the server closes now and then.
    async fn read_logs(&mut self) -> Result<Ended, Status> {
        let fd = match self.fd {
            Fd::Stdout => FileDescriptor::Stdout,
            Fd::Stderr => FileDescriptor::Stderr,
        };
        let request = SandboxGetLogsRequest {
            sandbox_id: self.router.sandbox_id.clone(),
            file_descriptor: fd.into(),
            timeout: LOG_SECONDS,
            last_entry_id: self.entry.clone(),
        };
        let open = self
            .router
            .control
            .stream(request, |mut client, request| async move { client.sandbox_get_logs(request).await });
        let mut stream: Streaming<_> = open.await?;
        while let Some(batch) = stream.message().await? {
            if !batch.entry_id.is_empty() {
                self.entry = batch.entry_id;
            }
            for item in batch.items {
                if !self.send(item.data.into()).await {
                    return Ok(Ended::Unwanted);
                }
            }
            if batch.eof {
                return Ok(Ended::Complete);
            }
        }
        Ok(Ended::ForNow)
    }

    /// Hands a piece on; false if nobody reads any more.
    async fn send(&mut self, data: Bytes) -> bool {
        if data.is_empty() {
            return true;
        }
        self.offset += data.len() as u64;
        if self.sender.capacity() == 0 {
            self.phase.send_replace(Phase::Full(Instant::now()));
        }
        let sent = self.sender.send(Ok(data)).await.is_ok();
        self.phase.send_replace(Phase::Open(Instant::now()));
        sent
    }
}
