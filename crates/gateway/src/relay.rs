//! Copies between two connections: each direction ends for itself, and a reset on one side is one on the other.
//!
//! Idle directions hold no buffer, and none reads on before what it has read is written: a slow reader holds its writer up.

use rustix::fd::AsFd;
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{sleep, timeout};

/// What is read at a time, and where it waits for a slow reader.
const LARGE: usize = 1024 * 1024;
/// The same where that many large ones are in use: readers who take nothing are to cost this process little.
const SMALL: usize = 16 * 1024;
const MOST_LARGE: usize = 8;
/// How long what was sent before the other side failed may take to be passed on, to a slow reader.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long it may take to be seen.
const A_MOMENT: Duration = Duration::from_millis(20);
/// Buffers that are kept for the next one who needs one.
const MOST_SPARE: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
    static IN_USE: Cell<usize> = const { Cell::new(0) };
}

/// A buffer as long as there is something to copy. Fresh memory for each would cost more than the copying.
struct Buffer(Box<[u8]>);

impl Buffer {
    fn take() -> Self {
        if IN_USE.get() >= MOST_LARGE {
            return Self(vec![0; SMALL].into_boxed_slice());
        }
        IN_USE.set(IN_USE.get() + 1);
        let spare = SPARE.with_borrow_mut(Vec::pop);
        Self(spare.unwrap_or_else(|| vec![0; LARGE].into_boxed_slice()))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        if buffer.len() != LARGE {
            return;
        }
        // At the thread's end there is nobody to keep it for.
        let _ = IN_USE.try_with(|in_use| in_use.set(in_use.get() - 1));
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

    pub(crate) fn add_back(&self, bytes: u64) {
        self.back.fetch_add(bytes, Ordering::Relaxed);
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
        let holds = [AtomicBool::new(false), AtomicBool::new(false)];
        let out = pin!(pump(inner_read, outer_write, &copied.out, &holds[0]));
        let back = pin!(pump(outer_read, inner_write, &copied.back, &holds[1]));
        both(out, back, [&holds[0], &holds[1]]).await
    };
    if ended.is_err() {
        swallow(inner).await;
        reset(&*inner);
        reset(&*outer);
    }
    ended
}

/// Takes what a program still sends, as long as it does: a reset before it has read the last words would keep it from them.
pub(crate) async fn swallow(inner: &mut TcpStream) {
    let mut buffer = Buffer::take();
    let _ =
        timeout(LAST_WORDS, async { while let Ok(Ok(1..)) = timeout(A_MOMENT, inner.read(&mut buffer.0)).await {} })
            .await;
}

/// Waits for both directions. If one fails, the other passes on what was sent before: a server that does not want the rest of a
/// request answers, and resets.
///
/// # Errors
/// The first failure.
pub(crate) async fn both<O, B>(mut out: Pin<&mut O>, mut back: Pin<&mut B>, holds: [&AtomicBool; 2]) -> io::Result<()>
where
    O: Future<Output = io::Result<()>>,
    B: Future<Output = io::Result<()>>,
{
    tokio::select! {
        ended = &mut out => match ended {
            Ok(()) => back.await,
            Err(error) => {
                last_words(back, holds[1]).await;
                Err(error)
            }
        },
        ended = &mut back => match ended {
            Ok(()) => out.await,
            Err(error) => {
                last_words(out, holds[0]).await;
                Err(error)
            }
        },
    }
}

/// Lets a direction end, while it holds what it has not passed on.
async fn last_words(mut direction: Pin<&mut impl Future<Output = io::Result<()>>>, holds: &AtomicBool) {
    let passed_on = async {
        loop {
            tokio::select! {
                _ = &mut direction => return,
                () = sleep(A_MOMENT) => if !holds.load(Ordering::Relaxed) {
                    return;
                },
            }
        }
    };
    let _ = timeout(LAST_WORDS, passed_on).await;
}

/// `holds` says whether something was read that is not written yet.
async fn pump(read: ReadHalf<'_>, mut write: WriteHalf<'_>, count: &AtomicU64, holds: &AtomicBool) -> io::Result<()> {
    loop {
        read.readable().await?;
        let mut buffer = Buffer::take();
        loop {
            holds.store(false, Ordering::Relaxed);
            let len = match read.try_read(&mut buffer.0) {
                Ok(0) => return write.shutdown().await,
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            holds.store(true, Ordering::Relaxed);
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
    async fn what_was_said_before_a_reset_arrives() {
        let ((mut client, mut inner), (mut outer, mut server)) = (pair().await, pair().await);
        let talk = async {
            // More than fits on the way, so that the reset is met while writing.
            let flood = async {
                let block = vec![0; 1 << 20];
                while client.write_all(&block).await.is_ok() {}
                let mut said = Vec::new();
                while client.read_buf(&mut said).await.is_ok_and(|len| len > 0) {}
                said
            };
            let refuse = async {
                server.read_exact(&mut [0; 1000]).await.unwrap();
                server.write_all(b"no").await.unwrap();
                // What is left unread resets.
                drop(server);
            };
            tokio::join!(flood, refuse).0
        };
        let copied = Copied::default();
        let serve = async {
            let ended = relay(&mut inner, &mut outer, &copied).await;
            drop((inner, outer));
            ended
        };
        let (ended, said) = within(async { tokio::join!(serve, talk) }).await;
        ended.unwrap_err();
        assert_eq!(said, b"no");
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
