//! Bytes both ways between two ends, each direction with its own end.
//!
//! - A direction that ends (FIN, or `close_notify` over TLS) is ended at the other side too, and the other direction goes on.
//! - A side that is reset resets the other, once what it had sent before is passed on.
//! - Of each direction, one buffer of at most [`MEDIUM`] bytes is held here, and of the [`MOST_LARGE`] that carry most, one
//!   of [`LARGE`]. A reader that is slow slows its sender; nothing ever expires.
//!
//! Bytes are copied. splice(2) was tried twice: with two cores and three programs at work it was no faster over loopback than
//! a copy by way of 256 KiB (0.34 to 0.55 of a direct connection, and 0.39 to 0.50), while 1 MiB is (0.51 to 0.60): what counts
//! is how often somebody must be woken.

use crate::side::{Reader, Side, Writer, broken};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes held for a direction at first: most carry little, or are silent for hours.
pub(crate) const FIRST: usize = 16 * 1024;
/// Bytes held for a direction that fills half of its buffer.
const MEDIUM: usize = 64 * 1024;
/// The same for those that do so when there is room for a large one.
const LARGE: usize = 1024 * 1024;
/// Large buffers in this process at a time.
const MOST_LARGE: usize = 16;

static LARGE_IN_USE: AtomicUsize = AtomicUsize::new(0);

/// A buffer that grows with what goes through it.
struct Buffer(Vec<u8>);

impl Buffer {
    fn new() -> Self {
        Self(vec![0; FIRST])
    }

    /// So many bytes went through it at once.
    fn used(&mut self, bytes: usize) {
        let size = self.0.len();
        if bytes < size / 2 || size >= LARGE {
            return;
        }
        if size < MEDIUM {
            self.0 = vec![0; MEDIUM];
        } else if LARGE_IN_USE.fetch_add(1, Ordering::Relaxed) < MOST_LARGE {
            self.0 = vec![0; LARGE];
        } else {
            LARGE_IN_USE.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.0.len() >= LARGE {
            LARGE_IN_USE.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
/// How long what a broken side had sent may take to be read by the other. Without a bound, a peer that reads nothing would
/// keep the connection of one that is long gone.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Which end of a direction failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    Read,
    Write,
}

/// The next bytes; nothing at the end. TLS clients that hang up without `close_notify` are many, and a sandbox's server can
/// do nothing about them: that is an end too.
pub(crate) async fn read(reader: &mut Reader, buffer: &mut [u8]) -> Result<usize, Failed> {
    match reader.read(buffer).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
        result => result.map_err(|_| Failed::Read),
    }
}

pub(crate) async fn write(writer: &mut Writer, bytes: &[u8]) -> Result<(), Failed> {
    writer.write_all(bytes).await.map_err(|_| Failed::Write)?;
    // TLS keeps records back until it is told.
    writer.flush().await.map_err(|_| Failed::Write)
}

/// One direction, to its end, which is passed on.
pub(crate) async fn pump(reader: &mut Reader, writer: &mut Writer) -> Result<(), Failed> {
    let mut buffer = Buffer::new();
    loop {
        let n = read(reader, &mut buffer.0).await?;
        if n == 0 {
            return writer.shutdown().await.map_err(|_| Failed::Write);
        }
        write(writer, &buffer.0[..n]).await?;
        buffer.used(n);
    }
}

/// Which side is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gone {
    A,
    B,
    /// Its last bytes are passed on already.
    Drained,
}

/// Passes bytes both ways until both directions ended, or one side broke; then the other is reset when it is dropped.
pub(crate) async fn relay(mut a: Side, mut b: Side) {
    let gone = {
        let (a_tcp, b_tcp) = (a.tcp.clone(), b.tcp.clone());
        let up = pump(&mut a.reader, &mut b.writer);
        let down = pump(&mut b.reader, &mut a.writer);
        tokio::pin!(up, down);
        let (mut up_ended, mut down_ended) = (false, false);
        let gone = loop {
            if up_ended && down_ended {
                break None;
            }
            tokio::select! {
                result = &mut up, if !up_ended => match result {
                    Ok(()) => up_ended = true,
                    Err(Failed::Read) => break Some(Gone::Drained),
                    Err(Failed::Write) => { up_ended = true; break Some(Gone::B) }
                },
                result = &mut down, if !down_ended => match result {
                    Ok(()) => down_ended = true,
                    Err(Failed::Read) => break Some(Gone::Drained),
                    Err(Failed::Write) => { down_ended = true; break Some(Gone::A) }
                },
                () = broken(a_tcp.as_ref()) => break Some(Gone::A),
                () = broken(b_tcp.as_ref()) => break Some(Gone::B),
            }
        };
        match gone {
            Some(Gone::A) if !up_ended => drop(tokio::time::timeout(LAST_WORDS, up).await),
            Some(Gone::B) if !down_ended => drop(tokio::time::timeout(LAST_WORDS, down).await),
            _ => {}
        }
        gone
    };
    if gone.is_none() {
        a.finish();
        b.finish();
    }
}
