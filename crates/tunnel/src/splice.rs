//! Bytes from one TCP socket to another by way of a pipe (`splice(2)`): the kernel passes pages on and copies none.
//!
//! Worth it for a direction that carries much, at the price of two descriptors; so it begins after [`AFTER`] bytes, and only as long as
//! there are no more than [`MOST_PIPES`] of them in this process. Others are copied.

use crate::relay::Failed;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes of a direction that are copied before it is worth a pipe.
pub(crate) const AFTER: u64 = u64::MAX - 1;
/// Pipes of all tunnels of this process at a time.
const MOST_PIPES: usize = 64;
/// What a pipe holds: the most that an ordinary user's may (`pipe-max-size`, `proc(5)`).
const SIZE: usize = 1 << 20;

static PIPES: AtomicUsize = AtomicUsize::new(0);

/// A pipe that is empty whenever nobody passes anything on.
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    /// One more, if there is room for it.
    pub(crate) fn open() -> Option<Self> {
        if PIPES.fetch_add(1, Ordering::Relaxed) < MOST_PIPES
            && let Ok((read, write)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
        {
            // A smaller one will do.
            let _ = fcntl_setpipe_size(&write, SIZE);
            return Some(Self { read, write });
        }
        PIPES.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// Passes on what comes, until it ends; the end itself is the caller's to pass on.
    pub(crate) async fn pass(&self, from: &TcpStream, to: &TcpStream) -> Result<(), Failed> {
        loop {
            let taken = when(from, Interest::READABLE, || self.take(from)).await.map_err(|_| Failed::Read)?;
            if taken == 0 {
                return Ok(());
            }
            let mut left = taken;
            while left > 0 {
                left -= when(to, Interest::WRITABLE, || self.give(to, left)).await.map_err(|_| Failed::Write)?;
            }
        }
    }

    fn take(&self, from: &TcpStream) -> Result<usize, Errno> {
        splice(from, None, &self.write, None, SIZE, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)
    }

    fn give(&self, to: &TcpStream, left: usize) -> Result<usize, Errno> {
        splice(&self.read, None, to, None, left, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        PIPES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Does it as soon as the socket is ready for it.
async fn when(stream: &TcpStream, interest: Interest, what: impl Fn() -> Result<usize, Errno>) -> io::Result<usize> {
    loop {
        match stream.async_io(interest, || what().map_err(io::Error::from)).await {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
