//! A file that is read: the output of one exec. Reading elsewhere is another exec, read up to there.

use super::helper::{Helper, Running, broken};
use crate::error::NAME;
use crate::output::Output;
use bytes::{Buf as _, Bytes};
use computesdk_core::{Error, ErrorKind, Result};
use futures_util::future::BoxFuture;
use serde_json::json;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

const OPERATION: &str = "filesystem.read";

pub(crate) struct Reader {
    helper: Helper,
    path: String,
    position: u64,
    // The mutex is never locked: it makes the whole `Sync`.
    state: Mutex<State>,
}

enum State {
    Reading(Box<Stream>),
    /// All of it was read; whether that was all is still asked.
    Finishing(BoxFuture<'static, io::Result<()>>),
    Seeking(BoxFuture<'static, io::Result<Sought>>),
    Done,
}

/// What is left of the file, if anything, and where it begins.
type Sought = (Option<Box<Stream>>, u64);

/// An operation that is under way, and what of its output was read too early.
struct Stream {
    running: Running,
    output: Output,
    ahead: Bytes,
}

impl Reader {
    pub(crate) async fn open(helper: Helper, path: &str) -> Result<Self> {
        let state = match Stream::open(&helper, path).await? {
            Some(stream) => State::Reading(stream),
            None => State::Done,
        };
        Ok(Self { helper, path: path.to_owned(), position: 0, state: Mutex::new(state) })
    }

    fn state(&mut self) -> &mut State {
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// Returns once it is known that the file can be read; `None` if it is empty.
    async fn open(helper: &Helper, path: &str) -> Result<Option<Box<Self>>> {
        let what = json!({ "ReadFile": { "path": path } });
        let (running, input, mut output) = helper.start("filesystem.open", path, &what).await?;
        drop(input);
        match output.next().await {
            Some(Ok(ahead)) => Ok(Some(Box::new(Self { running, output, ahead }))),
            Some(Err(error)) => Err(broken("filesystem.open", path, error)),
            None => running.finish().await.map(|()| None),
        }
    }

    /// Leaves out so many bytes; `None` if there are no more.
    async fn skip(mut self: Box<Self>, mut count: u64) -> io::Result<Option<Box<Self>>> {
        while count > 0 {
            if self.ahead.is_empty() {
                match self.output.next().await {
                    Some(piece) => self.ahead = piece?,
                    None => return self.running.finish().await.map(|()| None).map_err(io_error),
                }
            }
            let step = usize::try_from(count).unwrap_or(usize::MAX).min(self.ahead.len());
            self.ahead.advance(step);
            count -= step as u64;
        }
        Ok(Some(self))
    }
}

/// An error of ours as one of a stream.
pub(crate) fn io_error(error: Error) -> io::Error {
    let kind = match error.kind() {
        ErrorKind::NotFound => io::ErrorKind::NotFound,
        ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
        ErrorKind::Unavailable => io::ErrorKind::ConnectionReset,
        ErrorKind::Timeout => io::ErrorKind::TimedOut,
        ErrorKind::Unsupported => io::ErrorKind::Unsupported,
        ErrorKind::InvalidArgument => io::ErrorKind::InvalidInput,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

async fn seek(helper: Helper, path: String, to: SeekFrom, position: u64) -> io::Result<Sought> {
    let (base, distance) = match to {
        SeekFrom::Start(at) => (at, 0),
        SeekFrom::Current(distance) => (position, distance),
        SeekFrom::End(distance) => {
            use computesdk_core::Files as _;
            let files = super::ModalFiles { helper: helper.clone() };
            (files.stat(&path, true).await.map_err(io_error)?.size, distance)
        }
    };
    let before = || io::Error::new(io::ErrorKind::InvalidInput, "that is before the beginning");
    let target = base.checked_add_signed(distance).ok_or_else(before)?;
    let stream = match Stream::open(&helper, &path).await.map_err(io_error)? {
        Some(stream) => stream.skip(target).await?,
        None => None,
    };
    Ok((stream, target))
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.state() {
                State::Done => return Poll::Ready(Ok(())),
                State::Seeking(_) => {
                    ready!(self.as_mut().poll_complete(cx))?;
                }
                State::Finishing(finished) => {
                    let finished = ready!(finished.as_mut().poll(cx));
                    *self.state() = State::Done;
                    return Poll::Ready(finished);
                }
                State::Reading(stream) => {
                    if !stream.ahead.is_empty() {
                        let count = stream.ahead.len().min(buffer.remaining());
                        buffer.put_slice(&stream.ahead.split_to(count));
                        self.position += count as u64;
                        return Poll::Ready(Ok(()));
                    }
                    let before = buffer.filled().len();
                    ready!(Pin::new(&mut stream.output).poll_read(cx, buffer))?;
                    let count = buffer.filled().len() - before;
                    if count > 0 || buffer.remaining() == 0 {
                        self.position += count as u64;
                        return Poll::Ready(Ok(()));
                    }
                    let State::Reading(stream) = std::mem::replace(self.state(), State::Done) else { continue };
                    let finished = async move { stream.running.finish().await.map_err(io_error) };
                    *self.state() = State::Finishing(Box::pin(finished));
                }
            }
        }
    }
}

impl AsyncSeek for Reader {
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        if matches!(to, SeekFrom::Current(0)) {
            return Ok(());
        }
        let seeking = seek(self.helper.clone(), self.path.clone(), to, self.position);
        *self.state() = State::Seeking(Box::pin(seeking));
        Ok(())
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        if let State::Seeking(seeking) = self.state() {
            let sought = ready!(seeking.as_mut().poll(cx));
            *self.state() = State::Done;
            let (stream, position) = sought?;
            self.position = position;
            if let Some(stream) = stream {
                *self.state() = State::Reading(stream);
            }
        }
        Poll::Ready(Ok(self.position))
    }
}

impl AsyncWrite for Reader {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        let text = format!("{} is open for reading", self.path);
        let error = Error::new(ErrorKind::InvalidArgument, OPERATION, text).with_provider(NAME);
        Poll::Ready(Err(io_error(error)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
