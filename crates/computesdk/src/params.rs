//! What `create` is called with.

use computesdk_core::{CreateOptions, FileUpload, IntoProvider, Network, Provider, Runtime, SandboxId};
use std::sync::Arc;
use std::time::Duration;

/// What [`Sandboxes::create`](crate::Sandboxes::create) is called with: options, and a provider that wins over the
/// default one. `()` and [`CreateOptions`] convert into it.
///
/// The common options have a method here; all of them are fields of [`CreateParams::options`]. An option that the
/// provider cannot keep is refused before anything is created.
///
/// ```
/// use computesdk::{CreateParams, Runtime};
/// use std::time::Duration;
///
/// let params = CreateParams::new()
///     .runtime(Runtime::Python)
///     .timeout(Duration::from_secs(60))
///     .env("GREETING", "hello")
///     .file("/data/task.json", r#"{"values": [1, 2, 3]}"#);
/// assert_eq!(params.options.files.len(), 1);
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CreateParams {
    /// The provider to use instead of the default one.
    pub provider: Option<Arc<dyn Provider>>,
    /// What is asked of it.
    pub options: CreateOptions,
}

impl CreateParams {
    /// The default provider, with its own defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// This provider, with its own defaults.
    #[must_use]
    pub fn with_provider(provider: impl IntoProvider) -> Self {
        Self { provider: Some(provider.into_provider()), options: CreateOptions::default() }
    }

    /// Replaces every option.
    #[must_use]
    pub fn options(mut self, options: CreateOptions) -> Self {
        self.options = options;
        self
    }

    /// The language of `run_code` calls that do not say. Default: detected from the code.
    #[must_use]
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.options.runtime = Some(runtime);
        self
    }

    /// Lifetime of the sandbox, and the limit of executions that set none. Default: the provider's.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Ends the sandbox when nothing used it for so long; what counts as use is at [`CreateOptions::idle_timeout`].
    #[must_use]
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.options.idle_timeout = Some(idle);
        self
    }

    /// Connects to this sandbox instead of making one.
    #[must_use]
    pub fn sandbox_id(mut self, id: impl Into<SandboxId>) -> Self {
        self.options.sandbox_id = Some(id.into());
        self
    }

    /// A name, unique among the provider's running sandboxes.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// Adds one note, returned by `get_info`.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.metadata.insert(key.into(), value.into());
        self
    }

    /// Adds one environment variable of every process in the sandbox.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.env.insert(name.into(), value.into());
        self
    }

    /// Working directory of processes that do not say; made if missing.
    #[must_use]
    pub fn cwd(mut self, cwd: impl Into<String>) -> Self {
        self.options.cwd = Some(cwd.into());
        self
    }

    /// Adds one file (mode 0644), put in place before anything runs; its directories are made.
    #[must_use]
    pub fn file(mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.options.files.push(FileUpload::new(path, content));
        self
    }

    /// What it may reach over the network. Default: the provider's, [`Network::Egress`] on `local`: the internet, and
    /// nothing private.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.options.network = Some(network);
        self
    }

    /// Publishes one port, see [`Sandbox::get_url`](crate::Sandbox::get_url). Nothing has to listen there yet.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.ports([port])
    }

    /// Publishes these ports as well, see [`Sandbox::get_url`](crate::Sandbox::get_url).
    #[must_use]
    pub fn ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.options.ports.extend(ports);
        self
    }

    /// Adds an address range (CIDR notation, or a single address) that may use the published ports; all others are turned
    /// away. Default: everybody who reaches them, which is this machine alone on `local` unless configured otherwise.
    #[must_use]
    pub fn inbound(mut self, range: impl Into<String>) -> Self {
        self.options.inbound.get_or_insert_default().push(range.into());
        self
    }

    /// Memory limit in bytes.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.options.resources.memory_bytes = Some(bytes);
        self
    }

    /// CPU limit in cores; 0.5 is half of one.
    #[must_use]
    pub fn cpus(mut self, cpus: f64) -> Self {
        self.options.resources.cpus = Some(cpus);
        self
    }

    /// Most processes and threads at a time. Default: the provider's, 4096 on `local` where that can be kept.
    #[must_use]
    pub fn pids(mut self, pids: u64) -> Self {
        self.options.resources.pids = Some(pids);
        self
    }

    /// Disk limit in bytes: of what the sandbox writes, not of its image.
    #[must_use]
    pub fn disk_bytes(mut self, bytes: u64) -> Self {
        self.options.resources.disk_bytes = Some(bytes);
        self
    }

    /// Most open files of one process.
    #[must_use]
    pub fn open_files(mut self, files: u64) -> Self {
        self.options.resources.open_files = Some(files);
        self
    }
}

impl From<()> for CreateParams {
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl From<CreateOptions> for CreateParams {
    fn from(options: CreateOptions) -> Self {
        Self { provider: None, options }
    }
}
