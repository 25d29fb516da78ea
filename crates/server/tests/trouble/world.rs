//! A server to make trouble for, and honest clients of it.

use computesdk_core::{ListFilter, Provider as _};
use computesdk_local::{Local, LocalConfig, doctor};
use computesdk_modal_proto::client::{
    self as wire, AppGetOrCreateRequest, ObjectCreationType, SandboxCreateV2Request, SandboxCreateV2Response,
    SandboxTerminateRequest, modal_client_client::ModalClientClient,
};
use computesdk_modal_proto::router::{
    TaskExecStartRequest, TaskExecStdinWriteRequest, TaskExecStdioFileDescriptor, TaskExecStdioReadRequest,
    TaskExecWaitRequest, task_command_router_client::TaskCommandRouterClient, task_exec_wait_response::ExitStatus,
};
use computesdk_server::front::ServeReport;
use computesdk_server::{Credentials, Server, ServerOptions};
use secrecy::ExposeSecret as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Longer than anything here takes, shorter than anybody waits.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);
/// The most that one message may have.
pub(crate) const MOST_MESSAGE: usize = 100 << 20;

/// With the deadline of all tests.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(WITHIN, future).await.unwrap_or_else(|_| panic!("it takes too long: {what}"))
}

/// Until it is so; `Err` says what is still missing.
pub(crate) async fn eventually(what: &str, mut check: impl FnMut() -> Result<(), String>) {
    let end = tokio::time::Instant::now() + WITHIN;
    while let Err(why) = check() {
        assert!(tokio::time::Instant::now() < end, "not within {WITHIN:?}: {what}: {why}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A text that nobody else uses.
pub(crate) fn fresh(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn config(state: PathBuf) -> LocalConfig {
    let mut config = LocalConfig::default();
    config.authority_dir = Some(state.join("ca"));
    config.state_dir = Some(state);
    // Shared by all tests, since making it takes seconds.
    config.cache_dir = Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("trouble-cache"));
    config
}

/// How sandboxes are kept apart here, or why they cannot be.
pub(crate) fn isolation() -> Result<String, String> {
    let state = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let found = runtime.block_on(doctor(&config(state.path().to_owned()))).map_err(|error| error.report())?;
    found.rung.ok_or_else(|| String::from("this machine offers no sandbox isolation; see `compute doctor`"))
}

/// Headers for every call of a client.
#[derive(Clone)]
pub(crate) struct Headers(pub(crate) Vec<(&'static str, String)>);

impl tonic::service::Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        self.put(request.metadata_mut());
        Ok(request)
    }
}

impl Headers {
    pub(crate) fn put(&self, metadata: &mut MetadataMap) {
        for (name, value) in &self.0 {
            metadata.insert(*name, AsciiMetadataValue::try_from(value.as_str()).unwrap());
        }
    }
}

pub(crate) type Control = ModalClientClient<InterceptedService<Channel, Headers>>;
pub(crate) type Router = TaskCommandRouterClient<InterceptedService<Channel, Headers>>;

/// Who has a token.
#[derive(Clone)]
pub(crate) struct Who {
    pub(crate) addr: SocketAddr,
    pub(crate) channel: Channel,
    pub(crate) token: Credentials,
}

impl Who {
    pub(crate) fn headers(&self) -> Headers {
        let secret = self.token.token_secret.expose_secret().to_owned();
        Headers(vec![("x-modal-token-id", self.token.token_id.clone()), ("x-modal-token-secret", secret)])
    }

    pub(crate) fn control(&self) -> Control {
        self.control_with(Vec::new())
    }

    /// With other headers besides.
    pub(crate) fn control_with(&self, more: Vec<(&'static str, String)>) -> Control {
        let mut headers = self.headers();
        headers.0.extend(more);
        control(self.channel.clone(), headers)
    }

    /// The same client by a connection of its own.
    pub(crate) async fn apart(&self) -> Self {
        Self { channel: connect(self.addr).await, ..self.clone() }
    }

    pub(crate) async fn app(&self, name: &str) -> String {
        let request = AppGetOrCreateRequest {
            app_name: name.into(),
            object_creation_type: ObjectCreationType::CreateIfMissing.into(),
            ..Default::default()
        };
        soon("an app", self.control().app_get_or_create(request)).await.unwrap().into_inner().app_id
    }

    /// What asks for a sandbox of this command; none, and it stays.
    pub(crate) async fn asking(&self, command: &[&str]) -> SandboxCreateV2Request {
        let definition = wire::Sandbox {
            entrypoint_args: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout_secs: 600,
            ..Default::default()
        };
        SandboxCreateV2Request { app_id: self.app("trouble").await, definition: Some(definition), ..Default::default() }
    }

    /// A sandbox that stays until it is ended.
    pub(crate) async fn sandbox(&self) -> Guest {
        let request = self.asking(&[]).await;
        let made = soon("a sandbox", self.control().sandbox_create_v2(request)).await.unwrap().into_inner();
        self.guest(made)
    }

    pub(crate) fn guest(&self, made: SandboxCreateV2Response) -> Guest {
        let jwt = made.command_router_access.as_ref().unwrap().jwt.clone();
        Guest { who: self.clone(), id: made.sandbox_id, task: made.task_id, jwt }
    }

    pub(crate) async fn end(&self, sandbox_id: &str) {
        let request = SandboxTerminateRequest { sandbox_id: sandbox_id.into() };
        soon("an end", self.control().sandbox_terminate_v2(request)).await.unwrap();
    }

    /// The ids of all of its sandboxes that run, as the server tells them.
    pub(crate) async fn listed(&self) -> Vec<String> {
        let mut found: Vec<wire::SandboxInfo> = Vec::new();
        loop {
            let request = wire::SandboxListRequest {
                before_timestamp: found.last().map_or(0.0, |last| last.created_at),
                ..Default::default()
            };
            let page = soon("a list", self.control().sandbox_list_v2(request)).await.unwrap().into_inner().sandboxes;
            if page.is_empty() {
                return found.into_iter().map(|info| info.id).collect();
            }
            found.extend(page);
        }
    }
}

pub(crate) fn control(channel: Channel, headers: Headers) -> Control {
    ModalClientClient::with_interceptor(channel, headers).max_decoding_message_size(MOST_MESSAGE)
}

/// One sandbox, and the way to its router.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) who: Who,
    pub(crate) id: String,
    pub(crate) task: String,
    pub(crate) jwt: String,
}

impl Guest {
    pub(crate) fn headers(&self) -> Headers {
        Headers(vec![("authorization", format!("Bearer {}", self.jwt))])
    }

    pub(crate) fn router(&self) -> Router {
        TaskCommandRouterClient::with_interceptor(self.who.channel.clone(), self.headers())
            .max_decoding_message_size(MOST_MESSAGE)
            .max_encoding_message_size(MOST_MESSAGE)
    }

    pub(crate) async fn apart(&self) -> Self {
        Self { who: self.who.apart().await, ..self.clone() }
    }

    /// What starts this program with standard output and error.
    pub(crate) fn starting(&self, exec_id: &str, argv: &[&str]) -> TaskExecStartRequest {
        TaskExecStartRequest {
            task_id: self.task.clone(),
            exec_id: exec_id.into(),
            command_args: argv.iter().map(|word| (*word).to_owned()).collect(),
            stdout_config: 1,
            stderr_config: 1,
            ..Default::default()
        }
    }

    /// Starts it; its id.
    pub(crate) async fn start(&self, argv: &[&str]) -> String {
        let id = fresh("exec");
        soon("a start", self.router().task_exec_start(self.starting(&id, argv))).await.unwrap();
        id
    }

    pub(crate) fn reading(&self, exec_id: &str, offset: u64) -> TaskExecStdioReadRequest {
        TaskExecStdioReadRequest {
            task_id: self.task.clone(),
            exec_id: exec_id.into(),
            offset,
            file_descriptor: TaskExecStdioFileDescriptor::Stdout.into(),
        }
    }

    /// Standard output from here on, at most so many bytes more or less: whole messages.
    pub(crate) async fn read(&self, exec_id: &str, offset: u64, most: usize) -> Vec<u8> {
        let stream = soon("a stream", self.router().task_exec_stdio_read(self.reading(exec_id, offset))).await;
        let mut stream = stream.unwrap().into_inner();
        let mut found = Vec::new();
        while let Some(message) = soon("output", stream.message()).await.unwrap() {
            assert!(!message.data.is_empty(), "clients take an empty piece for an error");
            found.extend_from_slice(&message.data);
            if found.len() >= most {
                break;
            }
        }
        found
    }

    pub(crate) async fn write(&self, exec_id: &str, offset: u64, data: &[u8], eof: bool) -> Result<(), Status> {
        let request = TaskExecStdinWriteRequest {
            task_id: self.task.clone(),
            exec_id: exec_id.into(),
            offset,
            data: data.to_vec().into(),
            eof,
        };
        soon("input", self.router().task_exec_stdin_write(request)).await.map(drop)
    }

    /// The exit code; 128 and more for a signal.
    pub(crate) async fn wait(&self, exec_id: &str) -> i32 {
        let request = TaskExecWaitRequest { task_id: self.task.clone(), exec_id: exec_id.into() };
        match soon("an end", self.router().task_exec_wait(request)).await.unwrap().into_inner().exit_status {
            Some(ExitStatus::Code(code)) => code,
            Some(ExitStatus::Signal(signal)) => 128 + signal,
            None => panic!("it was said to have ended, and not how"),
        }
    }

    /// Runs a shell script; its output.
    pub(crate) async fn shell(&self, script: &str) -> String {
        let id = self.start(&["sh", "-ec", script]).await;
        let output = String::from_utf8(self.read(&id, 0, usize::MAX).await).unwrap();
        assert_eq!(self.wait(&id).await, 0, "{script}: {output}");
        output
    }

    pub(crate) async fn end(&self) {
        self.who.end(&self.id).await;
    }
}

pub(crate) async fn connect(addr: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    soon("a connection", endpoint.connect()).await.unwrap()
}

/// A server that runs, with the folder of its state and a provider of its own.
pub(crate) struct World {
    pub(crate) addr: SocketAddr,
    pub(crate) own: Who,
    pub(crate) other: Who,
    pub(crate) local: Arc<Local>,
    pub(crate) dir: PathBuf,
    _root: Arc<tempfile::TempDir>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<ServeReport>,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let root = Arc::new(tempfile::tempdir().unwrap());
        let local = Arc::new(Local::new(config(root.path().join("engine"))));
        Self::over(root, local, change).await
    }

    async fn over(root: Arc<tempfile::TempDir>, local: Arc<Local>, change: impl FnOnce(&mut ServerOptions)) -> Self {
        let dir = root.path().join("server");
        let mut options = ServerOptions::new(&dir);
        options.spool_dir = root.path().to_owned();
        change(&mut options);
        let server = Server::open(Arc::clone(&local) as Arc<dyn computesdk_core::Provider>, options).await.unwrap();
        let (own, other) = (server.issue_token().await.unwrap(), server.issue_token_for("other").await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(listener, async {
            let _ = stopped.await;
        }));
        let channel = connect(addr).await;
        let own = Who { addr, channel: channel.clone(), token: own };
        let other = Who { addr, channel, token: other };
        Self { addr, own, other, local, dir, _root: root, stop, serving }
    }

    /// The server anew over what is left of it, with the token of before.
    pub(crate) async fn again(self) -> Self {
        let (root, local, token) = (Arc::clone(&self._root), Arc::clone(&self.local), self.own.token.clone());
        self.halt().await;
        let mut again = Self::over(root, local, |_| {}).await;
        again.own.token = token;
        again
    }

    /// What the provider has alive.
    pub(crate) async fn alive(&self) -> usize {
        self.local.list(&ListFilter::default()).await.unwrap().len()
    }

    async fn halt(self) -> ServeReport {
        let Self { own, other, stop, serving, .. } = self;
        drop((own, other));
        drop(stop);
        soon("the server's stop", serving).await.unwrap()
    }

    /// Stops it: nothing is alive afterwards.
    pub(crate) async fn stop(self) -> ServeReport {
        let local = Arc::clone(&self.local);
        let report = self.halt().await;
        assert_eq!(local.list(&ListFilter::default()).await.unwrap().len(), 0, "sandboxes are left");
        soon("the provider's end", local.shutdown()).await;
        report
    }
}
