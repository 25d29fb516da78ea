//! A provider for this crate's own tests: its sandboxes are this machine itself. No isolation at all.

use computesdk_core::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio as HostStdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::process::{Child, Command};
use tokio::sync::watch;

type Shared<T> = Arc<Mutex<T>>;

#[derive(Debug, Clone)]
pub(crate) struct Host {
    name: &'static str,
    runtime: Runtime,
    sandboxes: Shared<HashMap<SandboxId, Arc<HostSandbox>>>,
    count: Arc<AtomicU64>,
    /// How long `exec` takes before it starts anything.
    pub(crate) exec_delay: Duration,
    /// How many processes were started.
    pub(crate) started: Arc<AtomicU64>,
}

impl Host {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            runtime: Runtime::Python,
            sandboxes: Arc::default(),
            count: Arc::default(),
            exec_delay: Duration::ZERO,
            started: Arc::default(),
        }
    }

    /// With another language than Python in its configuration.
    pub(crate) fn with_runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = runtime;
        self
    }

    fn find_by(&self, wanted: impl Fn(&HostSandbox) -> bool) -> Option<Arc<dyn Sandbox>> {
        let sandboxes = self.sandboxes.lock().unwrap();
        sandboxes.values().find(|sandbox| wanted(sandbox)).map(|sandbox| Arc::clone(sandbox) as _)
    }
}

#[async_trait]
impl Provider for Host {
    fn name(&self) -> &str {
        self.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::none(self.name);
        can.runtimes = vec![Runtime::Python, Runtime::Node];
        can.filesystem = FilesystemSupport::Full;
        can.names = true;
        can.ports = true;
        can
    }

    async fn create(&self, options: CreateOptions) -> Result<Arc<dyn Sandbox>> {
        let id = SandboxId::new(format!("{}-{}", self.name, self.count.fetch_add(1, Ordering::Relaxed)));
        let sandbox = Arc::new(HostSandbox {
            id: id.clone(),
            provider: self.name,
            runtime: options.runtime.unwrap_or(self.runtime),
            name: options.name,
            ports: Mutex::new(options.ports.into_iter().collect()),
            end: watch::channel(None).0,
            exec_delay: self.exec_delay,
            started: Arc::clone(&self.started),
        });
        self.sandboxes.lock().unwrap().insert(id, Arc::clone(&sandbox));
        Ok(sandbox)
    }

    async fn get(&self, id: &SandboxId) -> Result<Option<Arc<dyn Sandbox>>> {
        Ok(self.find_by(|sandbox| sandbox.id == *id))
    }

    async fn find(&self, name: &str) -> Result<Option<Arc<dyn Sandbox>>> {
        Ok(self.find_by(|sandbox| sandbox.name.as_deref() == Some(name)))
    }

    async fn list(&self, _filter: &ListFilter) -> Result<Vec<Arc<dyn Sandbox>>> {
        let sandboxes = self.sandboxes.lock().unwrap();
        Ok(sandboxes
            .values()
            .filter(|sandbox| sandbox.end.borrow().is_none())
            .map(|one| Arc::clone(one) as _)
            .collect())
    }
}

#[derive(Debug)]
struct HostSandbox {
    id: SandboxId,
    provider: &'static str,
    runtime: Runtime,
    name: Option<String>,
    ports: Mutex<BTreeSet<u16>>,
    end: watch::Sender<Option<EndCause>>,
    exec_delay: Duration,
    started: Arc<AtomicU64>,
}

