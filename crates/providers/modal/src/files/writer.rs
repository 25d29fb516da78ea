//! A file that is written: the input of one exec, which ends when the writer flushes. What is written then is appended.

use super::helper::{Helper, Running, collect};
use super::reader::io_error;
use super::tools;
use crate::input::Input;
use crate::output::Output;
use computesdk_core::Result;
use futures_util::future::BoxFuture;
use serde_json::json;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, AsyncWriteExt as _, ReadBuf};

const OPERATION: &str = "filesystem.write";

pub(crate) struct Writer {
    helper: Helper,
    path: String,
    /// What is there is kept.
    append: bool,
    written: u64,
    // The mutex is never locked: it makes the whole `Sync`.
    state: Mutex<State>,
}

enum State {
    Idle,
    Opening(BoxFuture<'static, io::Result<Box<Stream>>>),
    Writing(Box<Stream>),
    Finishing(BoxFuture<'static, io::Result<()>>),
}

/// An operation that takes the content.
struct Stream {
    running: Running,
    input: Input,
    output: Output,
    is_helper: bool,
}

impl Stream {
    async fn open(helper: Helper, path: String, append: bool) -> Result<Box<Self>> {
        let (running, input, output) = if append {
            helper.exec(OPERATION, &path, tools::append(&path)).await?
        } else {
            helper.start(OPERATION, &path, &json!({ "WriteFile": { "path": path } })).await?
        };
        Ok(Box::new(Self { running, input, output, is_helper: !append }))
    }

    /// Returns once all of it is in the file.
    async fn finish(self: Box<Self>) -> io::Result<()> {
        let Self { running, mut input, output, is_helper } = *self;
        // If it is not read to its end, the program says why.
        let sent = input.shutdown().await;
        drop(input);
        let finish = async {
            if is_helper {
                running.finish().await
            } else {
                running.finish_with(|code, text| tools::failure("cat", code, text)).await
            }
        };
        let (_, finished) = tokio::join!(collect(output), finish);
        finished.map_err(io_error)?;
        sent
    }
}

impl Writer {
    pub(crate) fn new(helper: Helper, path: String, append: bool) -> Self {
        Self { helper, path, append, written: 0, state: Mutex::new(State::Idle) }
    }

    fn state(&mut self) -> &mut State {
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what is under way.
    fn finish(&mut self) {
        match std::mem::replace(self.state(), State::Idle) {
            State::Writing(stream) => *self.state() = State::Finishing(Box::pin(stream.finish())),
            other => *self.state() = other,
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.state() {
                State::Idle => {
                    let append = self.append;
                    let (helper, path) = (self.helper.clone(), self.path.clone());
                    let opening = async move { Stream::open(helper, path, append).await.map_err(io_error) };
                    *self.state() = State::Opening(Box::pin(opening));
                }
                State::Opening(opening) => {
                    let opened = ready!(opening.as_mut().poll(cx));
                    *self.state() = State::Idle;
                    *self.state() = State::Writing(opened?);
                    // From now on there is something that must not be lost.
                    self.append = true;
                }
                State::Writing(stream) => match ready!(Pin::new(&mut stream.input).poll_write(cx, bytes)) {
                    Ok(count) => {
                        self.written += count as u64;
                        return Poll::Ready(Ok(count));
                    }
                    // The program knows why it reads no more.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.finish(),
                    Err(error) => return Poll::Ready(Err(error)),
                },
                State::Finishing(finished) => {
                    let finished = ready!(finished.as_mut().poll(cx));
                    *self.state() = State::Idle;
                    finished?;
                }
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        match self.state() {
            State::Finishing(finished) => {
                let finished = ready!(finished.as_mut().poll(cx));
                *self.state() = State::Idle;
                Poll::Ready(finished)
            }
            // Nothing was written.
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl AsyncRead for Writer {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is open for writing")))
    }
}

impl AsyncSeek for Writer {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        match to {
            SeekFrom::Current(0) | SeekFrom::End(0) => Ok(()),
            SeekFrom::Start(at) if at == self.written => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "on Modal files are written from the beginning to the end",
            )),
        }
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.written))
    }
}
