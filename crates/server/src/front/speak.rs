//! HTTP on a connection that has arrived: the settings of both versions, and the way of a request to the service.

use crate::front::accept::Shared;
use crate::front::arrive::Arrived;
use crate::front::names;
use crate::front::room::{Seat, Under};
use crate::front::{Abort, FrontOptions, Peer};
use axum::body::{Body, Bytes};
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tower::{Service, ServiceExt as _};

/// What a client may send of one body before it is read. A stream at full speed over loopback needs no more.
const STREAM_WINDOW: u32 = 4 << 20;
/// The same for all streams of a connection, so that one that nobody reads does not hold up the others. The allowance of
/// tiny frames is made from it too.
const CONNECTION_WINDOW: u32 = 64 << 20;
const FRAME: u32 = 64 << 10;
const STREAMS: u32 = 1024;
/// Bytes of all headers of a request.
const HEADERS: u32 = 64 << 10;
/// Requests that are opened and reset at once, before they are looked at. Somebody who cancels a hundred calls does so;
/// somebody who goes on with it attacks.
const RESETS: usize = 256;
/// Bytes of an answer that wait for a client to read on.
const UNREAD_ANSWER: usize = 256 << 10;
/// For a client to answer that it has heard of the stop.
const GOODBYE: Duration = Duration::from_millis(500);

/// The two versions of the protocol, set up once.
pub(super) struct Speech {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Speech {
    pub(super) fn new(options: &FrontOptions) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(options.head_timeout)
            // `nc -N` and its kind: the answer is still wanted.
            .half_close(true)
            .max_header_size(HEADERS as usize)
            .max_buf_size(2 * HEADERS as usize);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEADERS)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(1024)
            .max_send_buf_size(UNREAD_ANSWER)
            .keep_alive_interval(options.ping_every)
            .keep_alive_timeout(options.ping_timeout);
        Self { http1, http2 }
    }
}

/// One connection, until its end, or after the stop until its requests are done.
pub(super) async fn speak<S>(
    arrived: Arrived,
    peer: Peer,
    seat: Arc<Seat>,
    service: S,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let answer = Way { service, peer, seat: Arc::clone(&seat), shared: Arc::clone(&shared) };
    let Arrived { wire, http2 } = arrived;
    let wire = TokioIo::new(wire);
    let stopped = async { stop.wait_for(|stop| *stop).await.is_ok() };
    let ended = if http2 {
        let mut connection = pin!(shared.speech.http2.serve_connection(wire, answer));
        tokio::select! {
            ended = connection.as_mut() => ended,
            _ = stopped => {
                connection.as_mut().graceful_shutdown();
                finish(connection, &seat).await
            }
        }
    } else {
        let mut connection = pin!(shared.speech.http1.serve_connection(wire, answer));
        tokio::select! {
            ended = connection.as_mut() => ended,
            _ = stopped => {
                connection.as_mut().graceful_shutdown();
                finish(connection, &seat).await
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, peer = %peer.addr, "a connection ended");
    }
}

/// After the stop: until the client has understood, or until nothing is under way with a client that does not say so.
async fn finish(mut connection: Pin<&mut impl Future<Output = hyper::Result<()>>>, seat: &Seat) -> hyper::Result<()> {
    loop {
        match timeout(GOODBYE, connection.as_mut()).await {
            Ok(ended) => return ended,
            Err(_) if seat.is_idle() => return Ok(()),
            Err(_) => {}
        }
    }
}

/// From hyper to the service and back.
struct Way<S> {
    service: S,
    peer: Peer,
    seat: Arc<Seat>,
    shared: Arc<Shared>,
}

impl<S> hyper::service::Service<Request<Incoming>> for Way<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Answer>;
    type Error = Aborted;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under = self.seat.request();
        let mut request = request.map(Body::new);
        if let Err(refused) = names::check(&request, &self.peer, &self.shared.options.allowed_hosts) {
            return Box::pin(std::future::ready(Ok(refused.answer(&request).map(|body| Answer { body, under }))));
        }
        request.extensions_mut().insert(self.peer);
        let service = self.service.clone();
        Box::pin(async move {
            let response = match service.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            match response.extensions().get::<Abort>() {
                None => Ok(response.map(|body| Answer { body, under })),
                Some(Abort::Stream) => Err(Aborted),
                Some(Abort::Connection) => {
                    under.reset_connection();
                    // An error would reset the stream before the connection.
                    std::future::pending().await
                }
            }
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the answer was held back on purpose")]
pub(super) struct Aborted;

/// A body that is counted as under way.
pub(super) struct Answer {
    body: Body,
    #[expect(dead_code, reason = "its end is the request's")]
    under: Under,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Poll::Ready(ready!(Pin::new(&mut self.body).poll_frame(cx)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
