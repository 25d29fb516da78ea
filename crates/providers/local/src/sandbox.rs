//! One sandbox.

use crate::error::{NAME, call_error};
use crate::files::LocalFiles;
use crate::network::{self, Events};
use crate::ports::Ports;
use crate::process::{LocalProcess, State};
use crate::used::Used;
use computesdk_core::{
    BoxStream, EndCause, Error, ErrorKind, EventStream, ExecOptions, Files, Network, Process, ProcessId, Result,
    Runtime, Sandbox, SandboxId, SandboxInfo, SandboxStatus, StartFailure, Stdio, Tunnel, Usage, async_trait,
};
use computesdk_engine::{self as engine, End, EngineError, ExecSpec, Refusal, Refused};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// Working directory of a sandbox that was not given one.
pub(crate) const DEFAULT_CWD: &str = "/root";

#[derive(Debug)]
pub(crate) struct LocalSandbox {
    pub(crate) id: SandboxId,
    pub(crate) sandbox: engine::Sandbox,
    pub(crate) settings: Settings,
    pub(crate) metadata: Mutex<BTreeMap<String, String>>,
    pub(crate) main: OnceLock<Arc<LocalProcess>>,
    /// Processes whose id the caller chose: starting one again finds it here.
    pub(crate) named: Mutex<HashMap<ProcessId, Arc<OnceCell<Arc<LocalProcess>>>>>,
    pub(crate) next_process: AtomicU64,
    pub(crate) ports: Ports,
}

/// What was settled at create.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) runtime: Runtime,
    pub(crate) timeout: Duration,
    pub(crate) name: Option<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: String,
    pub(crate) path: String,
}

impl LocalSandbox {
    /// Why it ended, or `None` while it runs.
    pub(crate) fn end(&self) -> Option<EndCause> {
        self.sandbox.ended().map(end_cause)
    }

    fn check_running(&self, operation: &'static str) -> Result<()> {
        match self.end() {
            None => Ok(()),
            Some(end) => {
                let text = format!("sandbox {} has ended: {end}", self.id);
                Err(Error::new(ErrorKind::NotFound, operation, text).with_provider(NAME))
            }
        }
    }

    pub(crate) fn metadata(&self) -> BTreeMap<String, String> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) async fn start(&self, options: ExecOptions) -> Result<Arc<LocalProcess>> {
        let Some(id) = options.id.clone() else {
            let number = self.next_process.fetch_add(1, Ordering::Relaxed);
            return self.start_as(ProcessId::new(format!("{}-p{number}", self.id)), options).await.map(Arc::new);
        };
        let cell = {
            let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(named.entry(id.clone()).or_default())
        };
        // Two callers at once start one process; one that could not be started may be tried again.
        cell.get_or_try_init(|| async { self.start_as(id, options).await.map(Arc::new) }).await.cloned()
    }

    async fn start_as(&self, id: ProcessId, options: ExecOptions) -> Result<LocalProcess> {
        let spec = self.spec(&options);
        let state = match self.sandbox.exec(spec).await {
            Ok(exec) => State::Started(exec),
            Err(EngineError::Refused(refused)) => self.refused(&options, refused)?,
            Err(error) => return Err(call_error("sandbox.exec", self.id.as_str(), error)),
        };
        Ok(LocalProcess { id, state })
    }

    fn spec(&self, options: &ExecOptions) -> ExecSpec {
        // Not LANG: for that, C programs look at a dozen files when they start. This is what makes text UTF-8.
        let mut env: BTreeMap<String, String> =
            [("PATH", self.settings.path.as_str()), ("LC_CTYPE", "C.UTF-8")].map(|(n, v)| (n.into(), v.into())).into();
        if options.pty.is_some() {
            env.insert(String::from("TERM"), String::from("xterm-256color"));
        }
        env.extend(self.settings.env.clone());
        env.extend(options.env.clone());
        let timeout = options.timeout.unwrap_or(self.settings.timeout);
        ExecSpec {
            argv: options.argv.clone(),
            env: env.into_iter().collect(),
            cwd: options.cwd.clone().unwrap_or_else(|| self.settings.cwd.clone()),
            user: options.user.clone(),
            timeout: (timeout != Duration::MAX).then_some(timeout),
            pty: options.pty.map(|size| (size.rows, size.cols)),
            stdio: [options.stdin, options.stdout, options.stderr].map(|kind| match kind {
                Stdio::Piped => engine::Stdio::Piped,
                Stdio::Null => engine::Stdio::Null,
                Stdio::Merged => engine::Stdio::Merged,
            }),
        }
    }

    /// A program that was not started: a process that has ended, or the caller's mistake.
    fn refused(&self, options: &ExecOptions, refused: Refused) -> Result<State> {
        let invalid = |field: &str, problem: String| {
            Err(Error::invalid("sandbox.exec", field, problem)
                .with_provider(NAME)
                .with_context("sandbox", self.id.as_str()))
        };
        let user = options.user.as_deref().unwrap_or("root");
        let reason = match refused.refusal {
            Refusal::NotFound => StartFailure::NotFound,
            Refusal::IsDirectory => StartFailure::IsDirectory,
            Refusal::NotExecutable => StartFailure::NotExecutable,
            Refusal::BadInterpreter => StartFailure::BadInterpreter,
            Refusal::WrongFormat => StartFailure::WrongFormat,
            Refusal::Other => StartFailure::Other,
            Refusal::TooLarge => return invalid("args", refused.to_string()),
            Refusal::UnknownUser => return invalid("user", format!("{refused}: {user:?}")),
            Refusal::SingleUser => {
                return Err(Error::unsupported("sandbox.exec", "user", refused)
                    .with_provider(NAME)
                    .with_hint("`compute doctor` says how to get a range of ids"));
            }
            Refusal::WorkingDirectory => {
                let cwd = options.cwd.as_deref().unwrap_or(&self.settings.cwd);
                return invalid("cwd", format!("{refused}: {cwd:?}"));
            }
        };
        let program = options.argv.first().map_or("", String::as_str);
        let text = format!("{program}: {refused}\n").into_bytes();
        let on_stdout = options.pty.is_some() || options.stderr == Stdio::Merged;
        let (stdout, stderr) = if on_stdout { (text, Vec::new()) } else { (Vec::new(), text) };
        Ok(State::NotStarted { reason, stdout: Mutex::new(Some(stdout)), stderr: Mutex::new(Some(stderr)) })
    }
}

