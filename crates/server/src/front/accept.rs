//! The listener, and the life of its connections from the first byte to the stop.

use crate::front::arrive::arrive;
use crate::front::room::{Room, Taken};
use crate::front::speak::{Speech, speak};
use crate::front::{FrontOptions, Peer, ServeReport};
use axum::body::Body;
use http::{Request, Response};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::Service;

/// After an accept that failed, most often for want of descriptors: to try again at once would only heat the room.
const PAUSE: Duration = Duration::from_millis(50);
/// For handlers to notice that their connection is gone.
const AFTERMATH: Duration = Duration::from_secs(1);

/// What all connections share.
pub(super) struct Shared {
    pub(super) options: FrontOptions,
    pub(super) speech: Speech,
}

/// Serves until `stop`, then until the requests under way are done, [`FrontOptions::drain`] at most: nothing new is taken,
/// and clients are told to go elsewhere.
///
/// The service sees every request that is for this server, of either version of HTTP, with a [`Peer`] in its extensions.
pub async fn serve<S>(
    listener: TcpListener,
    service: S,
    options: FrontOptions,
    stop: impl Future<Output = ()>,
) -> ServeReport
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let (half, quarter) = descriptors().map_or((usize::MAX, usize::MAX), |all| (all / 2, all / 4));
    let room = Room::new(options.max_connections.min(half), options.max_pending.min(quarter));
    let drain = options.drain;
    let shared = Arc::new(Shared { speech: Speech::new(&options), options });
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    {
        let accepting = accept(&listener, &room, |tcp, addr, taken| {
            while connections.try_join_next().is_some() {}
            connections.spawn(connection(tcp, addr, taken, service.clone(), Arc::clone(&shared), stopped.clone()));
        });
        tokio::select! {
            () = accepting => {}
            () = stop => {}
        }
    }
    drop(listener);
    // Whoever holds it still hears of the stop.
    let _ = stopping.send(true);
    let drained = timeout(drain, async { while connections.join_next().await.is_some() {} }).await;
    let cut = if drained.is_ok() { 0 } else { room.requests() };
    connections.shutdown().await;
    let _ = timeout(AFTERMATH, room.quiet()).await;
    let (accepted, evicted) = room.counts();
    ServeReport { accepted, evicted, cut }
}

async fn accept(listener: &TcpListener, room: &Arc<Room>, mut take: impl FnMut(TcpStream, SocketAddr, Taken)) {
    let mut told = false;
    loop {
        match listener.accept().await {
            Ok((tcp, addr)) => {
                told = false;
                room.room().await;
                take(tcp, addr, room.sit());
            }
            Err(error) if gone_already(&error) => {}
            Err(error) => {
                if !told {
                    tracing::warn!(%error, "cannot take connections");
                    told = true;
                }
                room.relieve();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// How many files this process may have open. Connections must leave some for sandboxes.
fn descriptors() -> Option<usize> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.and_then(|most| usize::try_from(most).ok())
}

fn gone_already(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

async fn connection<S>(
    tcp: TcpStream,
    addr: SocketAddr,
    taken: Taken,
    service: S,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let seat = taken.seat();
    let must_go = seat.must_go();
    tokio::pin!(must_go);
    let _ = tcp.set_nodelay(true);
    let Ok(local) = tcp.local_addr() else { return };
    let arriving = timeout(shared.options.handshake_timeout, arrive(tcp, shared.options.tls.clone(), taken.seat()));
    let arrived = tokio::select! {
        arrived = arriving => arrived,
        () = &mut must_go => return,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    let arrived = match arrived {
        Ok(Ok(Some(arrived))) => arrived,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => return tracing::debug!(%error, peer = %addr, "no HTTP with a client"),
        Err(_) => return tracing::debug!(peer = %addr, "a client did not say in time what it wants"),
    };
    let peer = Peer { addr, local, tls: arrived.wire.is_tls() };
    // Boxed: while a connection is pending, it takes no more than it must.
    let speaking = Box::pin(speak(arrived, peer, taken.seat(), service, shared, stop));
    tokio::select! {
        () = speaking => {}
        () = must_go => {}
    }
}
