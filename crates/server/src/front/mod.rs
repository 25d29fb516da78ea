//! One port for everything: TLS and plain, HTTP/2 and HTTP/1.1, told apart by what a client says first.
//!
//! ```text
//!                    ┌ 0x16 ──► TLS ─┐      ┌ "PRI * HTTP/2.0…" ──► HTTP/2 ───┐
//!  listener ── seat ─┤ arrive        ├──────┤ arrive                          ├─► names ─► the service
//!   accept     room  └ else ─────────┘      └ else ────────────────► HTTP/1.1 ┘   Host, Origin
//! ```
//!
//! Modal's clients decide by the host whether they believe a URL's `https`: Python then speaks TLS without looking at the
//! certificate, JavaScript and Go speak plain HTTP/2. So one URL must answer both (modal-wire notes, 2.2).
//!
//! - Whatever a client can make the server wait for or keep is bounded: connections, those of them that have not asked
//!   anything yet, the time to the first request, heads, frames and streams. What is not bounded is how long a request
//!   takes: reading the output of a program may take days.
//! - A connection that asks nothing never stands in the way of one that does: where room is short, the oldest silent one
//!   is dropped.
//! - A request whose `Host` is no name of this server, or that a web page made, never reaches the service: a page in a
//!   browser on this machine can reach the port too.
//! - The end of [`serve`] is the end of all that it started; so is dropping it.
//!
//! TLS is [`Authority::server_config`](computesdk_tunnel::Authority::server_config) with `h2`, or [`tls::from_pem`].

mod accept;
mod arrive;
mod names;
mod room;
mod speak;
pub mod tls;
mod wire;

pub use accept::serve;
pub(crate) use names::is_grpc;

use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What [`serve`] allows. The defaults are for a server on loopback with Modal's clients.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FrontOptions {
    /// For clients that speak TLS. Without it they are hung up on.
    pub tls: Option<Arc<ServerConfig>>,
    /// From the first byte to the end of the HTTP/2 preface, TLS included.
    pub handshake_timeout: Duration,
    /// For the head of an HTTP/1.1 request, and between two of them.
    pub head_timeout: Duration,
    /// Connections at a time, and no more than half of the files that this process may open. When they are all in use, a
    /// new one waits until one ends.
    pub max_connections: usize,
    /// Connections that have not asked anything yet, and no more than a quarter of those files. When there are more, the
    /// oldest is dropped.
    pub max_pending: usize,
    /// How long requests may go on after the stop.
    pub drain: Duration,
    /// Names and addresses by which clients reach this server, besides loopback and the address they came to.
    pub allowed_hosts: Vec<String>,
    /// How often an HTTP/2 client is asked whether it is still there.
    pub ping_every: Duration,
    /// How long it has to answer.
    pub ping_timeout: Duration,
}

impl Default for FrontOptions {
    fn default() -> Self {
        Self {
            tls: None,
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(30),
            max_connections: 4096,
            max_pending: 1024,
            drain: Duration::from_secs(5),
            allowed_hosts: Vec::new(),
            ping_every: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

/// Who asks, in the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The client's address.
    pub addr: SocketAddr,
    /// The address it came to: also where this client reaches the server again.
    pub local: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// In the extensions of a response: do not send it, but break off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// HTTP/2: the stream is reset. HTTP/1.1: the connection ends.
    Stream,
    /// The connection is reset, with all that is under way on it.
    Connection,
}

/// What [`serve`] saw, when it is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServeReport {
    /// Connections.
    pub accepted: u64,
    /// Connections that were dropped to make room.
    pub evicted: u64,
    /// Requests that were still under way when the time to drain was over.
    pub cut: usize,
}
