//! One listener and the connections that came through it.
//!
//! Everything a peer can make us wait for has a bound: the handshake, the dial, the number of connections. The task that
//! listens owns those of its connections, so that its end is theirs.

use crate::dial::Dial;
use crate::front;
use crate::guard::Guard;
use crate::relay::relay;
use crate::side::{Side, Tcp};
use crate::tunnel::TunnelStats;
use ipnet::IpNet;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// After an accept that failed, most often for want of descriptors: to try again at once would only heat the room.
const PAUSE: Duration = Duration::from_millis(100);

/// What both listeners of a tunnel share.
pub(crate) struct Shared {
    dial: Arc<dyn Dial>,
    inbound: Option<Vec<IpNet>>,
    room: Arc<Semaphore>,
    max_connections: usize,
    guard: Option<Guard>,
    dial_timeout: Duration,
    accepted: AtomicU64,
    refused: AtomicU64,
    failed_dials: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Shared {
    pub(crate) fn new(
        dial: Arc<dyn Dial>,
        inbound: Option<Vec<IpNet>>,
        max_connections: usize,
        guard: Option<Guard>,
        dial_timeout: Duration,
    ) -> Self {
        let max_connections = max_connections.min(Semaphore::MAX_PERMITS);
        let room = Arc::new(Semaphore::new(max_connections));
        let (accepted, refused, failed_dials) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let last_error = Mutex::new(None);
        Self { dial, inbound, room, max_connections, guard, dial_timeout, accepted, refused, failed_dials, last_error }
    }

    pub(crate) fn stats(&self) -> TunnelStats {
        TunnelStats {
            open: self.max_connections - self.room.available_permits(),
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            failed_dials: self.failed_dials.load(Ordering::Relaxed),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// The sandbox's side of a connection. A failure is counted here.
    pub(crate) async fn dial(&self) -> Option<Side> {
        let dialed = tokio::time::timeout(self.dial_timeout, self.dial.dial()).await;
        let error = match dialed {
            Ok(Ok(dialed)) => return Some(Side::dialed(dialed)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection into the sandbox within {:?}", self.dial_timeout),
        };
        tracing::debug!(%error, "the sandbox's side of a tunnel cannot be reached");
        self.failed_dials.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(crate::shorten(error));
        None
    }

    fn welcome(&self, peer: SocketAddr) -> bool {
        // Over a listener of both families, IPv4 peers come as ::ffff:a.b.c.d.
        let address = peer.ip().to_canonical();
        self.inbound.as_ref().is_none_or(|ranges| ranges.iter().any(|range| range.contains(&address)))
    }
}

/// A listener at work. Dropping it ends it and its connections.
pub(crate) struct Listening {
    address: SocketAddr,
    task: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl Listening {
    pub(crate) fn start(
        runtime: &Handle,
        listener: TcpListener,
        address: SocketAddr,
        config: Option<Arc<ServerConfig>>,
        shared: &Arc<Shared>,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(shared);
        let task = runtime.spawn(async move {
            let mut connections = JoinSet::new();
            let acceptor = config.map(TlsAcceptor::from);
            tokio::select! {
                () = accept(listener, acceptor.as_ref(), &shared, &mut connections) => {}
                _ = stopped => {}
            }
            connections.shutdown().await;
        });
        Self { address, task, stop: Some(stop) }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn close(mut self) {
        drop(self.stop.take());
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<&TlsAcceptor>,
    shared: &Arc<Shared>,
    connections: &mut JoinSet<()>,
) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if gone_already(&error) => continue,
            Err(error) => {
                tracing::debug!(%error, "a tunnel cannot take a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if !shared.welcome(peer) {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            let _ = stream.set_zero_linger();
            continue;
        }
        // Only after the accept: a listener that is idle holds no room that the other one could use.
        let Ok(permit) = Arc::clone(&shared.room).acquire_owned().await else { return };
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        while connections.try_join_next().is_some() {}
        connections.spawn(connection(stream, peer, acceptor.cloned(), Arc::clone(shared), permit));
    }
}

fn gone_already(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    permit: OwnedSemaphorePermit,
) {
    let tcp = Tcp::new(stream);
    let secure = acceptor.is_some();
    let client = match acceptor {
        None => Side::plain(tcp),
        Some(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await {
            Ok(Ok(stream)) => Side::tls(stream),
            Ok(Err(error)) => return tracing::debug!(%error, %peer, "no TLS with a client of a tunnel"),
            Err(_) => return tracing::debug!(%peer, "a client of a tunnel did not finish its TLS handshake"),
        },
    };
    match &shared.guard {
        Some(guard) => front::serve(client, &shared, guard, peer, secure).await,
        None => {
            if let Some(sandbox) = shared.dial().await {
                relay(client, sandbox).await;
            }
        }
    }
    drop(permit);
}
