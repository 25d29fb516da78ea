//! Calls as bytes: any path, any headers, any body; and connections that can be broken from outside.

use crate::world::{Headers, soon};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tower::ServiceExt as _;

/// Messages as they are.
#[derive(Clone, Copy)]
pub(crate) struct AsIs;

impl Codec for AsIs {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for AsIs {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for AsIs {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Makes a call of any shape with these messages; its stream of answers.
pub(crate) async fn open(
    channel: &Channel,
    path: &str,
    headers: &Headers,
    messages: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Streaming<Bytes>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone()).max_decoding_message_size(200 << 20);
    soon("a channel", grpc.ready()).await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(messages);
    headers.put(request.metadata_mut());
    Ok(grpc.streaming(request, path.parse().unwrap(), AsIs).await?.into_inner())
}

/// The first answer to these messages, if there is any. Which messages may follow is not waited for.
pub(crate) async fn call(
    channel: &Channel,
    path: &str,
    headers: &Headers,
    messages: Vec<Bytes>,
) -> Result<Option<Bytes>, Status> {
    open(channel, path, headers, stream::iter(messages)).await?.message().await
}

/// The same with pieces of a body of which nothing has to be gRPC.
pub(crate) async fn body(
    channel: &Channel,
    path: &str,
    headers: &Headers,
    pieces: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<(), Status> {
    let frames = pieces.map(|piece| Ok::<_, Infallible>(http_body::Frame::data(piece)));
    let body = tonic::body::Body::new(StreamBody::new(frames).map_err(|never| match never {}));
    let mut request = http::Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in &headers.0 {
        request = request.header(*name, value);
    }
    let sent = channel.clone().oneshot(request.body(body).unwrap()).await;
    let answer = sent.map_err(|error| Status::unavailable(error.to_string()))?;
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return if status.code() == tonic::Code::Ok { Ok(()) } else { Err(status) };
    }
    let collected = answer.into_body().collect().await?;
    match collected.trailers().and_then(Status::from_header_map) {
        Some(status) if status.code() == tonic::Code::Ok => Ok(()),
        Some(status) => Err(status),
        None => Err(Status::unknown("no status came")),
    }
}

/// What goes before a message on the wire.
pub(crate) fn prefix(length: usize) -> Bytes {
    let mut prefix = BytesMut::new();
    prefix.put_u8(0);
    prefix.put_u32(u32::try_from(length).unwrap());
    prefix.freeze()
}

/// A connection with a hand on its socket.
pub(crate) struct Breakable {
    pub(crate) channel: Channel,
    socket: socket::Socket,
}

/// Ends that clients come to.
pub(crate) mod socket {
    use super::{Arc, Mutex};
    use std::net::{Shutdown, TcpStream};

    /// A second handle on the socket of a connection.
    #[derive(Clone, Default)]
    pub(crate) struct Socket(pub(super) Arc<Mutex<Option<TcpStream>>>);

    impl Socket {
        fn with(&self, work: impl FnOnce(&TcpStream)) {
            work(self.0.lock().unwrap().as_ref().expect("it is connected"));
        }

        /// Nothing more comes from here; there is no word of it in HTTP/2.
        pub(crate) fn half_close(&self) {
            self.with(|stream| stream.shutdown(Shutdown::Write).unwrap());
        }

        /// As when a program is killed: both ways at once.
        pub(crate) fn cut(&self) {
            self.with(|stream| drop(stream.shutdown(Shutdown::Both)));
        }
    }
}

impl Breakable {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let socket = socket::Socket::default();
        let kept = Arc::clone(&socket.0);
        let connector = tower::service_fn(move |_| {
            let kept = Arc::clone(&kept);
            async move {
                if kept.lock().unwrap().is_some() {
                    // It is broken for good: nothing connects anew behind the test's back.
                    return Err(std::io::Error::from(std::io::ErrorKind::NotConnected));
                }
                let stream = std::net::TcpStream::connect(addr)?;
                stream.set_nonblocking(true)?;
                *kept.lock().unwrap() = Some(stream.try_clone()?);
                Ok::<_, std::io::Error>(TokioIo::new(TcpStream::from_std(stream)?))
            }
        });
        // Of what is not read little is under way: thirty streams leave room for each other.
        let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap().initial_stream_window_size(64 << 10);
        let channel = soon("a connection", endpoint.connect_with_connector(connector)).await.unwrap();
        Self { channel, socket }
    }

    pub(crate) fn half_close(&self) {
        self.socket.half_close();
    }

    pub(crate) fn cut(&self) {
        self.socket.cut();
    }
}
