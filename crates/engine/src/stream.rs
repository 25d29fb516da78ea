//! The streams of a process: pipes made here, or the master side of its terminal.

use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;

/// A terminal's master side, shared by its reader and its writer.
pub(crate) type Terminal = Arc<AsyncFd<OwnedFd>>;

/// Output of a process. Dropping it closes the pipe: the process then gets SIGPIPE when it writes.
#[derive(Debug)]
pub struct ReadStream(Read);

#[derive(Debug)]
enum Read {
    Pipe(pipe::Receiver),
    Terminal(Terminal),
}

/// Input of a process. Dropping it, or shutting it down, is the process's end of file (not on a terminal).
#[derive(Debug)]
pub struct WriteStream(Write);

#[derive(Debug)]
enum Write {
    Pipe(Option<pipe::Sender>),
    Terminal(Terminal),
}

impl ReadStream {
    pub(crate) fn pipe(fd: OwnedFd) -> io::Result<Self> {
        pipe::Receiver::from_owned_fd(fd).map(|pipe| Self(Read::Pipe(pipe)))
    }

    pub(crate) fn terminal(terminal: Terminal) -> Self {
        Self(Read::Terminal(terminal))
    }
}

impl WriteStream {
    pub(crate) fn pipe(fd: OwnedFd) -> io::Result<Self> {
        pipe::Sender::from_owned_fd(fd).map(|pipe| Self(Write::Pipe(Some(pipe))))
    }

    pub(crate) fn terminal(terminal: Terminal) -> Self {
        Self(Write::Terminal(terminal))
    }
}

impl AsyncRead for ReadStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let terminal = match &mut self.0 {
            Read::Pipe(pipe) => return Pin::new(pipe).poll_read(cx, buffer),
            Read::Terminal(terminal) => terminal,
        };
        loop {
            let mut guard = ready!(terminal.poll_read_ready(cx))?;
            let unfilled = buffer.initialize_unfilled();
            match guard.try_io(|fd| rustix::io::read(fd.get_ref(), &mut *unfilled).map_err(io::Error::from)) {
                Ok(Ok(n)) => {
                    buffer.advance(n);
                    return Poll::Ready(Ok(()));
                }
                // EIO: the last process that had the terminal open is gone (`pty(7)`). That is its end of file.
                Ok(Err(error)) if Errno::from_io_error(&error) == Some(Errno::IO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for WriteStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let terminal = match &mut self.0 {
            Write::Pipe(Some(pipe)) => return Pin::new(pipe).poll_write(cx, bytes),
            Write::Pipe(None) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Write::Terminal(terminal) => terminal,
        };
        loop {
            let mut guard = ready!(terminal.poll_write_ready(cx))?;
            match guard.try_io(|fd| rustix::io::write(fd.get_ref(), bytes).map_err(io::Error::from)) {
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
        if let Write::Pipe(pipe) = &mut self.0 {
            // Closing is what the other side sees as the end.
            *pipe = None;
        }
        Poll::Ready(Ok(()))
    }
}
