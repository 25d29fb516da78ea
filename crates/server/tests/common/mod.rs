//! What the tests of the front and of faults share: a small service behind a real socket, clients for it, and a deadline
//! for everything.
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod raw;

use axum::body::Body;
use computesdk_modal_proto::router::task_command_router_client::TaskCommandRouterClient;
use computesdk_modal_proto::router::task_command_router_server::{TaskCommandRouter, TaskCommandRouterServer};
use computesdk_modal_proto::router::*;
use computesdk_server::front::{FrontOptions, Peer, ServeReport, serve};
use computesdk_tunnel::Authority;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tower::Service;

pub(crate) type Client = TaskCommandRouterClient<Channel>;

/// Longer than anything here takes, shorter than anybody waits.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it takes too long")
}

/// Until it is so.
pub(crate) async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// What the service does, in words of the command router:
/// - `TaskExecStdinStatus` says how many calls there were;
/// - `TaskExecStdioRead` sends `offset` messages of 1000 bytes, then ends;
/// - `TaskExecStdinWriteStream` swallows;
/// - `TaskExecWait` waits until [`Echo::release`];
/// - `TaskExecPoll` answers whether the client speaks TLS.
#[derive(Default)]
pub(crate) struct Echo {
    pub(crate) calls: AtomicUsize,
    /// `TaskExecWait` calls that wait now.
    pub(crate) waiting: AtomicUsize,
    pub(crate) swallowed: AtomicUsize,
    pub(crate) release: Notify,
}

struct Count<'a>(&'a AtomicUsize);

impl<'a> Count<'a> {
    fn up(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::SeqCst);
        Self(counter)
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) struct Shared(pub(crate) Arc<Echo>);

type Answer<T> = Result<tonic::Response<T>, Status>;

#[tonic::async_trait]
impl TaskCommandRouter for Shared {
    async fn task_exec_start(&self, _: tonic::Request<TaskExecStartRequest>) -> Answer<TaskExecStartResponse> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        Ok(tonic::Response::new(TaskExecStartResponse {}))
    }

    type TaskExecStdioReadStream = BoxStream<'static, Result<TaskExecStdioReadResponse, Status>>;

    async fn task_exec_stdio_read(
        &self,
        request: tonic::Request<TaskExecStdioReadRequest>,
    ) -> Answer<Self::TaskExecStdioReadStream> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        let message = || Ok(TaskExecStdioReadResponse { data: vec![b'x'; 1000].into() });
        let many = usize::try_from(request.get_ref().offset).unwrap();
        Ok(tonic::Response::new(stream::repeat_with(message).take(many).boxed()))
    }

    async fn task_exec_stdin_write(
        &self,
        request: tonic::Request<TaskExecStdinWriteRequest>,
    ) -> Answer<TaskExecStdinWriteResponse> {
        self.0.swallowed.fetch_add(request.get_ref().data.len(), Ordering::SeqCst);
        Ok(tonic::Response::new(TaskExecStdinWriteResponse {}))
    }

    async fn task_exec_stdin_write_stream(
        &self,
        request: tonic::Request<Streaming<TaskExecStdinWriteStreamRequest>>,
    ) -> Answer<TaskExecStdinWriteStreamResponse> {
        let _waiting = Count::up(&self.0.waiting);
        let mut stream = request.into_inner();
        while let Some(message) = stream.message().await? {
            if let Some(task_exec_stdin_write_stream_request::Payload::Data(data)) = message.payload {
                self.0.swallowed.fetch_add(data.len(), Ordering::SeqCst);
            }
        }
        Ok(tonic::Response::new(TaskExecStdinWriteStreamResponse {}))
    }

    async fn task_exec_stdin_status(
        &self,
        _: tonic::Request<TaskExecStdinStatusRequest>,
    ) -> Answer<TaskExecStdinStatusResponse> {
        let calls = self.0.calls.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(tonic::Response::new(TaskExecStdinStatusResponse { num_bytes_written: calls as u64, closed: false }))
    }

    async fn task_exec_wait(&self, _: tonic::Request<TaskExecWaitRequest>) -> Answer<TaskExecWaitResponse> {
        let released = self.0.release.notified();
        let _waiting = Count::up(&self.0.waiting);
        released.await;
        Ok(tonic::Response::new(TaskExecWaitResponse { exit_status: None }))
    }

    async fn task_exec_poll(&self, request: tonic::Request<TaskExecPollRequest>) -> Answer<TaskExecPollResponse> {
        let peer = request.extensions().get::<Peer>().copied().unwrap();
        assert!(peer.addr.ip().is_loopback() && peer.local.ip().is_loopback() && peer.addr != peer.local);
        let status = task_exec_poll_response::ExitStatus::Code(i32::from(peer.tls));
        Ok(tonic::Response::new(TaskExecPollResponse { exit_status: Some(status) }))
    }

    type SandboxStdioReadV2Stream = BoxStream<'static, Result<SandboxStdioReadV2Response, Status>>;

    async fn sandbox_stdio_read_v2(
        &self,
        _: tonic::Request<SandboxStdioReadV2Request>,
    ) -> Answer<Self::SandboxStdioReadV2Stream> {
        Ok(tonic::Response::new(stream::pending().boxed()))
    }

    async fn sandbox_stdin_write_v2(
        &self,
        _: tonic::Request<SandboxStdinWriteV2Request>,
    ) -> Answer<SandboxStdinWriteV2Response> {
        Err(Status::not_found("nothing here"))
    }

    async fn sandbox_wait_until_ready(
        &self,
        _: tonic::Request<SandboxWaitUntilReadyTcrRequest>,
    ) -> Answer<SandboxWaitUntilReadyTcrResponse> {
        Err(Status::unimplemented("no"))
    }

    async fn task_set_network_access(
        &self,
        _: tonic::Request<TaskSetNetworkAccessRequest>,
    ) -> Answer<TaskSetNetworkAccessResponse> {
        Err(Status::unimplemented("no"))
    }
}

