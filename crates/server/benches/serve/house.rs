//! A server in this process over the `local` provider, and ways to both.

use crate::Result;
use computesdk_core::{Capabilities, CreateOptions, ListFilter, Provider, Sandbox, SandboxId, async_trait};
use computesdk_local::{Local, LocalConfig};
use computesdk_modal_proto::client::modal_client_client::ModalClientClient;
use computesdk_modal_proto::client::{
    self as wire, AppGetOrCreateRequest, ObjectCreationType, SandboxCreateV2Request, SandboxCreateV2Response,
};
use computesdk_modal_proto::router::task_command_router_client::TaskCommandRouterClient;
use computesdk_server::{Credentials, Server, ServerOptions};
use computesdk_tunnel::Authority;
use secrecy::ExposeSecret as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

/// The most that a message has: as Modal's own clients allow.
const MOST_MESSAGE: usize = 100 << 20;

/// What runs until [`House::close`].
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) credentials: Credentials,
    pub(crate) provider: Arc<Noted>,
    local: Arc<Local>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    scratch: tempfile::TempDir,
}

impl House {
    /// The settings are those of `compute serve`.
    pub(crate) async fn open() -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix("computesdk-bench-").tempdir()?;
        let authority = Authority::open(&scratch.path().join("ca"))?;
        let mut config = LocalConfig::default();
        config.state_dir = Some(scratch.path().join("engine"));
        config.authority_dir = Some(scratch.path().join("ca"));
        let local = Arc::new(Local::new(config));
        let provider = Arc::new(Noted { inner: Arc::clone(&local), last: Mutex::default() });
        let mut options = ServerOptions::new(scratch.path().join("server"));
        options.spool_dir = scratch.path().to_owned();
        options.front.tls = Some(authority.server_config(&["localhost".into(), "127.0.0.1".into()], true)?);
        let server = Server::open(Arc::clone(&provider) as Arc<dyn Provider>, options).await?;
        let credentials = server.issue_token().await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            server.serve(listener, async { drop(stopped.await) }).await;
        });
        Ok(Self { address, credentials, provider, local, stop, serving, scratch })
    }

    /// Ends the server, the engine and all sandboxes, and removes what they left.
    pub(crate) async fn close(self) -> Result<()> {
        let _ = self.stop.send(());
        self.serving.await?;
        self.local.shutdown().await;
        Ok(self.scratch.close()?)
    }

    /// What Modal's SDKs are told. Nothing else: they would go to the public service without it.
    pub(crate) fn variables(&self) -> Result<[(&'static str, String); 4]> {
        if !self.address.ip().is_loopback() {
            return Err(format!("{} is not loopback", self.address).into());
        }
        Ok([
            ("MODAL_SERVER_URL", format!("http://{}", self.address)),
            ("MODAL_TOKEN_ID", self.credentials.token_id.clone()),
            ("MODAL_TOKEN_SECRET", self.credentials.token_secret.expose_secret().to_owned()),
            ("MODAL_ENVIRONMENT", String::from("main")),
        ])
    }

    pub(crate) async fn guest(&self) -> Result<Guest> {
        let secret = self.credentials.token_secret.expose_secret();
        Guest::arrive(self.address, &self.credentials.token_id, secret).await
    }
}

/// A client of the server with plain HTTP/2, as generated code is, without anything added to be fast.
#[derive(Clone)]
pub(crate) struct Guest {
    control: ModalClientClient<Channel>,
    router: TaskCommandRouterClient<Channel>,
    id: MetadataValue<Ascii>,
    secret: MetadataValue<Ascii>,
    app_id: String,
}

impl Guest {
    pub(crate) async fn arrive(address: SocketAddr, id: &str, secret: &str) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
        let control = ModalClientClient::new(channel.clone()).max_decoding_message_size(MOST_MESSAGE);
        let router = TaskCommandRouterClient::new(channel).max_decoding_message_size(MOST_MESSAGE);
        let mut guest = Self { control, router, id: id.parse()?, secret: secret.parse()?, app_id: String::new() };
        let request = AppGetOrCreateRequest {
            app_name: String::from("bench"),
            object_creation_type: ObjectCreationType::CreateIfMissing.into(),
            ..Default::default()
        };
        let request = guest.request(request);
        guest.app_id = guest.control.app_get_or_create(request).await?.into_inner().app_id;
        Ok(guest)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("x-modal-token-id", self.id.clone());
        request.metadata_mut().insert("x-modal-token-secret", self.secret.clone());
        request
    }

    /// The call with nothing in it.
    pub(crate) async fn hello(&mut self) -> Result<()> {
        let request = self.request(());
        self.control.client_hello(request).await?;
        Ok(())
    }

    pub(crate) async fn create(&mut self, command: &[&str]) -> Result<Visited> {
        let definition = wire::Sandbox {
            entrypoint_args: command.iter().copied().map(str::to_owned).collect(),
            timeout_secs: 3600,
            ..Default::default()
        };
        let request =
            SandboxCreateV2Request { app_id: self.app_id.clone(), definition: Some(definition), ..Default::default() };
        let request = self.request(request);
        let made: SandboxCreateV2Response = self.control.sandbox_create_v2(request).await?.into_inner();
        let access = made.command_router_access.ok_or("no way to the router")?;
        let token = format!("Bearer {}", access.jwt).parse()?;
        Ok(Visited { id: made.sandbox_id, task_id: made.task_id, token, router: self.router.clone() })
    }

    pub(crate) async fn terminate(&mut self, sandbox: &Visited) -> Result<()> {
        let request = wire::SandboxTerminateRequest { sandbox_id: sandbox.id.clone() };
        let request = self.request(request);
        self.control.sandbox_terminate_v2(request).await?;
        Ok(())
    }
}

/// A sandbox that a [`Guest`] made.
pub(crate) struct Visited {
    id: String,
    pub(crate) task_id: String,
    token: MetadataValue<Ascii>,
    pub(crate) router: TaskCommandRouterClient<Channel>,
}

impl Visited {
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.token.clone());
        request
    }
}

/// The provider, which notes what the server asked it for, so that the same can be asked for without the server.
#[derive(Debug)]
pub(crate) struct Noted {
    inner: Arc<Local>,
    last: Mutex<Option<CreateOptions>>,
}

impl Noted {
    /// What was asked for last.
    pub(crate) fn last(&self) -> Result<CreateOptions> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.ok_or_else(|| "the server asked for no sandbox".into())
    }

    /// The provider without this.
    pub(crate) fn directly(&self) -> &Arc<Local> {
        &self.inner
    }
}

#[async_trait]
impl Provider for Noted {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn create(&self, options: CreateOptions) -> computesdk_core::Result<Arc<dyn Sandbox>> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(options.clone());
        self.inner.create(options).await
    }

    async fn get(&self, id: &SandboxId) -> computesdk_core::Result<Option<Arc<dyn Sandbox>>> {
        self.inner.get(id).await
    }

    async fn find(&self, name: &str) -> computesdk_core::Result<Option<Arc<dyn Sandbox>>> {
        self.inner.find(name).await
    }

    async fn list(&self, filter: &ListFilter) -> computesdk_core::Result<Vec<Arc<dyn Sandbox>>> {
        self.inner.list(filter).await
    }
}
