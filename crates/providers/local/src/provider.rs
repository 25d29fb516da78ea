//! The provider: its engine, and the sandboxes it knows.

use crate::error::{NAME, create_error};
use crate::ports::{self, MOST_PORTS, PortSettings, Ports};
use crate::sandbox::{DEFAULT_CWD, LocalSandbox, Settings};
use crate::{LocalConfig, authority_dir, network};
use computesdk_core::{
    Capabilities, CreateOptions, Error, ErrorKind, ExecOptions, FilesystemSupport, Isolation, Limits, ListFilter,
    Network, NetworkModes, Provider, Reconnect, Resources, Result, Runtime, Sandbox, SandboxId, async_trait,
};
use computesdk_engine::{self as engine, Doctor, Engine, KeptLimits, SandboxSpec};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// How many ended sandboxes are remembered, so that their end can still be asked for.
const REMEMBERED: usize = 10_000;

/// The `local` provider, ready to be handed to `compute().set_config(…)`.
///
/// Nothing is started until the first sandbox is made.
#[must_use]
pub fn local(config: LocalConfig) -> Arc<dyn Provider> {
    Arc::new(Local::new(config))
}

/// What this machine offers: every rung is tried by making a sandbox on it, and nothing is left behind.
///
/// # Errors
/// `FailedPrecondition` if the state or cache directory cannot be used, or the host image cannot be made.
pub async fn doctor(config: &LocalConfig) -> Result<Doctor> {
    Doctor::examine(config.engine_options(false)).await.map_err(create_error)
}

/// Sandboxes on this machine. Dropping it, and every sandbox it made, ends the engine and with it every sandbox.
pub struct Local {
    config: LocalConfig,
    /// With full isolation, and with less where the caller asked for it.
    engines: [tokio::sync::Mutex<Option<Engine>>; 2],
    known: Mutex<Known>,
    /// Whether sandboxes have more users than root; found out once.
    users: OnceLock<bool>,
    /// Which limits can be kept; found out once.
    limits: OnceLock<KeptLimits>,
}