/// The service, and a route for HTTP/1.1 beside it.
pub(crate) fn routes(echo: &Arc<Echo>) -> axum::Router {
    let server = TaskCommandRouterServer::new(Shared(Arc::clone(echo))).max_decoding_message_size(100 << 20);
    axum::Router::new()
        .route_service("/modal.task_command_router.TaskCommandRouter/{method}", server)
        .route("/hello", axum::routing::get(async || "hello\n"))
        // Neither reads nor answers.
        .route("/stuck", axum::routing::any(async |_body: Body| std::future::pending::<()>().await))
}

/// A server on a port of its own. Dropping it ends it.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) echo: Arc<Echo>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<ServeReport>,
    _ca: Option<tempfile::TempDir>,
}

impl Running {
    pub(crate) async fn start(options: FrontOptions) -> Self {
        let echo = Arc::new(Echo::default());
        let service = routes(&echo);
        Self::with(echo, service, options).await
    }

    pub(crate) async fn with<S>(echo: Arc<Echo>, service: S, options: FrontOptions) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, service, options, stopped.map(|_| ())));
        Self { addr, echo, stop: Some(stop), task, _ca: None }
    }

    /// With a certificate of a local authority.
    pub(crate) async fn tls() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let mut options = FrontOptions::default();
        options.tls = Some(authority.server_config(&["localhost".to_owned()], true).unwrap());
        Self { _ca: Some(dir), ..Self::start(options).await }
    }

    pub(crate) async fn client(&self) -> Client {
        plain_client(self.addr).await
    }

    pub(crate) fn signal_stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) async fn stop(mut self) -> ServeReport {
        self.signal_stop();
        self.ended().await
    }

    pub(crate) async fn ended(self) -> ServeReport {
        soon(self.task).await.unwrap()
    }
}

/// An empty call is answered.
pub(crate) async fn works(client: &mut Client) {
    soon(client.task_exec_stdin_status(TaskExecStdinStatusRequest::default())).await.unwrap();
}

pub(crate) async fn plain_client(addr: SocketAddr) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    TaskCommandRouterClient::new(soon(endpoint.connect()).await.unwrap()).max_decoding_message_size(100 << 20)
}

/// As Modal's Python client: TLS, and any certificate will do.
pub(crate) async fn tls_client(addr: SocketAddr) -> Client {
    let connector = tower::service_fn(move |_| async move {
        let stream = TcpStream::connect(addr).await?;
        // As Python's asyncio does.
        stream.set_nodelay(true)?;
        Ok::<_, std::io::Error>(TokioIo::new(tls_stream(stream, &["h2"]).await?))
    });
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    TaskCommandRouterClient::new(soon(endpoint.connect_with_connector(connector)).await.unwrap())
}

pub(crate) async fn tls_stream(
    stream: TcpStream,
    alpn: &[&str],
) -> std::io::Result<impl AsyncRead + AsyncWrite + Unpin> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anyone)).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

pub(crate) async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