#[async_trait]
impl Sandbox for LocalSandbox {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn provider(&self) -> &str {
        NAME
    }

    async fn info(&self) -> Result<SandboxInfo> {
        let end = self.end();
        let used = self.sandbox.usage();
        let mut notices = Vec::new();
        if used.held_back > 0 {
            let (count, streams) = (used.held_back, if used.held_back == 1 { "stream" } else { "streams" });
            notices.push(format!(
                "{count} output {streams} that nobody reads reached the limit of what is set aside: whoever writes waits"
            ));
        }
        notices.extend(self.sandbox.network_notice());
        notices.extend(self.ports.notice());
        Ok(SandboxInfo {
            id: self.id.clone(),
            provider: NAME.to_owned(),
            runtime: self.settings.runtime,
            status: SandboxStatus::of(end.as_ref()),
            created_at: self.sandbox.created_at(),
            timeout: self.settings.timeout,
            name: self.settings.name.clone(),
            isolation: Some(self.sandbox.rung().label().to_owned()),
            last_output: end.is_some().then(|| self.sandbox.last_output()),
            end,
            usage: usage(&used),
            notices,
            metadata: self.metadata(),
        })
    }

    fn main_process(&self) -> Option<Arc<dyn Process>> {
        self.main.get().map(|process| Arc::clone(process) as Arc<dyn Process>)
    }

    async fn exec(&self, options: ExecOptions) -> Result<Arc<dyn Process>> {
        self.start(options).await.map(|process| process as Arc<dyn Process>)
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::new(LocalFiles { id: self.id.as_str().to_owned(), sandbox: self.sandbox.clone() })
    }

    async fn wait(&self) -> Result<EndCause> {
        let end = self.sandbox.wait().await;
        end.map(end_cause).map_err(|error| call_error("sandbox.wait", self.id.as_str(), error))
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(usage(&self.sandbox.usage()))
    }

    async fn terminate(&self) -> Result<()> {
        let ended = self.sandbox.terminate().await;
        ended.map(drop).map_err(|error| call_error("sandbox.terminate", self.id.as_str(), error))
    }

    async fn publish(&self, port: u16) -> Result<Tunnel> {
        if port == 0 {
            return Err(Error::invalid("sandbox.publish", "port", "it is from 1 to 65535").with_provider(NAME));
        }
        self.check_running("sandbox.publish")?;
        self.ports.publish(self.id.as_str(), &self.sandbox, port).await
    }

    async fn tunnels(&self) -> Result<Vec<Tunnel>> {
        // They are closed by a task that hears of the end a little later.
        Ok(if self.end().is_some() { Vec::new() } else { self.ports.tunnels() })
    }

    async fn connect(&self, port: u16) -> Result<BoxStream> {
        let active = self.sandbox.activity().hold();
        let connected = self.sandbox.connect(port).await;
        connected.map(|stream| Box::new(Used::new(stream, active)) as BoxStream).map_err(|error| match error {
            EngineError::File(source) => {
                let text = format!("nothing answers at port {port} of sandbox {}", self.id);
                Error::new(ErrorKind::Unavailable, "sandbox.connect", text)
                    .with_provider(NAME)
                    .with_context("port", port.to_string())
                    .with_source(source)
            }
            other => call_error("sandbox.connect", self.id.as_str(), other),
        })
    }

    async fn set_network(&self, network: Network) -> Result<()> {
        let policy = network::policy("sandbox.set_network", &network)?;
        let changed = self.sandbox.set_network(policy).await;
        changed.map_err(|error| call_error("sandbox.set_network", self.id.as_str(), error))
    }

    async fn events(&self) -> Result<Box<dyn EventStream>> {
        Ok(Box::new(Events(self.sandbox.events())))
    }

    async fn set_metadata(&self, metadata: BTreeMap<String, String>) -> Result<()> {
        self.check_running("sandbox.set_metadata")?;
        *self.metadata.lock().unwrap_or_else(PoisonError::into_inner) = metadata;
        Ok(())
    }
}

fn usage(used: &engine::SandboxUsage) -> Usage {
    let mut usage = Usage::default();
    usage.peak_memory_bytes = used.peak_memory_bytes;
    usage.cpu_time = used.cpu_time;
    usage.output_bytes = Some(used.output_bytes);
    usage.oom_kills = used.oom_kills;
    usage
}

pub(crate) fn end_cause(end: End) -> EndCause {
    match end {
        End::OutOfMemory => EndCause::OutOfMemory,
        End::ProcessLimit => EndCause::ProcessLimit,
        End::DiskFull => EndCause::DiskFull,
        End::Exited { code } => EndCause::Exited { code },
        End::TimedOut => EndCause::TimedOut,
        End::IdleTimedOut => EndCause::IdleTimedOut,
        End::Terminated => EndCause::Terminated,
        End::HostLost { reason } => EndCause::HostLost { reason },
        // The engine's list may grow; what is not known here is still an end that was not asked for.
        other => EndCause::HostLost { reason: other.to_string() },
    }
}
