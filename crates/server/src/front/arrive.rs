//! What a client says first: TLS or not, HTTP/2 or not.

use crate::front::room::Seat;
use crate::front::wire::{Stream, Wire};
use rustls::ServerConfig;
use std::io;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// What an HTTP/2 client sends before anything else.
const PREFACE: &[u8; Wire::AHEAD] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first byte of a TLS handshake.
const TLS: u8 = 0x16;

/// A connection that is ready to be spoken on.
pub(super) struct Arrived {
    pub(super) wire: Wire,
    pub(super) http2: bool,
}

/// Reads until it is clear. `None` for a client that left before it said anything.
pub(super) async fn arrive(
    tcp: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    seat: Arc<Seat>,
) -> io::Result<Option<Arrived>> {
    let mut first = [0];
    if tcp.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    let stream = match (first[0] == TLS, tls) {
        (false, _) => Stream::Plain(tcp),
        (true, Some(config)) => Stream::Tls(Box::new(TlsAcceptor::from(config).accept(tcp).await?)),
        (true, None) => return Err(io::Error::other("a client speaks TLS, and the server has no certificate")),
    };
    let mut wire = Wire::new(stream, seat);
    let http2 = preface(&mut wire).await?;
    Ok(http2.map(|http2| Arrived { wire, http2 }))
}

/// Whether HTTP/2 follows. Reads no more than it takes to know.
async fn preface(wire: &mut Wire) -> io::Result<Option<bool>> {
    let (stream, ahead, filled) = wire.ahead();
    while *filled < PREFACE.len() {
        let n = stream.read(&mut ahead[*filled..]).await?;
        if n == 0 && *filled == 0 {
            return Ok(None);
        }
        *filled += n;
        // The end, in the middle of it, is for the parser of HTTP/1.1 to complain about.
        if n == 0 || ahead[..*filled] != PREFACE[..*filled] {
            return Ok(Some(false));
        }
    }
    Ok(Some(true))
}
