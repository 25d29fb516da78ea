//! A provider of nothing: its sandboxes are entries of a map. A fixture for the harness, and no sandbox at all.

use computesdk_core::{
    BoxStream, Capabilities, CreateOptions, EndCause, Error, ErrorKind, Event, EventKind, EventStream, ExecOptions,
    Files, ListFilter, Network, Process, Provider, Result, Runtime, Sandbox, SandboxId, SandboxInfo, SandboxStatus,
    Tunnel, Usage, async_trait,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// What it does wrong, or claims without being able to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Plain,
    ClaimsPty,
    ClaimsGpu,
    Hangs,
    Panics,
    Sticks,
}

#[derive(Debug)]
pub(crate) struct Hollow {
    mode: Mode,
    made: Mutex<Vec<Arc<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    id: SandboxId,
    mode: Mode,
    created_at: SystemTime,
    runtime: Runtime,
    metadata: Mutex<BTreeMap<String, String>>,
    ended: tokio::sync::watch::Sender<bool>,
}

impl Hollow {
    pub(crate) fn new(mode: &str) -> Self {
        let mode = match mode {
            "plain" => Mode::Plain,
            "claims-pty" => Mode::ClaimsPty,
            "claims-gpu" => Mode::ClaimsGpu,
            "hangs" => Mode::Hangs,
            "panics" => Mode::Panics,
            "sticks" => Mode::Sticks,
            other => panic!("no mode {other}"),
        };
        Self { mode, made: Mutex::default() }
    }
}

#[async_trait]
impl Provider for Hollow {
    fn name(&self) -> &str {
        "hollow"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none("hollow");
        capabilities.runtimes = vec![Runtime::Python, Runtime::Node];
        capabilities.list = true;
        capabilities.pty = self.mode == Mode::ClaimsPty;
        capabilities.gpu = self.mode == Mode::ClaimsGpu;
        capabilities
    }

    async fn create(&self, options: CreateOptions) -> Result<Arc<dyn Sandbox>> {
        self.capabilities().check(&options)?;
        let mut made = self.made.lock().unwrap();
        let entry = Arc::new(Entry {
            id: SandboxId::new(format!("hollow-{}", made.len())),
            mode: self.mode,
            created_at: SystemTime::now(),
            runtime: options.runtime.unwrap_or(Runtime::Python),
            metadata: Mutex::new(options.metadata),
            ended: tokio::sync::watch::Sender::new(false),
        });
        eprintln!("hollow: made {}", entry.id);
        made.push(Arc::clone(&entry));
        Ok(entry)
    }

    async fn get(&self, id: &SandboxId) -> Result<Option<Arc<dyn Sandbox>>> {
        let made = self.made.lock().unwrap();
        Ok(made.iter().find(|entry| entry.id == *id).map(|entry| Arc::clone(entry) as Arc<dyn Sandbox>))
    }

    async fn find(&self, _name: &str) -> Result<Option<Arc<dyn Sandbox>>> {
        Ok(None)
    }

    async fn list(&self, filter: &ListFilter) -> Result<Vec<Arc<dyn Sandbox>>> {
        let wanted = |entry: &&Arc<Entry>| {
            let metadata = entry.metadata.lock().unwrap();
            !*entry.ended.borrow() && filter.metadata.iter().all(|(key, value)| metadata.get(key) == Some(value))
        };
        let made = self.made.lock().unwrap();
        Ok(made.iter().filter(wanted).map(|entry| Arc::clone(entry) as Arc<dyn Sandbox>).collect())
    }
}

#[async_trait]
impl Sandbox for Entry {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn provider(&self) -> &str {
        "hollow"
    }

    async fn info(&self) -> Result<SandboxInfo> {
        let end = self.ended.borrow().then_some(EndCause::Terminated);
        Ok(SandboxInfo {
            id: self.id.clone(),
            provider: "hollow".into(),
            runtime: self.runtime,
            status: SandboxStatus::of(end.as_ref()),
            created_at: self.created_at,
            timeout: Duration::MAX,
            name: None,
            isolation: None,
            usage: Usage::default(),
            last_output: None,
            notices: Vec::new(),
            end,
            metadata: self.metadata.lock().unwrap().clone(),
        })
    }

    fn main_process(&self) -> Option<Arc<dyn Process>> {
        None
    }

    async fn exec(&self, _options: ExecOptions) -> Result<Arc<dyn Process>> {
        match self.mode {
            Mode::Hangs => std::future::pending().await,
            Mode::Panics => panic!("hollow panics"),
            _ => Err(Error::new(ErrorKind::Unavailable, "sandbox.exec", "a hollow sandbox runs nothing")),
        }
    }

    fn files(&self) -> Arc<dyn Files> {
        unreachable!("it declares no files")
    }

    async fn wait(&self) -> Result<EndCause> {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
        Ok(EndCause::Terminated)
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(Usage::default())
    }

    async fn terminate(&self) -> Result<()> {
        if self.mode == Mode::Sticks {
            return Err(Error::new(ErrorKind::Unexpected, "sandbox.destroy", "a hollow sandbox sticks"));
        }
        if !self.ended.send_replace(true) {
            eprintln!("hollow: ended {}", self.id);
        }
        Ok(())
    }

    async fn publish(&self, _port: u16) -> Result<Tunnel> {
        Err(Error::unsupported("sandbox.publish", "ports", "a hollow sandbox has no ports"))
    }

    async fn tunnels(&self) -> Result<Vec<Tunnel>> {
        Ok(Vec::new())
    }

    async fn connect(&self, _port: u16) -> Result<BoxStream> {
        Err(Error::unsupported("sandbox.connect", "ports", "a hollow sandbox has no ports"))
    }

    async fn set_network(&self, network: Network) -> Result<()> {
        let option = format!("network={}", network.mode());
        Err(Error::unsupported("sandbox.set_network", &option, "a hollow sandbox has no network"))
    }

    async fn events(&self) -> Result<Box<dyn EventStream>> {
        Ok(Box::new(Told { count: 0, ended: self.ended.subscribe() }))
    }

    async fn set_metadata(&self, metadata: BTreeMap<String, String>) -> Result<()> {
        *self.metadata.lock().unwrap() = metadata;
        Ok(())
    }
}

/// Its beginning and its end.
struct Told {
    count: u8,
    ended: tokio::sync::watch::Receiver<bool>,
}

#[async_trait]
impl EventStream for Told {
    async fn next(&mut self) -> Option<Event> {
        let kind = match self.count {
            0 => EventKind::Created,
            1 => {
                self.ended.wait_for(|ended| *ended).await.ok()?;
                EventKind::Ended { end: EndCause::Terminated }
            }
            _ => return None,
        };
        self.count += 1;
        Some(Event::new(SystemTime::now(), kind))
    }
}