#[derive(Default)]
struct Known {
    /// In the order they were made.
    sandboxes: Vec<Arc<LocalSandbox>>,
    /// Names of sandboxes that are just being made.
    reserved: HashSet<String>,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Local {
    /// A provider with these settings.
    #[must_use]
    pub fn new(config: LocalConfig) -> Self {
        Self {
            config,
            engines: Default::default(),
            known: Mutex::default(),
            users: OnceLock::new(),
            limits: OnceLock::new(),
        }
    }

    /// Ends every sandbox and the engine, and returns when nothing of them is left. The next `create` starts a new one.
    pub async fn shutdown(&self) {
        for place in &self.engines {
            let engine = place.lock().await.take();
            if let Some(engine) = engine {
                engine.shut_down().await;
            }
        }
    }

    /// The engine, started if need be; a new one if the last one was lost.
    async fn engine(&self, isolation: Isolation) -> Result<Engine> {
        let degraded = isolation == Isolation::Degraded;
        let mut place = self.engines[usize::from(degraded)].lock().await;
        if let Some(engine) = place.as_ref().filter(|engine| engine.is_running()) {
            return Ok(engine.clone());
        }
        let engine = Engine::start(self.config.engine_options(degraded)).await.map_err(create_error)?;
        Ok(place.insert(engine).clone())
    }

    fn kept_limits(&self) -> &KeptLimits {
        self.limits.get_or_init(|| Engine::will_keep(&self.config.engine_options(false)))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a name for a sandbox that is being made.
    fn reserve(&self, name: Option<&String>) -> Result<Reserved<'_>> {
        let Some(name) = name else { return Ok(Reserved { local: self, name: None }) };
        let valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(valid) {
            let problem = format!("{name:?} must be 1 to 64 letters, digits, `-`, `_` or `.`");
            return Err(Error::invalid("sandbox.create", "name", problem).with_provider(NAME));
        }
        let mut known = self.known();
        let taken = known.running().any(|sandbox| sandbox.settings.name.as_ref() == Some(name));
        if taken || !known.reserved.insert(name.clone()) {
            let text = format!("a running sandbox is already named {name:?}");
            return Err(Error::new(ErrorKind::AlreadyExists, "sandbox.create", text)
                .with_provider(NAME)
                .with_context("name", name));
        }
        Ok(Reserved { local: self, name: Some(name.clone()) })
    }

    async fn make(&self, options: CreateOptions) -> Result<Arc<LocalSandbox>> {
        let timeout = options.timeout.unwrap_or(self.config.timeout);
        check(&options, timeout)?;
        limits(&options.resources).check().map_err(create_error)?;
        let policy = network::policy("sandbox.create", options.network.as_ref().unwrap_or(&Network::Egress))?;
        let ports = PortSettings {
            listen: self.config.listen,
            authority: self.config.authority_dir.clone().unwrap_or_else(authority_dir),
            inbound: ports::inbound(options.inbound.as_ref())?,
            h2: options.h2_ports.clone(),
        };
        let reserved = self.reserve(options.name.as_ref())?;
        let engine = self.engine(options.isolation).await?;
        let mut spec = SandboxSpec::default();
        spec.lifetime = (timeout != Duration::MAX).then_some(timeout);
        spec.idle = options.idle_timeout;
        spec.limits = limits(&options.resources);
        spec.network = policy;
        let sandbox = engine.create(&spec).await.map_err(create_error)?;
        let undo = Undo(Some(sandbox.clone()));
        // Until it is furnished.
        let active = sandbox.activity().hold();

        let local = Arc::new(LocalSandbox {
            id: SandboxId::new(format!("sb-{}", engine::random_name())),
            sandbox,
            settings: Settings {
                runtime: options.runtime.or(self.config.runtime).unwrap_or(Runtime::Python),
                timeout,
                name: options.name.clone(),
                env: options.env.clone(),
                cwd: options.cwd.clone().unwrap_or_else(|| DEFAULT_CWD.to_owned()),
                path: engine.image().path.clone(),
            },
            metadata: Mutex::new(options.metadata.clone()),
            main: OnceLock::new(),
            named: Mutex::default(),
            next_process: AtomicU64::new(1),
            ports: Ports::new(ports),
        });
        if let Err(error) = furnish(&local, options).await {
            return Err(match local.terminate().await {
                Ok(()) => error,
                Err(cleanup) => error.with_cleanup_error(cleanup),
            });
        }
        drop(active);
        self.known().remember(Arc::clone(&local));
        undo.keep();
        drop(reserved);
        Ok(local)
    }
}

fn limits(asked: &Resources) -> engine::Limits {
    let mut limits = engine::Limits::default();
    limits.memory_bytes = asked.memory_bytes;
    limits.cpus = asked.cpus;
    limits.pids = asked.pids;
    limits.disk_bytes = asked.disk_bytes;
    limits.open_files = asked.open_files;
    limits
}

/// Puts everything in place that the caller asked for, the main process last.
async fn furnish(local: &Arc<LocalSandbox>, options: CreateOptions) -> Result<()> {
    let files = local.files();
    if let Some(cwd) = &options.cwd {
        files.make_dir(cwd).await?;
    }
    for upload in &options.files {
        let failed = |error: Error| {
            let text = format!("Failed to write file {}: {error}", upload.path);
            Error::new(error.kind(), "sandbox.create", text).with_context("field", "files").with_source(error)
        };
        let mut file = files.open(&upload.path, computesdk_core::OpenMode::Write, upload.mode).await.map_err(failed)?;
        let written = async {
            file.write_all(&upload.content).await?;
            file.flush().await
        };
        written.await.map_err(|error| {
            failed(Error::new(ErrorKind::Unexpected, "filesystem.write", error.to_string()).with_source(error))
        })?;
    }
    // Before the main process: it may be told where it is reached.
    for port in &options.ports {
        local.publish(*port).await?;
    }
    if let Some(command) = options.command {
        let program = command.first().cloned().unwrap_or_default();
        let mut exec = ExecOptions::new(command);
        // The sandbox's lifetime is its limit.
        exec.timeout = Some(Duration::MAX);
        let process = local.start(exec).await?;
        match &process.state {
            crate::process::State::Started(exec) => local.sandbox.set_main(exec),
            crate::process::State::NotStarted { reason, .. } => {
                let code = reason.exit_code();
                let problem = format!("{program:?} cannot be started ({reason:?}, exit code {code})");
                return Err(Error::invalid("sandbox.create", "command", problem).with_provider(NAME));
            }
        }
        let _ = local.main.set(process);
    }
    Ok(())
}

/// Refuses values that make no sense, before anything is made. What the provider cannot keep at all is refused before.
fn check(options: &CreateOptions, timeout: Duration) -> Result<()> {
    let invalid =
        |field: &str, problem: String| Err(Error::invalid("sandbox.create", field, problem).with_provider(NAME));
    if timeout.is_zero() {
        return invalid("timeout", String::from("it must be longer than nothing"));
    }
    if options.idle_timeout.is_some_and(|idle| idle.is_zero()) {
        return invalid("idle_timeout", String::from("it must be longer than nothing"));
    }
    for (name, value) in &options.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return invalid("env", format!("{name:?} is no name of a variable"));
        }
        if value.contains('\0') {
            return invalid("env", format!("the value of {name} has a NUL byte"));
        }
    }
    let bad_path = |path: &str| !path.starts_with('/') || path.contains('\0');
    if let Some(cwd) = options.cwd.as_deref().filter(|cwd| bad_path(cwd)) {
        return invalid("cwd", format!("{cwd:?} is no absolute path"));
    }
    if let Some(upload) = options.files.iter().find(|upload| bad_path(&upload.path)) {
        return invalid("files", format!("{:?} is no absolute path", upload.path));
    }
    if let Some(port) = options.h2_ports.iter().find(|port| !options.ports.contains(port)) {
        return invalid("h2_ports", format!("{port} is none of the published ports: give it in `ports` too"));
    }
    if options.ports.contains(&0) {
        return invalid("ports", String::from("a port is from 1 to 65535"));
    }
    if options.ports.len() > MOST_PORTS {
        return invalid("ports", format!("{} are too many: at most {MOST_PORTS}", options.ports.len()));
    }
    if options.command.as_ref().is_some_and(|command| command.first().is_none_or(String::is_empty)) {
        return invalid("command", String::from("it needs a program"));
    }
    Ok(())
}

