//! An HTTP proxy for one connection: `CONNECT` and plain requests.
//!
//! It serves where the kernel cannot catch packets, and programs are told by `http_proxy` to come here. The proxy reads
//! whom a connection is for, a [`Dialer`] decides and dials, and the proxy carries bytes. Each step but the carrying has
//! an end: the head must come within a time and a size, and so must the ClientHello where names are checked.

use crate::dial::DialError;
use crate::hello::{Hello, hello};
use crate::http::{self, Head, Request, authority, origin_form};
use crate::relay::{Copied, both};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::timeout;

/// How a client asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// For a tunnel.
    Connect,
    /// With a request in the clear.
    Request,
}

/// Decides where a connection may go, and makes it.
pub(crate) trait Dialer: Sync {
    /// What it makes.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;

    /// Whether a tunnel must be TLS for the very name that it was asked for with. A name that was only said is worth
    /// nothing: many have one address.
    fn checks_names(&self) -> bool;

    /// A connection to a server ended badly: what it sees must not be an ordinary end.
    fn cut(&self, stream: &Self::Stream);

    /// Connects to `host`, a [`normal_name`](crate::normal_name) or an address, if that is allowed. It ends by itself.
    fn dial(&self, host: &str, port: u16) -> impl Future<Output = Result<Self::Stream, DialError>> + Send;
}

/// What became of a connection.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Whom it was for, if that was said.
    pub(crate) target: Option<(String, u16)>,
    pub(crate) end: End,
    /// Bytes to the server, the head of a plain request among them.
    pub(crate) sent: u64,
    /// Bytes from the server.
    pub(crate) received: u64,
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// It was carried until both sides had ended.
    Carried,
    /// It was carried until one side failed: the client must not take it for an ordinary end.
    Broken(io::Error),
    /// The policy forbade it; in words.
    Refused(String),
    /// The tunnel was for another name than asked for, or for none; in words.
    Mismatch(String),
    /// Nobody answered in time.
    TimedOut,
    /// The network said no.
    Failed(io::Error),
    /// What the client sent is no request for a proxy; in words.
    Bad(&'static str),
    /// The client did not say in time what it wants.
    TooSlow,
    /// The client went away before anything was carried.
    Gone,
}

/// In each direction of each connection, as long as that lasts.
const BUFFER: usize = 16 << 10;
/// For an answer of our own to be read.
const ANSWER: Duration = Duration::from_secs(1);

/// Serves one connection to its end. `head_within` is the time for the head, and again for the ClientHello. What is carried is
/// counted as it happens.
pub(crate) async fn serve<S, D>(client: &mut S, dialer: &D, head_within: Duration, copied: &Copied) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    D: Dialer,
{
    let mut outcome = Outcome { target: None, end: End::Carried, sent: 0, received: 0 };
    match open(client, dialer, head_within, &mut outcome.target).await {
        Ok((mut server, first)) => {
            if let Err(error) = carry(client, &mut server, &first, copied).await {
                dialer.cut(&server);
                outcome.end = End::Broken(error);
            }
            (outcome.sent, outcome.received) = copied.bytes();
        }
        Err(end) => {
            if let Some((status, reason)) = answer(&end) {
                // Whoever does not read it does not get it.
                let _ = timeout(ANSWER, respond(client, status, &reason)).await;
            }
            outcome.end = end;
        }
    }
    outcome
}

/// Reads whom the connection is for and dials. With the connection comes what goes to the server first.
async fn open<S, D>(
    client: &mut S,
    dialer: &D,
    within: Duration,
    target: &mut Option<(String, u16)>,
) -> Result<(D::Stream, Vec<u8>), End>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    D: Dialer,
{
    let mut seen = Vec::new();
    let read = |seen: &[u8]| match http::head(seen) {
        Head::More => None,
        other => Some(other),
    };
    let request = match read_until(client, &mut seen, read, within).await? {
        Head::Request(request) => request,
        Head::Bad(why) => return Err(End::Bad(why)),
        Head::More => return Err(End::Gone),
    };
    let rest = seen.split_off(request.len);
    let (host, port, how) = wanted(&request)?;
    *target = Some((host.clone(), port));
    let server = dialer.dial(&host, port).await.map_err(|error| match error {
        DialError::Refused(reason) => End::Refused(reason),
        DialError::Failed(error) if error.kind() == io::ErrorKind::TimedOut => End::TimedOut,
        DialError::Failed(error) => End::Failed(error),
    })?;
    if how == Seen::Request {
        let mut first = origin_form(&seen).ok_or(End::Bad("this is no HTTP request"))?;
        first.extend(rest);
        return Ok((server, first));
    }
    let welcome = client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
    if !matches!(timeout(within, welcome).await, Ok(Ok(()))) {
        return Err(End::Gone);
    }
    let mut seen = rest;
    if dialer.checks_names() {
        check_name(client, &mut seen, &host, within).await?;
    }
    Ok((server, seen))
}

