//! Connections out of this machine, on behalf of a sandbox.

use crate::shared::Shared;
use rustix::net::sockopt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an address may take to answer. Linux itself gives up after some 130 s; nobody waits for that.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The same where there are others to try.
const NEXT_AFTER: Duration = Duration::from_secs(5);

/// Connects to an address that was judged.
pub(crate) async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    within(ANSWER_WITHIN, to).await
}

async fn within(limit: Duration, to: SocketAddr) -> io::Result<TcpStream> {
    let connected = timeout(limit, TcpStream::connect(to)).await;
    let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    keep_alive(&stream)?;
    Ok(stream)
}

/// What a program's own socket would do if it asked for it ends at the gateway. Routers forget connections on which nothing
/// passes, and a peer that has vanished is to be noticed.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(20))?;
    sockopt::set_tcp_keepcnt(stream, 6)?;
    Ok(())
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum DialError {
    /// The policy forbids it, or where it leads; in words.
    Refused(String),
    /// The network says no, or nobody answers in time.
    Failed(io::Error),
}

/// Connects to a name that is allowed: it is looked up now, and what it leads to is judged now.
pub(crate) async fn connect_named(shared: &Shared, name: &str, port: u16) -> Result<(TcpStream, IpAddr), DialError> {
    let addresses = shared.world.resolver.addresses(name).await.map_err(|error| {
        DialError::Failed(io::Error::new(error.kind(), format!("{name} cannot be looked up: {error}")))
    })?;
    let mut last = None;
    for address in &addresses {
        if let Err(reason) = shared.judge_resolved(name, *address) {
            last.get_or_insert(DialError::Refused(reason));
            continue;
        }
        let limit = if addresses.len() > 1 { NEXT_AFTER } else { ANSWER_WITHIN };
        match within(limit, SocketAddr::new(*address, port)).await {
            Ok(stream) => return Ok((stream, *address)),
            Err(error) => last = Some(DialError::Failed(error)),
        }
    }
    Err(last.unwrap_or_else(|| DialError::Failed(io::ErrorKind::NotFound.into())))
}