impl Known {
    fn running(&self) -> impl Iterator<Item = &Arc<LocalSandbox>> {
        self.sandboxes.iter().filter(|sandbox| sandbox.end().is_none())
    }

    fn remember(&mut self, sandbox: Arc<LocalSandbox>) {
        self.sandboxes.push(sandbox);
        // Looked through now and then only: it is a walk over all of them.
        if self.sandboxes.len().is_multiple_of(100) {
            let mut surplus = self.sandboxes.len() - self.running().count();
            self.sandboxes.retain(|sandbox| {
                let forget = surplus > REMEMBERED && sandbox.end().is_some();
                surplus -= usize::from(forget);
                !forget
            });
        }
    }
}

/// A name that is held until this is dropped.
struct Reserved<'a> {
    local: &'a Local,
    name: Option<String>,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.local.known().reserved.remove(&name);
        }
    }
}

/// Ends a half-made sandbox when its `create` fails or is cancelled.
struct Undo(Option<engine::Sandbox>);

impl Undo {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(sandbox) = self.0.take() {
            sandbox.request_end();
        }
    }
}

#[async_trait]
impl Provider for Local {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none(NAME);
        capabilities.runtimes = vec![Runtime::Python, Runtime::Node];
        capabilities.filesystem = FilesystemSupport::Full;
        capabilities.watch = true;
        capabilities.list = true;
        capabilities.reconnect = Reconnect::SameProcess;
        capabilities.names = true;
        capabilities.command = true;
        capabilities.streaming = true;
        capabilities.pty = true;
        capabilities.users = *self.users.get_or_init(|| Engine::will_have_users(&self.config.engine_options(false)));
        capabilities.network = NetworkModes { none: true, egress: true, cidr: true, domain: true };
        capabilities.ports = true;
        capabilities.inbound = true;
        let kept = self.kept_limits();
        capabilities.limits = Limits {
            memory: kept.memory,
            cpus: kept.cpus,
            pids: kept.pids,
            disk: true,
            open_files: true,
            timeout: true,
            idle_timeout: true,
            exec_timeout: true,
        };
        capabilities.limits_hint.clone_from(&kept.advice);
        capabilities.degraded_isolation = true;
        capabilities
    }

    async fn create(&self, options: CreateOptions) -> Result<Arc<dyn Sandbox>> {
        self.capabilities().check(&options)?;
        if let Some(id) = &options.sandbox_id {
            return self.get(id).await?.ok_or_else(|| {
                Error::new(ErrorKind::NotFound, "sandbox.create", format!("no sandbox {id} in this process"))
                    .with_provider(NAME)
                    .with_context("sandbox", id.as_str())
            });
        }
        self.make(options).await.map(|sandbox| sandbox as Arc<dyn Sandbox>)
    }

    async fn get(&self, id: &SandboxId) -> Result<Option<Arc<dyn Sandbox>>> {
        let known = self.known();
        let found = known.sandboxes.iter().find(|sandbox| sandbox.id == *id);
        Ok(found.map(|sandbox| Arc::clone(sandbox) as Arc<dyn Sandbox>))
    }

    async fn find(&self, name: &str) -> Result<Option<Arc<dyn Sandbox>>> {
        let known = self.known();
        let found = known.running().find(|sandbox| sandbox.settings.name.as_deref() == Some(name));
        Ok(found.map(|sandbox| Arc::clone(sandbox) as Arc<dyn Sandbox>))
    }

    async fn list(&self, filter: &ListFilter) -> Result<Vec<Arc<dyn Sandbox>>> {
        let matches = |metadata: &BTreeMap<String, String>| {
            filter.metadata.iter().all(|(key, value)| metadata.get(key) == Some(value))
        };
        let known = self.known();
        let found = known.running().filter(|sandbox| matches(&sandbox.metadata()));
        Ok(found.map(|sandbox| Arc::clone(sandbox) as Arc<dyn Sandbox>).collect())
    }
}
