//! Copies between two connections: each direction ends for itself, and a reset on one side is one on the other.
//!
//! Idle directions hold no buffer, and none reads on before what it has read is written: a slow reader holds its writer up.

use rustix::fd::AsFd;
use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// What is read at a time.
const CHUNK: usize = 256 * 1024;
/// Buffers that are kept for the next one who needs one.
const MOST_SPARE: usize = 8;

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer as long as there is something to copy. Fresh memory for each would cost more than the copying.
struct Buffer(Box<[u8]>);

impl Buffer {
    fn take() -> Self {
        let spare = SPARE.with_borrow_mut(Vec::pop);
        Self(spare.unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice()))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // At the thread's end there is nobody to keep it for.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MOST_SPARE {
                spare.push(buffer);
            }
        });
    }
}

/// Bytes that were copied: from the first to the second, and back.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    out: AtomicU64,
    back: AtomicU64,
}

impl Copied {
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.out.load(Ordering::Relaxed), self.back.load(Ordering::Relaxed))
    }

    pub(crate) fn add_out(&self, bytes: u64) {
        self.out.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Copies until both directions have ended.
///
/// # Errors
/// If one side was reset or failed; both are then [`reset`].
pub(crate) async fn relay(inner: &mut TcpStream, outer: &mut TcpStream, copied: &Copied) -> io::Result<()> {
    let _ = (inner.set_nodelay(true), outer.set_nodelay(true));
    let ended = {
        let (inner_read, inner_write) = inner.split();
        let (outer_read, outer_write) = outer.split();
        tokio::try_join!(pump(inner_read, outer_write, &copied.out), pump(outer_read, inner_write, &copied.back))
    };
    if ended.is_err() {
        reset(&*inner);
        reset(&*outer);
    }
    ended.map(drop)
}

async fn pump(read: ReadHalf<'_>, mut write: WriteHalf<'_>, count: &AtomicU64) -> io::Result<()> {
    loop {
        read.readable().await?;
        let mut buffer = Buffer::take();
        loop {
            let len = match read.try_read(&mut buffer.0) {
                Ok(0) => return write.shutdown().await,
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            write.write_all(&buffer.0[..len]).await?;
            count.fetch_add(len as u64, Ordering::Relaxed);
        }
    }
}

/// What is sent when it is dropped is a reset, not an end.
pub(crate) fn reset(stream: impl AsFd) {
    // socket(7): lingering for no time is a reset.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (one, two) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (one.unwrap(), two.unwrap().0)
    }

    async fn within<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), work).await.expect("in time")
    }

    #[tokio::test]
    async fn each_direction_ends_for_itself() {
        let ((mut client, mut inner), (mut outer, mut server)) = (pair().await, pair().await);
        let copied = Copied::default();
        let talk = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut said = String::new();
            server.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, "question");
            // The other way still works.
            server.write_all(b"answer").await.unwrap();
            drop(server);
            said.clear();
            client.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, "answer");
        };
        let (ended, ()) = within(async { tokio::join!(relay(&mut inner, &mut outer, &copied), talk) }).await;
        ended.unwrap();
        assert_eq!(copied.bytes(), (8, 6));
    }

    #[tokio::test]
    async fn a_reset_is_passed_on() {
        let ((mut client, mut inner), (mut outer, server)) = (pair().await, pair().await);
        let talk = async {
            reset(&server);
            drop(server);
        };
        let copied = Copied::default();
        let (ended, ()) = within(async { tokio::join!(relay(&mut inner, &mut outer, &copied), talk) }).await;
        ended.unwrap_err();
        drop((inner, outer));
        let error = within(client.read(&mut [0; 1])).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