impl HostSandbox {
    fn alive(&self, operation: &'static str) -> Result<()> {
        match &*self.end.borrow() {
            Some(_) => Err(Error::new(ErrorKind::NotFound, operation, "the sandbox has ended")),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Sandbox for HostSandbox {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn provider(&self) -> &str {
        self.provider
    }

    async fn info(&self) -> Result<SandboxInfo> {
        let end = self.end.borrow().clone();
        Ok(SandboxInfo {
            id: self.id.clone(),
            provider: self.provider.to_owned(),
            runtime: self.runtime,
            status: SandboxStatus::of(end.as_ref()),
            created_at: SystemTime::UNIX_EPOCH,
            timeout: Duration::MAX,
            name: self.name.clone(),
            isolation: None,
            usage: Usage::default(),
            last_output: None,
            notices: Vec::new(),
            end,
            metadata: BTreeMap::new(),
        })
    }

    fn main_process(&self) -> Option<Arc<dyn Process>> {
        None
    }

    async fn exec(&self, options: ExecOptions) -> Result<Arc<dyn Process>> {
        tokio::time::sleep(self.exec_delay).await;
        self.alive("sandbox.exec")?;
        let stdio = |stdio| if stdio == Stdio::Null { HostStdio::null() } else { HostStdio::piped() };
        let mut command = Command::new(&options.argv[0]);
        command.args(&options.argv[1..]).envs(&options.env).process_group(0);
        command.stdin(stdio(options.stdin)).stdout(stdio(options.stdout)).stderr(stdio(options.stderr));
        command.current_dir(options.cwd.as_deref().unwrap_or("/tmp"));
        let process = HostProcess::start(command, options.timeout);
        self.started.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(process))
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::new(HostFiles)
    }

    async fn wait(&self) -> Result<EndCause> {
        let mut end = self.end.subscribe();
        let end = end.wait_for(Option::is_some).await.unwrap().clone();
        Ok(end.unwrap())
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(Usage::default())
    }

    async fn terminate(&self) -> Result<()> {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            end.get_or_insert(EndCause::Terminated);
            first
        });
        Ok(())
    }

    async fn publish(&self, port: u16) -> Result<Tunnel> {
        self.alive("sandbox.publish")?;
        self.ports.lock().unwrap().insert(port);
        Ok(tunnel(port))
    }

    async fn tunnels(&self) -> Result<Vec<Tunnel>> {
        if self.end.borrow().is_some() {
            return Ok(Vec::new());
        }
        Ok(self.ports.lock().unwrap().iter().copied().map(tunnel).collect())
    }

    async fn connect(&self, port: u16) -> Result<BoxStream> {
        self.alive("sandbox.connect")?;
        match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => {
                Err(Error::new(ErrorKind::Unavailable, "sandbox.connect", error.to_string()).with_source(error))
            }
        }
    }

    async fn set_network(&self, network: Network) -> Result<()> {
        let option = format!("network={}", network.mode());
        Err(Error::unsupported("sandbox.set_network", &option, "not in tests"))
    }

    async fn events(&self) -> Result<Box<dyn EventStream>> {
        Ok(Box::new(HostEvents { told: 0, end: self.end.subscribe() }))
    }

    async fn set_metadata(&self, _metadata: BTreeMap<String, String>) -> Result<()> {
        Ok(())
    }
}

/// A port of this machine is where it is.
fn tunnel(port: u16) -> Tunnel {
    let mut tunnel = Tunnel::new(port);
    tunnel.plain = Some(HostPort::new("127.0.0.1", port));
    tunnel
}

struct HostEvents {
    told: u8,
    end: watch::Receiver<Option<EndCause>>,
}

#[async_trait]
impl EventStream for HostEvents {
    async fn next(&mut self) -> Option<Event> {
        let kind = match self.told {
            0 => EventKind::Created,
            1 => EventKind::Ended { end: self.end.wait_for(Option::is_some).await.ok()?.clone()? },
            _ => return None,
        };
        self.told += 1;
        Some(Event::new(SystemTime::now(), kind))
    }
}

struct HostProcess {
    id: ProcessId,
    group: Option<u32>,
    stdin: Mutex<Option<BoxWrite>>,
    stdout: Mutex<Option<BoxRead>>,
    stderr: Mutex<Option<BoxRead>>,
    status: watch::Receiver<Option<ExitStatus>>,
}

impl HostProcess {
    fn start(mut command: Command, limit: Option<Duration>) -> Self {
        let (sender, status) = watch::channel(None);
        let Ok(mut child) = command.spawn() else {
            let reason = StartFailure::NotFound;
            sender.send_replace(Some(ExitStatus { cause: ExitCause::NotStarted { reason } }));
            let stderr: BoxRead = Box::new(&b"not found\n"[..]);
            return Self {
                id: ProcessId::new("none"),
                group: None,
                stdin: Mutex::default(),
                stdout: Mutex::default(),
                stderr: Mutex::new(Some(stderr)),
                status,
            };
        };
        let group = child.id();
        let process = Self {
            id: ProcessId::new(format!("{group:?}")),
            group,
            stdin: Mutex::new(child.stdin.take().map(|pipe| Box::new(pipe) as _)),
            stdout: Mutex::new(child.stdout.take().map(|pipe| Box::new(pipe) as _)),
            stderr: Mutex::new(child.stderr.take().map(|pipe| Box::new(pipe) as _)),
            status,
        };
        tokio::spawn(async move { sender.send_replace(Some(watch_over(child, limit).await)) });
        process
    }
}

