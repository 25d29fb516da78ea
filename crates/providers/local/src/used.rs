//! Streams that tell the sandbox's idle clock of themselves: a connection while it is open, a file with each read and write.
//!
//! Not a file while it is open: one that somebody forgot would keep a sandbox for good.

use computesdk_engine::{Active, Activity};
use std::io::{self, IoSlice, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

/// A stream and its uses.
#[derive(Debug)]
pub(crate) struct Used<S, U> {
    stream: S,
    by: U,
}

/// How reads and writes are told.
pub(crate) trait Uses: Unpin {
    /// One more.
    fn note(&self) {}
}

/// Told by being there.
impl Uses for Active {}

impl Uses for Activity {
    fn note(&self) {
        Self::note(self);
    }
}

impl<S, U> Used<S, U> {
    pub(crate) fn new(stream: S, by: U) -> Self {
        Self { stream, by }
    }
}

impl<S: AsyncRead + Unpin, U: Uses> AsyncRead for Used<S, U> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.by.note();
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin, U: Uses> AsyncWrite for Used<S, U> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.by.note();
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.by.note();
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncSeek + Unpin, U: Uses> AsyncSeek for Used<S, U> {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.stream).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.stream).poll_complete(cx)
    }
}
