//! The provider and its sandbox for the length of one command. Whatever happens, [`Session::close`] ends both.

use crate::args::{self, InterpreterArgs, NetworkArgs, SandboxArgs};
use crate::attach::{Ended, PIPE, attach};
use crate::exit::{Exit, Failure};
use crate::network_log::NetworkLog;
use crate::printer::Printer;
use crate::signals::Signals;
use crate::terminal::Terminal;
use computesdk::{Command, Compute, CreateParams, Error, ErrorKind, Event, EventKind, Isolation, Sandbox};
use computesdk_local::{Local, LocalConfig};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::AsyncWrite;

/// Working directory of a sandbox, unless the user says otherwise.
pub(crate) const DEFAULT_CWD: &str = "/root";

/// How long making a sandbox may take before somebody at a terminal is told why.
const PATIENCE: Duration = Duration::from_millis(300);

/// A provider, the signals that end us, and when we began.
#[derive(Debug)]
pub(crate) struct Session {
    local: Arc<Local>,
    pub(crate) signals: Signals,
    pub(crate) printer: Printer,
    verbose: bool,
    /// Told of the network if that was asked for.
    log: Option<NetworkLog>,
    started: Instant,
}

impl Session {
    pub(crate) fn new(args: &SandboxArgs, printer: Printer) -> Result<Self, Failure> {
        let signals = Signals::new()?;
        let local = Arc::new(Local::new(config(&args.interpreters)));
        Ok(Self { local, signals, printer, verbose: args.verbose, log: None, started: Instant::now() })
    }

    /// Makes the sandbox. `raw` says whether a terminal will be in raw mode while its program runs.
    pub(crate) async fn create(
        &mut self,
        params: CreateParams,
        network: &NetworkArgs,
        raw: bool,
    ) -> Result<Sandbox, Failure> {
        let compute = Compute::with_provider(Arc::clone(&self.local));
        let notice = Notice::start(self.printer);
        let sandbox = self.signals.interrupt(compute.sandbox().create(params)).await?;
        drop(notice);
        if self.verbose {
            let info = sandbox.get_info().await?;
            let isolation = info.isolation.unwrap_or_default();
            self.tell(&format!("sandbox {} of {}, isolation {isolation}", info.id, info.provider));
            for notice in &info.notices {
                self.printer.note(&format!("compute: note: {notice}"));
            }
        }
        for tunnel in sandbox.tunnels().await? {
            let urls: Vec<String> = [false, true].into_iter().filter_map(|secure| tunnel.url(secure)).collect();
            self.printer.note(&format!("compute: port {} is at {}", tunnel.port, urls.join(" and ")));
        }
        if network.network_log {
            self.log = Some(NetworkLog::open(&sandbox, self.printer, raw).await?);
        }
        Ok(sandbox)
    }

    /// Ties our streams and signals to the command until it ends, and tells meanwhile, and at last, of the network.
    pub(crate) async fn attach(
        &mut self,
        command: Command,
        streams: (impl AsyncWrite + Unpin, impl AsyncWrite + Unpin),
        terminal: Option<Terminal>,
    ) -> Result<Ended, Failure> {
        let attached = attach(command, streams, &mut self.signals, terminal, PIPE);
        let Some(log) = &mut self.log else { return attached.await };
        let ended = tokio::select! {
            ended = attached => ended?,
            never = log.follow() => match never {},
        };
        tokio::select! {
            () = log.settle() => Ok(ended),
            signal = self.signals.next() => Err(Failure::Signalled(signal)),
        }
    }

    /// What the result says of the network, if that was asked for.
    pub(crate) fn network(&self) -> Option<Vec<Event>> {
        let (events, surplus) = self.log.as_ref()?.kept()?;
        let mut events = events.to_vec();
        if surplus > 0 {
            events.push(Event::new(SystemTime::now(), EventKind::Lost { count: surplus }));
        }
        Some(events)
    }

