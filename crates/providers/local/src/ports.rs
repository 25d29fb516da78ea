//! The published ports of one sandbox.
//!
//! A tunnel lasts as long as its sandbox: a task that holds nothing but the news of its end closes them all.

use crate::error::NAME;
use computesdk_core::{Error, ErrorKind, HostPort, Result, Tunnel};
use computesdk_engine as engine;
use computesdk_tunnel::{self as tunnel, Authority, Dialed, TlsFace, TunnelOptions, dial_fn};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most published ports of one sandbox: each is two sockets of this process.
pub(crate) const MOST_PORTS: usize = 64;

/// Where tunnels listen, and for whom.
#[derive(Debug, Clone)]
pub(crate) struct PortSettings {
    pub(crate) listen: IpAddr,
    pub(crate) authority: PathBuf,
    pub(crate) inbound: Option<Vec<IpNet>>,
    /// Ports whose servers speak HTTP/2.
    pub(crate) h2: Vec<u16>,
}

/// The tunnels of a sandbox.
#[derive(Debug)]
pub(crate) struct Ports {
    settings: PortSettings,
    open: Arc<Mutex<Open>>,
    /// Publishing goes one by one: the same port twice is one tunnel.
    publishing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Open {
    tunnels: BTreeMap<u16, (Tunnel, tunnel::Tunnel)>,
    is_watched: bool,
    has_ended: bool,
    /// Why there is no TLS.
    without_tls: Option<String>,
}

impl Ports {
    pub(crate) fn new(settings: PortSettings) -> Self {
        Self { settings, open: Arc::default(), publishing: tokio::sync::Mutex::default() }
    }

    /// The published ones.
    pub(crate) fn tunnels(&self) -> Vec<Tunnel> {
        self.open().tunnels.values().map(|(told, _)| told.clone()).collect()
    }

    /// What whoever looks should know.
    pub(crate) fn notice(&self) -> Option<String> {
        self.open().without_tls.as_ref().map(|why| format!("published ports have no TLS: {why}"))
    }

    /// Publishes a port, or returns its tunnel.
    pub(crate) async fn publish(&self, id: &str, sandbox: &engine::Sandbox, port: u16) -> Result<Tunnel> {
        let _one_by_one = self.publishing.lock().await;
        {
            let open = self.open();
            if let Some((told, _)) = open.tunnels.get(&port) {
                return Ok(told.clone());
            }
            if open.tunnels.len() >= MOST_PORTS {
                let text = format!("a sandbox has at most {MOST_PORTS} published ports");
                return Err(failed(ErrorKind::QuotaExceeded, text, port));
            }
        }
        let runtime = sandbox.network_runtime().map_err(|error| {
            failed(ErrorKind::Unexpected, String::from("the network thread cannot be started"), port).with_source(error)
        })?;
        let name = format!("p{port}-{id}.localhost");
        let mut options = TunnelOptions::default();
        options.listen = self.settings.listen;
        options.inbound.clone_from(&self.settings.inbound);
        options.runtime = Some(runtime.clone());
        let dir = self.settings.authority.clone();
        // Files, a lock, and the first time a key: not on anybody's thread.
        match runtime.spawn_blocking(move || Authority::open(&dir)).await {
            Ok(Ok(authority)) => {
                let mut face = TlsFace::new(authority, [name.as_str(), "localhost", "127.0.0.1", "::1"]);
                face.h2 = self.settings.h2.contains(&port);
                options.tls = Some(face);
            }
            Ok(Err(error)) => self.open().without_tls = Some(error.to_string()),
            Err(error) => self.open().without_tls = Some(error.to_string()),
        }
        let dialed = sandbox.clone();
        let dial = dial_fn(move || {
            let sandbox = dialed.clone();
            async move {
                let active = sandbox.activity().hold();
                sandbox.connect(port).await.map(|stream| Dialed::from(stream).keeping(active)).map_err(as_io)
            }
        });
        let opened = tunnel::Tunnel::open(Arc::new(dial), options).await.map_err(|error| {
            failed(ErrorKind::Unavailable, format!("port {port} cannot be published: {error}"), port).with_source(error)
        })?;
        let mut told = Tunnel::new(port);
        let plain = opened.plain_addr();
        told.plain = Some(HostPort::new(reachable(plain.ip()).to_string(), plain.port()));
        told.tls = opened.tls_addr().map(|address| HostPort::new(name, address.port()));
        let mut open = self.open();
        if open.has_ended {
            return Err(failed(ErrorKind::NotFound, format!("sandbox {id} has ended"), port));
        }
        open.tunnels.insert(port, (told.clone(), opened));
        if !std::mem::replace(&mut open.is_watched, true) {
            let (over, tunnels) = (sandbox.over(), Arc::clone(&self.open));
            runtime.spawn(async move {
                over.await;
                let gone = {
                    let mut open = tunnels.lock().unwrap_or_else(PoisonError::into_inner);
                    open.has_ended = true;
                    std::mem::take(&mut open.tunnels)
                };
                drop(gone);
            });
        }
        Ok(told)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The list of who may use published ports.
pub(crate) fn inbound(asked: Option<&Vec<String>>) -> Result<Option<Vec<IpNet>>> {
    let Some(entries) = asked else { return Ok(None) };
    // Names can be reached, and do not come: what is said of ranges in a network policy fits the rest only.
    let is_range = |entry: &&String| entry.parse::<IpNet>().is_ok() || entry.parse::<IpAddr>().is_ok();
    if let Some(entry) = entries.iter().find(|entry| !is_range(entry)) {
        let problem = format!("{entry:?} is no address range; give it as 203.0.113.0/24, or one address");
        return Err(Error::invalid("sandbox.create", "inbound", problem).with_provider(NAME));
    }
    match engine::NetworkPolicy::ranges(entries) {
        Ok(engine::NetworkPolicy::Ranges(ranges)) => Ok(Some(ranges)),
        Ok(_) => Ok(None),
        Err(error) => Err(Error::invalid("sandbox.create", "inbound", &error).with_provider(NAME).with_source(error)),
    }
}

/// An address under which a listener is reached from this machine.
fn reachable(listen: IpAddr) -> IpAddr {
    match listen {
        IpAddr::V4(any) if any.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

fn as_io(error: engine::EngineError) -> io::Error {
    match error {
        engine::EngineError::File(error) => error,
        other => io::Error::other(other),
    }
}

fn failed(kind: ErrorKind, text: String, port: u16) -> Error {
    Error::new(kind, "sandbox.publish", text).with_provider(NAME).with_context("port", port.to_string())
}
