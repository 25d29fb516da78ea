//! Addresses on this machine for the ports of sandboxes.
//!
//! ```text
//!  127.0.0.1:PORT ─────── plain ──┐             ┌ no guard: any protocol, bytes as they are ┐
//!                                 ├─ inbound? ──┤                                           ├── Dial ──► port in the sandbox
//!  NAME.localhost:PORT ── TLS ────┘             └ guard: HTTP/1.1, each request is checked ─┘
//!                          │
//!                      Authority: ca.pem, ca.key
//! ```
//!
//! This crate knows no engine: a [`Dial`] says how the other end is reached.
//!
//! - A [`Tunnel`] listens, on loopback unless it is asked for more, and is gone with all of its connections when it is
//!   dropped. A direction that ends is ended at the other side while the other goes on; a reset is passed on as a reset.
//!   Everything a peer can make it wait for or hold is bounded; only a connection that is up may live as long as it likes.
//! - An [`Authority`] signs its certificates. Whoever trusts it trusts it for `localhost`, names below it and loopback
//!   addresses, and for nothing else.
//! - A [`Guard`] lets through who shows a [`ConnectToken`].
//!
//! # On loopback, but not alone
//! Every user of this machine reaches a port on 127.0.0.1, and so does every web page in a browser on it, with requests of
//! its own making. Where that matters, use a guard. Cookies do not tell ports apart: give each tunnel a name of its own
//! (`p8080-sb-1.localhost`), or the cookie of one goes to the servers of all.
//!
//! # Example
//! ```
//! use computesdk_tunnel::{Dialed, Tunnel, TunnelOptions, dial_fn};
//! use std::sync::Arc;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::{TcpListener, TcpStream};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In place of a sandbox: a server that says hello.
//! let server = TcpListener::bind("127.0.0.1:0").await?;
//! let address = server.local_addr()?;
//! tokio::spawn(async move {
//!     while let Ok((mut stream, _)) = server.accept().await {
//!         let _ = stream.write_all(b"hello").await;
//!     }
//! });
//!
//! let dial = dial_fn(move || async move { TcpStream::connect(address).await.map(Dialed::Tcp) });
//! let tunnel = Tunnel::open(Arc::new(dial), TunnelOptions::default()).await?;
//!
//! let mut answer = String::new();
//! TcpStream::connect(tunnel.plain_addr()).await?.read_to_string(&mut answer).await?;
//! assert_eq!(answer, "hello");
//! tunnel.close().await;
//! # Ok(())
//! # }
//! ```

mod authority;
mod body;
mod der;
mod dial;
mod front;
mod guard;
mod head;
mod hint;
mod leaf;
mod listen;
mod pass;
mod relay;
mod side;
mod store;
mod tunnel;

pub use authority::{Authority, AuthorityError};
pub use dial::{BoxStream, Dial, DialFn, Dialed, Keepsake, Stream, dial_fn};
pub use guard::{ConnectToken, Guard, GuardError};
pub use tunnel::{TlsFace, Tunnel, TunnelError, TunnelOptions, TunnelStats};

/// What others said, as long as is worth showing.
fn shorten(mut text: String) -> String {
    const MOST: usize = 500;
    if text.len() > MOST {
        let end = (0..=MOST).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