    /// With `-v`, which interpreter this is in the sandbox.
    pub(crate) async fn tell_interpreter(&mut self, sandbox: &Sandbox, program: &str) -> Result<(), Failure> {
        if self.verbose && ["python3", "node"].contains(&program) {
            let found = sandbox.shell("command -v \"$0\" && \"$0\" --version 2>&1 | head -n 1").args([program]);
            let found = self.signals.interrupt(async { found.await }).await?;
            self.tell(&format!("{program}: {}", found.stdout.trim_end().replace('\n', ", ")));
        }
        Ok(())
    }

    /// With `-v`, one line and the time since the start.
    pub(crate) fn tell(&self, text: &str) {
        if self.verbose {
            self.printer.note(&format!("compute: {text} ({:.1} ms)", self.started.elapsed().as_secs_f64() * 1e3));
        }
    }

    /// Ends the sandbox and the engine. A further signal stops the waiting: they end with this process in any case.
    pub(crate) async fn close(mut self) {
        let log = self.log.take();
        let end = async {
            if let Some(mut log) = log {
                log.finish().await;
            }
            self.local.shutdown().await;
        };
        let ended = tokio::select! {
            () = end => true,
            _ = self.signals.next() => false,
        };
        if ended {
            self.tell("everything has ended");
        }
    }
}

/// The provider's settings. Never a limit that the user did not ask for.
pub(crate) fn config(args: &InterpreterArgs) -> LocalConfig {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let mut config = LocalConfig::default();
    config.timeout = Duration::MAX;
    config.python = args.python.as_ref().map(absolute);
    config.node = args.node.as_ref().map(absolute);
    config
}

/// The sandbox that these arguments ask for, with their files read.
pub(crate) fn params(asked: &SandboxArgs) -> Result<CreateParams, Failure> {
    let mut params = CreateParams::new().timeout(Duration::MAX);
    params.options.cwd.clone_from(&asked.cwd);
    params.options.network.clone_from(&asked.network.network);
    params.options.ports.clone_from(&asked.network.ports);
    if !asked.network.inbound.is_empty() {
        params.options.inbound = Some(asked.network.inbound.clone());
    }
    params.options.isolation = match asked.isolation {
        args::Isolation::Full => Isolation::Full,
        args::Isolation::Degraded => Isolation::Degraded,
    };
    let resources = &mut params.options.resources;
    resources.memory_bytes = asked.limits.memory;
    resources.cpus = asked.limits.cpu;
    resources.pids = asked.limits.pids;
    resources.disk_bytes = asked.limits.disk;
    resources.open_files = asked.limits.max_open_files;
    params.options.env.extend(asked.env.iter().map(|variable| (variable.name.clone(), variable.value.clone())));
    let cwd = asked.cwd.as_deref().unwrap_or(DEFAULT_CWD);
    for file in &asked.files {
        params.options.files.push(file.read(cwd).map_err(|error| unreadable(&file.local, error, Exit::OURS))?);
    }
    Ok(params)
}

/// A file of this machine that cannot be read.
pub(crate) fn unreadable(path: &Path, error: std::io::Error, exit: Exit) -> Failure {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::InvalidArgument,
    };
    let path = path.display().to_string();
    let text = format!("cannot read {path}");
    Failure::Error(Error::new(kind, "run.read", text).with_context("path", path).with_source(error), exit)
}

/// Says why it takes so long, if it does and somebody waits. Making the image may keep this thread busy, so another one
/// looks at the clock.
struct Notice {
    /// Dropping it tells the other thread that it is done.
    _waiting: Option<Sender<()>>,
}

impl Notice {
    fn start(printer: Printer) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { _waiting: None };
        }
        let (done, waiting) = channel::<()>();
        std::thread::spawn(move || {
            if waiting.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                printer.note("compute: preparing the sandbox image (done once) …");
            }
        });
        Self { _waiting: Some(done) }
    }
}
