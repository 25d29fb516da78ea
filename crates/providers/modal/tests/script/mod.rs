//! A server whose answers a test chooses, call by call, down to the byte at which a stream breaks.
//!
//! It knows no rules of its own: what it was asked is kept for the test to look at. Calls that a test does not care about are answered
//! as by a server on which everything works.

#![allow(dead_code, reason = "each test uses a part of it")]

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use computesdk_modal::{Modal, ModalConfig};
use computesdk_modal_proto::client as control;
use computesdk_modal_proto::client::generic_result::GenericStatus;
use computesdk_modal_proto::router;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};
use tonic::Status;

/// The example of the specification of ULIDs.
pub(crate) const SANDBOX: &str = "sb-01ARZ3NDEKTSV4RRFFQ69G5FAV";
/// One of the first generation.
pub(crate) const OLD_SANDBOX: &str = "sb-0123456789012345678901";

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) rpc: String,
    pub(crate) headers: HeaderMap,
    messages: Vec<Bytes>,
}

impl Call {
    /// The first message.
    pub(crate) fn message<M: Message + Default>(&self) -> M {
        M::decode(self.messages.first().cloned().unwrap_or_default()).expect("a message of that kind")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("plain text"))
    }
}

/// What is answered.
pub(crate) struct Answer {
    /// Bytes of messages, framed; an error breaks the stream.
    body: BoxStream<'static, io::Result<Bytes>>,
    status: Status,
}

/// A message as it goes over the wire.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let content = message.encode_to_vec();
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(content.len()).expect("short"));
    bytes.put_slice(&content);
    bytes.freeze()
}

impl Answer {
    pub(crate) fn message(message: &impl Message) -> Self {
        Self::messages([framed(message)])
    }

    pub(crate) fn messages(framed: impl IntoIterator<Item = Bytes>) -> Self {
        let framed: Vec<_> = framed.into_iter().map(Ok).collect();
        Self { body: stream::iter(framed).boxed(), status: Status::ok("") }
    }

    pub(crate) fn status(status: Status) -> Self {
        Self { body: stream::empty().boxed(), status }
    }

    /// These bytes, then a reset.
    pub(crate) fn broken_after(bytes: Bytes) -> Self {
        let all = [Ok(bytes), Err(io::Error::other("the script breaks it"))];
        Self { body: stream::iter(all).boxed(), status: Status::ok("") }
    }

    /// The answer once the gate is open.
    pub(crate) fn once_open(gate: Arc<tokio::sync::Notify>, message: &impl Message) -> Self {
        let bytes = framed(message);
        let body = stream::once(async move {
            gate.notified().await;
            Ok(bytes)
        });
        Self { body: body.boxed(), status: Status::ok("") }
    }
}

type Handler = Box<dyn FnMut(&Call) -> Answer + Send>;

#[derive(Default)]
struct Shared {
    handlers: Mutex<HashMap<String, Handler>>,
    calls: Mutex<Vec<Call>>,
}

