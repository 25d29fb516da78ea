//! The streams of a process: pipes made here, or the master side of its terminal.
//!
//! Nothing stands between a program and whoever reads it. If nobody does, its output is set aside ([`drains`]), so that it
//! is not stopped: 1 MiB of each stream in memory, the rest in a file without a name, up to the engine's cap.

mod drains;
mod output;
mod spool;

pub(crate) use drains::Drains;
pub(crate) use output::{Output, SharedTally, Totals};
pub(crate) use spool::{DEFAULT_CAP, Store, check_cap};

use crate::idle::Activity;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;

/// A terminal's master side, shared by its reader and its writer.
pub(crate) type Terminal = Arc<OwnedFd>;

/// Output of a process. Dropping it closes the pipe: the process then gets SIGPIPE when it writes. What a terminal shows
/// is forgotten instead.
#[derive(Debug)]
pub struct ReadStream {
    output: Arc<Output>,
    /// Registered with the runtime of whoever first had to wait.
    registered: Option<AsyncFd<Arc<OwnedFd>>>,
    is_terminal: bool,
}

/// Input of a process. Dropping it, or shutting it down, is the process's end of file (not on a terminal).
#[derive(Debug)]
pub struct WriteStream {
    write: Write,
    /// Whoever writes uses the sandbox.
    activity: Activity,
}

#[derive(Debug)]
enum Write {
    Pipe(Option<pipe::Sender>),
    Terminal { terminal: Terminal, registered: Option<AsyncFd<Terminal>> },
}

impl ReadStream {
    pub(crate) fn new(output: Arc<Output>, is_terminal: bool) -> Self {
        Self { output, registered: None, is_terminal }
    }
}

impl Drop for ReadStream {
    fn drop(&mut self) {
        self.output.reader_gone(!self.is_terminal);
    }
}

impl WriteStream {
    pub(crate) fn pipe(fd: OwnedFd, activity: Activity) -> io::Result<Self> {
        let pipe = pipe::Sender::from_owned_fd(fd)?;
        Ok(Self { write: Write::Pipe(Some(pipe)), activity })
    }

    pub(crate) fn terminal(terminal: Terminal, activity: Activity) -> Self {
        Self { write: Write::Terminal { terminal, registered: None }, activity }
    }
}

impl AsyncRead for ReadStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let Some(registered) = &this.registered else {
                // Often it is there already, and no runtime needs to be asked.
                match this.output.read(buffer.initialize_unfilled(), cx.waker()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return Poll::Ready(result.map(|count| buffer.advance(count))),
                }
                match this.output.pipe() {
                    Some(pipe) => this.registered = Some(crate::sys::register(pipe)?),
                    None => return Poll::Ready(Ok(())),
                }
                continue;
            };
            // What was set aside is there whatever the pipe says.
            let ready = registered.poll_read_ready(cx);
            match this.output.read(buffer.initialize_unfilled(), cx.waker()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(ready)?.clear_ready(),
                result => return Poll::Ready(result.map(|count| buffer.advance(count))),
            }
        }
    }
}

impl AsyncWrite for WriteStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.activity.note();
        let (terminal, registered) = match &mut self.write {
            Write::Pipe(Some(pipe)) => return Pin::new(pipe).poll_write(cx, bytes),
            Write::Pipe(None) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Write::Terminal { terminal, registered } => (terminal, registered),
        };
        let registered = match registered {
            Some(registered) => registered,
            None => registered.insert(crate::sys::register(Arc::clone(terminal))?),
        };
        loop {
            let mut guard = ready!(registered.poll_write_ready(cx))?;
            match guard.try_io(|fd| rustix::io::write(fd.get_ref().as_ref(), bytes).map_err(io::Error::from)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Write::Pipe(pipe) = &mut self.write {
            // Closing is what the other side sees as the end.
            *pipe = None;
        }
        Poll::Ready(Ok(()))
    }
}