async fn watch_over(mut child: Child, limit: Option<Duration>) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt as _;
    let group = child.id();
    let Ok(status) = tokio::time::timeout(limit.unwrap_or(Duration::from_secs(120)), child.wait()).await else {
        kill(group, Signal::KILL);
        return ExitStatus { cause: ExitCause::TimedOut };
    };
    let status = status.unwrap();
    let cause = match status.code() {
        Some(code) => ExitCause::Exited { code },
        None => ExitCause::Signalled { signal: status.signal().unwrap() },
    };
    ExitStatus { cause }
}

fn kill(group: Option<u32>, signal: Signal) {
    if let Some(group) = group {
        let mut kill = std::process::Command::new("kill");
        let _ =
            kill.args([format!("-{}", signal.0), "--".into(), format!("-{group}")]).stderr(HostStdio::null()).status();
    }
}

#[async_trait]
impl Process for HostProcess {
    fn id(&self) -> &ProcessId {
        &self.id
    }

    fn take_stdin(&self) -> Option<BoxWrite> {
        self.stdin.lock().unwrap().take()
    }

    fn take_stdout(&self) -> Option<BoxRead> {
        self.stdout.lock().unwrap().take()
    }

    fn take_stderr(&self) -> Option<BoxRead> {
        self.stderr.lock().unwrap().take()
    }

    async fn resize(&self, _size: PtySize) -> Result<()> {
        Err(Error::new(ErrorKind::FailedPrecondition, "process.resize", "no terminal"))
    }

    async fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.group, signal);
        Ok(())
    }

    async fn wait(&self) -> Result<ExitStatus> {
        let mut status = self.status.clone();
        let status = *status.wait_for(Option::is_some).await.unwrap();
        Ok(status.unwrap())
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(Usage::default())
    }
}

impl std::fmt::Debug for HostProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HostProcess").field(&self.id).finish()
    }
}

#[derive(Debug)]
struct HostFiles;

fn failed(error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        std::io::ErrorKind::NotADirectory | std::io::ErrorKind::IsADirectory => ErrorKind::InvalidArgument,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, "files", error.to_string()).with_source(error)
}

fn stat(meta: &std::fs::Metadata) -> FileStat {
    let kind = match meta.file_type() {
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::Symlink,
        kind if kind.is_file() => FileKind::File,
        _ => FileKind::Other,
    };
    FileStat {
        kind,
        size: meta.len(),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        owner: None,
        group: None,
        modified: meta.modified().unwrap(),
        symlink_target: None,
    }
}

#[async_trait]
impl Files for HostFiles {
    async fn open(&self, path: &str, how: OpenMode, _mode: Option<u32>) -> Result<Box<dyn File>> {
        let mut options = tokio::fs::OpenOptions::new();
        match how {
            OpenMode::Read => options.read(true),
            OpenMode::Write => options.write(true).create(true).truncate(true),
            OpenMode::Append => options.append(true).create(true),
            OpenMode::ReadWrite => options.read(true).write(true).create(true),
        };
        if how != OpenMode::Read {
            std::fs::create_dir_all(Path::new(path).parent().unwrap()).map_err(failed)?;
        }
        Ok(Box::new(options.open(path).await.map_err(failed)?))
    }

    async fn stat(&self, path: &str, follow: bool) -> Result<FileStat> {
        let meta = if follow { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) };
        meta.map(|meta| stat(&meta)).map_err(failed)
    }

    async fn list(&self, path: &str) -> Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push(DirEntry { name, stat: stat(&entry.metadata().map_err(failed)?) });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    async fn make_dir(&self, path: &str) -> Result<()> {
        std::fs::create_dir_all(path).map_err(failed)
    }

    async fn remove(&self, path: &str) -> Result<()> {
        let removed = if Path::new(path).is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        match removed {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(failed),
        }
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        std::fs::rename(from, to).map_err(failed)
    }

    async fn watch(&self, _path: &str, _recursive: bool) -> Result<Box<dyn WatchStream>> {
        Err(Error::unsupported("files.watch", "watch", "not in tests"))
    }
}
