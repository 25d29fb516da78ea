//! Pipes in memory: bounded, so that who writes waits for who reads, and each end tells when the other is dropped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf, duplex};
use tokio::sync::oneshot;

/// What a pipe holds. Twice the pieces that clients send, so that both sides have something to do.
const CAPACITY: usize = 512 * 1024;

/// The end that is written. With the reader gone, writing fails with `BrokenPipe`; dropped, it is the reader's end of file.
pub(super) type Writer = DuplexStream;

/// The end that is read.
#[derive(Debug)]
pub(super) struct Reader {
    bytes: DuplexStream,
    /// Dropped with the reader.
    _here: oneshot::Sender<()>,
}

/// Ends when the reader is dropped: what waits for something else to write learns of it here.
#[derive(Debug)]
pub(super) struct ReaderGone(oneshot::Receiver<()>);

impl ReaderGone {
    pub(super) async fn wait(self) {
        // An error is what tells it: nothing is ever sent.
        let _ = self.0.await;
    }
}

pub(super) fn pipe() -> (Writer, Reader, ReaderGone) {
    let (writer, bytes) = duplex(CAPACITY);
    let (here, gone) = oneshot::channel();
    (writer, Reader { bytes, _here: here }, ReaderGone(gone))
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_full_pipe_holds_its_writer_up_and_loses_nothing() {
        let (mut writer, mut reader, _) = pipe();
        let written = tokio::spawn(async move { writer.write_all(&vec![7; 3 * CAPACITY]).await });
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await.unwrap();
        assert_eq!(all.len(), 3 * CAPACITY);
        written.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_reader_that_goes_is_noticed() {
        let (mut writer, reader, gone) = pipe();
        let writing = tokio::spawn(async move { writer.write_all(&vec![7; 2 * CAPACITY]).await });
        drop(reader);
        gone.wait().await;
        assert_eq!(writing.await.unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