/// Host, port and way of a request to a proxy.
fn wanted(request: &Request) -> Result<(String, u16, Seen), End> {
    if request.method == "CONNECT" {
        let (host, port) = authority(&request.target).ok_or(End::Bad("CONNECT needs HOST:PORT"))?;
        return Ok((host, port, Seen::Connect));
    }
    match &request.host {
        Some((host, port)) if request.absolute => Ok((host.clone(), port.unwrap_or(80), Seen::Request)),
        _ => Err(End::Bad("this is a proxy: ask it for a whole URL, or with CONNECT")),
    }
}

/// Reads a ClientHello into `seen` and compares its name.
async fn check_name<S>(client: &mut S, seen: &mut Vec<u8>, host: &str, within: Duration) -> Result<(), End>
where
    S: AsyncRead + Unpin,
{
    let read = |seen: &[u8]| match hello(seen) {
        Hello::More => None,
        other => Some(other),
    };
    let mismatch = |what: &str| Err(End::Mismatch(format!("a tunnel to {host} was used for {what}")));
    match read_until(client, seen, read, within).await {
        Ok(Hello::Name(name)) if name == host => Ok(()),
        Ok(Hello::Name(name)) => mismatch(&format!("TLS with {name}")),
        Ok(Hello::NoName) => mismatch("TLS without a name"),
        Ok(Hello::NotTls | Hello::More) => mismatch("something other than TLS"),
        Err(End::TooSlow) => mismatch("no TLS in time"),
        Err(end) => Err(end),
    }
}

/// Reads into `seen` until `judge` can tell. All judges can before long, whatever comes: `seen` stays small.
async fn read_until<S, T>(
    client: &mut S,
    seen: &mut Vec<u8>,
    judge: impl Fn(&[u8]) -> Option<T>,
    within: Duration,
) -> Result<T, End>
where
    S: AsyncRead + Unpin,
{
    let reading = async {
        loop {
            if let Some(told) = judge(seen) {
                return Ok(told);
            }
            seen.reserve(4096);
            match client.read_buf(seen).await {
                Ok(0) | Err(_) => return Err(End::Gone),
                Ok(_) => {}
            }
        }
    };
    timeout(within, reading).await.unwrap_or(Err(End::TooSlow))
}

/// What the client is told. Nothing within a tunnel, where it would be taken for the server's.
fn answer(end: &End) -> Option<(&'static str, String)> {
    match end {
        End::Carried | End::Broken(_) | End::Gone | End::Mismatch(_) => None,
        End::Refused(reason) => Some(("403 Forbidden", reason.clone())),
        End::TimedOut => Some(("504 Gateway Timeout", "the server did not answer in time".into())),
        End::Failed(error) => Some(("502 Bad Gateway", format!("no connection to the server: {error}"))),
        End::Bad(why) => Some(("400 Bad Request", (*why).into())),
        End::TooSlow => Some(("408 Request Timeout", "the request did not come in time".into())),
    }
}

async fn respond<S>(client: &mut S, status: &str, reason: &str) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let line: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{line}\n",
        line.len() + 1
    );
    client.write_all(response.as_bytes()).await?;
    client.shutdown().await?;
    // A socket that is closed with something unread resets, and the answer is lost.
    let mut left = client.take(BUFFER as u64);
    tokio::io::copy(&mut left, &mut tokio::io::sink()).await.map(drop)
}

/// Carries bytes both ways, `first` before those of the client, until both sides have ended. A side that ends keeps
/// receiving.
async fn carry<S, T>(client: &mut S, server: &mut T, first: &[u8], copied: &Copied) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (from_client, to_client) = split(client);
    let (from_server, to_server) = split(server);
    let holds = [AtomicBool::new(false), AtomicBool::new(false)];
    let up = pin!(pump(from_client, to_server, first, |len| copied.add_out(len), &holds[0]));
    let down = pin!(pump(from_server, to_client, &[], |len| copied.add_back(len), &holds[1]));
    both(up, down, [&holds[0], &holds[1]]).await
}

async fn pump<R, W>(mut from: R, mut to: W, first: &[u8], count: impl Fn(u64), holds: &AtomicBool) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    holds.store(true, Ordering::Relaxed);
    to.write_all(first).await?;
    count(first.len() as u64);
    let mut buffer = vec![0; BUFFER];
    loop {
        holds.store(false, Ordering::Relaxed);
        let len = from.read(&mut buffer).await?;
        if len == 0 {
            return to.shutdown().await;
        }
        holds.store(true, Ordering::Relaxed);
        to.write_all(&buffer[..len]).await?;
        to.flush().await?;
        count(len as u64);
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
