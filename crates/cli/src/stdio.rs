//! Our own standard streams, without a thread where none is needed.
//!
//! A standard stream may be anything, and reading or writing it may block; tokio therefore hands each call to a thread of its
//! pool. Starting that thread costs more than most programs' whole output. So what `poll(2)` says cannot block is done
//! right here: a short write to a stream that is ready, and what there is to read at the start. The rest is tokio's.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// A pipe that is ready takes as much without blocking (`PIPE_BUF`, `pipe(7)`).
const ATOMIC: usize = 4096;

fn is_ready(fd: BorrowedFd<'_>, interest: PollFlags) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(&fd, interest)];
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready == 1)
}

/// Standard output or standard error.
pub(crate) struct Output<W> {
    fd: BorrowedFd<'static>,
    slow: W,
    /// Something was written by way of `slow` and is not flushed yet: what follows must not overtake it.
    pending: bool,
}

/// Our standard output.
pub(crate) fn stdout() -> Output<tokio::io::Stdout> {
    Output { fd: rustix::stdio::stdout(), slow: tokio::io::stdout(), pending: false }
}

/// Our standard error.
pub(crate) fn stderr() -> Output<tokio::io::Stderr> {
    Output { fd: rustix::stdio::stderr(), slow: tokio::io::stderr(), pending: false }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Output<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.pending && bytes.len() <= ATOMIC && is_ready(self.fd, PollFlags::OUT) {
            match rustix::io::write(self.fd, bytes) {
                // Another writer was faster, or the stream does not block at all: as if it had not been ready.
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                result => return Poll::Ready(result.map_err(io::Error::from)),
            }
        }
        self.pending = true;
        Pin::new(&mut self.slow).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.pending {
            return Poll::Ready(Ok(()));
        }
        let flushed = std::task::ready!(Pin::new(&mut self.slow).poll_flush(cx));
        self.pending = false;
        Poll::Ready(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// Reads standard input if that cannot block; `None` if it could.
pub(crate) fn read_ready(buffer: &mut [u8]) -> Option<io::Result<usize>> {
    let stdin = rustix::stdio::stdin();
    if !is_ready(stdin.as_fd(), PollFlags::IN) {
        return None;
    }
    match rustix::io::read(stdin, buffer) {
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => None,
        result => Some(result.map_err(io::Error::from)),
    }
}
