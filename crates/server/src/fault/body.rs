//! Answers that break off, and answers that are slow.

use axum::body::{Body, Bytes};
use futures_util::task::AtomicWaker;
use http_body::{Body as HttpBody, Frame};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

/// The answer broke off here.
#[derive(Debug, thiserror::Error)]
#[error("a fault rule cuts the answer here")]
struct Cut;

/// Breaks off after so many bytes of messages; the lengths that gRPC puts before each are not counted.
///
/// A reset overtakes what is still queued, so it waits until the last bytes are on their way: the client always gets what
/// the rule left it.
pub(super) struct CutBody {
    body: Body,
    left: u64,
    prefix: Prefix,
    sent: Option<Arc<Sent>>,
}

/// Where in gRPC's framing: a flag, a length of four bytes, and so many bytes of message.
#[derive(Default)]
struct Prefix {
    read: usize,
    length: [u8; 4],
    message: u64,
}

/// Told when the last of some bytes has gone.
#[derive(Default)]
struct Sent {
    done: AtomicBool,
    waker: AtomicWaker,
}

struct Tracked {
    bytes: Bytes,
    sent: Arc<Sent>,
}

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.sent.done.store(true, Ordering::Release);
        self.sent.waker.wake();
    }
}

impl CutBody {
    pub(super) fn new(body: Body, after: u64) -> Self {
        Self { body, left: after, prefix: Prefix::default(), sent: None }
    }

    /// How much of this may go, and whether that is the end.
    fn allowed(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && self.left > 0 {
            if self.prefix.message == 0 {
                self.prefix.push(bytes[at]);
                at += 1;
                continue;
            }
            let rest = u64::try_from(bytes.len() - at).unwrap_or(u64::MAX);
            let take = rest.min(self.prefix.message).min(self.left);
            self.prefix.message -= take;
            self.left -= take;
            at += usize::try_from(take).unwrap_or(usize::MAX);
        }
        at
    }
}

impl Prefix {
    fn push(&mut self, byte: u8) {
        if self.read > 0 {
            self.length[self.read - 1] = byte;
        }
        self.read += 1;
        if self.read == 5 {
            self.read = 0;
            self.message = u64::from(u32::from_be_bytes(self.length));
        }
    }
}

impl HttpBody for CutBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        if this.left == 0 {
            if let Some(sent) = &this.sent {
                sent.waker.register(cx.waker());
                if !sent.done.load(Ordering::Acquire) {
                    return Poll::Pending;
                }
            }
            return Poll::Ready(Some(Err(axum::Error::new(Cut))));
        }
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)).transpose()? else {
            return Poll::Ready(None);
        };
        let mut bytes = match frame.into_data() {
            Ok(bytes) => bytes,
            Err(other) => return Poll::Ready(Some(Ok(other))),
        };
        bytes.truncate(this.allowed(&bytes));
        if this.left == 0 {
            let sent = Arc::new(Sent::default());
            this.sent = Some(Arc::clone(&sent));
            bytes = Bytes::from_owner(Tracked { bytes, sent });
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

/// Passes so many bytes a second.
pub(super) struct SlowBody {
    body: Body,
    /// Bytes a second.
    rate: u64,
    rest: Bytes,
    sleep: Pin<Box<Sleep>>,
}

impl SlowBody {
    /// Between two pieces. Shorter would cost more than it shows.
    const STEP: Duration = Duration::from_millis(20);

    pub(super) fn new(body: Body, rate: u64) -> Self {
        Self { body, rate, rest: Bytes::new(), sleep: Box::pin(tokio::time::sleep_until(Instant::now())) }
    }

    fn piece(&self) -> usize {
        let step = u64::try_from(Self::STEP.as_millis()).unwrap_or(1);
        usize::try_from((self.rate.saturating_mul(step) / 1000).max(1)).unwrap_or(usize::MAX)
    }
}

impl HttpBody for SlowBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        ready!(this.sleep.as_mut().poll(cx));
        if this.rest.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)).transpose()? else {
                return Poll::Ready(None);
            };
            match frame.into_data() {
                Ok(bytes) => this.rest = bytes,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(this.piece()));
        #[expect(clippy::cast_precision_loss, reason = "nobody measures it so exactly")]
        let pause = Duration::from_secs_f64(piece.len() as f64 / this.rate as f64);
        // From when the last piece was due, so that late wake-ups do not add up; but what was not used is not saved up.
        let from = this.sleep.deadline().max(Instant::now().checked_sub(Self::STEP).unwrap_or_else(Instant::now));
        this.sleep.as_mut().reset(from + pause);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::BodyExt as _;

    /// Three messages of 4, 0 and 10 bytes, in chunks of a size.
    fn messages(chunk: usize) -> Body {
        let mut bytes = Vec::new();
        for length in [4_u8, 0, 10] {
            bytes.extend([0, 0, 0, 0, length]);
            bytes.extend(vec![length; usize::from(length)]);
        }
        let chunks: Vec<_> = bytes.chunks(chunk).map(|chunk| Ok::<_, axum::Error>(chunk.to_vec())).collect();
        Body::from_stream(stream::iter(chunks))
    }

    #[tokio::test]
    async fn it_breaks_off_at_the_byte() {
        for chunk in 1..=30 {
            for (after, whole) in [(1, 6), (3, 8), (4, 9), (5, 20), (13, 28), (14, 29)] {
                let mut body = CutBody::new(messages(chunk), after);
                let mut bytes = 0;
                let error = loop {
                    match body.frame().await.unwrap() {
                        Ok(frame) => bytes += frame.into_data().unwrap().len(),
                        Err(error) => break error,
                    }
                };
                assert_eq!(bytes, whole, "after {after}, in chunks of {chunk}");
                assert!(error.to_string().contains("cuts"), "{error}");
            }
            assert_eq!(CutBody::new(messages(chunk), 15).collect().await.unwrap().to_bytes().len(), 29);
        }
        CutBody::new(messages(9), 0).frame().await.unwrap().unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_bytes_go_before_it_breaks() {
        let mut body = CutBody::new(messages(30), 4);
        let last = body.frame().await.unwrap().unwrap();
        tokio::time::timeout(Duration::from_secs(1), body.frame()).await.unwrap_err();
        let (broken, ()) = tokio::join!(body.frame(), async { drop(last) });
        broken.unwrap().unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_as_slow_as_it_is_told() {
        let start = Instant::now();
        let body = SlowBody::new(Body::from(vec![0; 10_000]), 2000);
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 10_000);
        let took = start.elapsed().as_secs_f64();
        assert!((4.9..5.1).contains(&took), "{took}");
        let start = Instant::now();
        let body = SlowBody::new(Body::from(vec![0; 3]), 1);
        body.collect().await.unwrap();
        assert!((2.9..3.1).contains(&start.elapsed().as_secs_f64()));
    }
}