/// The server. It ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Script {
    /// One on which everything works.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let script = Self { address, shared: Arc::default() };
        script.answer_everything();
        let app = axum::Router::new().fallback(handle).with_state(Arc::clone(&script.shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        script
    }

    /// A provider that speaks to it.
    pub(crate) fn modal(&self) -> Modal {
        let mut config = ModalConfig::default();
        config.server_url = Some(format!("http://{}", self.address));
        config.token_id = Some("ak-1".into());
        config.token_secret = Some("as-s3cret".to_owned().into());
        config.environment = Some("staging".into());
        Modal::new(config)
    }

    /// From now on this call is answered so.
    pub(crate) fn on(&self, rpc: &str, handler: impl FnMut(&Call) -> Answer + Send + 'static) {
        self.shared.handlers.lock().expect("whole").insert(rpc.to_owned(), Box::new(handler));
    }

    /// From now on this call is answered with this message.
    pub(crate) fn answer(&self, rpc: &str, message: impl Message + 'static) {
        self.on(rpc, move |_| Answer::message(&message));
    }

    /// What was asked, of one call.
    pub(crate) fn calls(&self, rpc: &str) -> Vec<Call> {
        self.shared.calls.lock().expect("whole").iter().filter(|call| call.rpc == rpc).cloned().collect()
    }

    /// Names of the calls so far, in order.
    pub(crate) fn order(&self) -> Vec<String> {
        self.shared.calls.lock().expect("whole").iter().map(|call| call.rpc.clone()).collect()
    }

    /// Waits until this call was made so often.
    pub(crate) async fn until(&self, rpc: &str, count: usize) -> Vec<Call> {
        let end = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let calls = self.calls(rpc);
            if calls.len() >= count {
                return calls;
            }
            assert!(tokio::time::Instant::now() < end, "{rpc} was asked {} times, not {count}", calls.len());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn answer_everything(&self) {
        let url = format!("https://{}", self.address);
        self.answer("AuthTokenGet", control::AuthTokenGetResponse { token: token(1200) });
        self.answer("AppGetOrCreate", control::AppGetOrCreateResponse { app_id: "ap-1".into(), handle_metadata: None });
        let success = control::GenericResult { status: GenericStatus::Success.into(), ..Default::default() };
        let image =
            control::ImageGetOrCreateResponse { image_id: "im-1".into(), result: Some(success), metadata: None };
        self.answer("ImageGetOrCreate", image);
        self.answer(
            "SandboxCreateV2",
            control::SandboxCreateV2Response {
                sandbox_id: SANDBOX.into(),
                task_id: "ta-1".into(),
                ..Default::default()
            },
        );
        let metadata = Some(control::SandboxHandleMetadata { result: None, app_id: "ap-1".into() });
        for rpc in ["SandboxWait", "SandboxWaitV2"] {
            self.answer(rpc, control::SandboxWaitResponse { result: None, metadata: metadata.clone() });
        }
        for rpc in ["SandboxGetTaskId", "SandboxGetTaskIdV2"] {
            self.answer(rpc, control::SandboxGetTaskIdResponse { task_id: Some("ta-1".into()), task_result: None });
        }
        self.answer(
            "SandboxGetCommandRouterAccess",
            control::SandboxGetCommandRouterAccessResponse { jwt: token(3600), url: url.clone(), ..Default::default() },
        );
        self.answer(
            "TaskGetCommandRouterAccess",
            control::TaskGetCommandRouterAccessResponse { jwt: token(3600), url },
        );
        for rpc in ["SandboxTerminate", "SandboxTerminateV2"] {
            let shared = Arc::downgrade(&self.shared);
            self.on(rpc, move |_| {
                if let Some(shared) = shared.upgrade() {
                    // In a task: this handler runs under the lock.
                    tokio::spawn(async move {
                        let result =
                            control::GenericResult { status: GenericStatus::Terminated.into(), ..Default::default() };
                        let answer = control::SandboxWaitResponse { result: Some(result), metadata: None };
                        let mut handlers = shared.handlers.lock().expect("whole");
                        for rpc in ["SandboxWait", "SandboxWaitV2"] {
                            let answer = answer.clone();
                            handlers.insert(rpc.to_owned(), Box::new(move |_| Answer::message(&answer)));
                        }
                    });
                }
                Answer::message(&control::SandboxTerminateResponse::default())
            });
        }
        self.answer("TaskExecStart", router::TaskExecStartResponse {});
        self.on("TaskExecStdioRead", |_| Answer::messages([]));
        self.answer("TaskExecStdinWrite", router::TaskExecStdinWriteResponse {});
        self.answer("SandboxStdinWriteV2", router::SandboxStdinWriteV2Response {});
        let exit_status = Some(router::task_exec_wait_response::ExitStatus::Code(0));
        self.answer("TaskExecWait", router::TaskExecWaitResponse { exit_status });
    }
}

/// A token that is good for so many seconds.
pub(crate) fn token(seconds: i64) -> String {
    let now = i64::try_from(UNIX_EPOCH.elapsed().expect("after 1970").as_secs()).expect("soon");
    // Never the same twice.
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let payload = format!(r#"{{"exp":{},"n":{number}}}"#, now + seconds);
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let rpc = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    let mut bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut messages = Vec::new();
    while bytes.len() >= 5 {
        bytes.advance(1);
        let length = bytes.get_u32() as usize;
        messages.push(bytes.split_to(length.min(bytes.len())));
    }
    let call = Call { rpc: rpc.clone(), headers: parts.headers, messages };
    shared.calls.lock().expect("whole").push(call.clone());
    let answer = match shared.handlers.lock().expect("whole").get_mut(&rpc) {
        Some(handler) => handler(&call),
        None => Answer::status(Status::unimplemented(format!("{rpc} is not in the script"))),
    };
    let mut trailers = HeaderMap::new();
    answer.status.add_header(&mut trailers).expect("a status for the wire");
    let frames = answer.body.map(|bytes| bytes.map(http_body::Frame::data));
    let frames = frames.chain(stream::once(async { Ok(http_body::Frame::trailers(trailers)) }));
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
