//! Ports for those who were given a token.

use crate::{Sandbox, check};
use computesdk_core::{Error, ErrorKind, Result};
use computesdk_tunnel::{ConnectToken, Dialed, Guard, Tunnel, TunnelOptions, dial_fn};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

const OPERATION: &str = "sandbox.share";

/// A port of a sandbox for those who show a token, from [`Sandbox::share`].
///
/// It listens on this machine's loopback and speaks HTTP/1.1. A request shows its token as `Authorization: Bearer TOKEN`, as the query
/// parameter `_modal_connect_token` (which is answered with a cookie, so that a browser needs it once), or as that cookie. Without
/// a valid one it is answered with 401, and the sandbox hears nothing of it. The server in the sandbox gets the request without
/// the token, and with `X-Verified-User-Data` if the token was issued with some. WebSockets pass.
///
/// Dropping it closes it, with its connections.
pub struct Share {
    port: u16,
    tunnel: Tunnel,
    guard: Guard,
}

impl Share {
    pub(crate) async fn open(sandbox: &Sandbox, port: u16) -> Result<Self> {
        check::port(OPERATION, port)?;
        let runtime = Handle::try_current().map_err(|error| {
            let text = "a port is shared from inside of a tokio runtime, on which it is then served";
            Error::new(ErrorKind::FailedPrecondition, OPERATION, text).with_source(error)
        })?;
        let guard = Guard::new();
        let mut options = TunnelOptions::default();
        options.guard = Some(guard.clone());
        options.runtime = Some(runtime);
        let sandbox = sandbox.clone();
        let dial = dial_fn(move || {
            let sandbox = sandbox.clone();
            async move { sandbox.connect(port).await.map(Dialed::other).map_err(io::Error::other) }
        });
        let tunnel = Tunnel::open(Arc::new(dial), options).await.map_err(|error| {
            let text = format!("port {port} cannot be shared: {error}");
            Error::new(ErrorKind::Unavailable, OPERATION, text)
                .with_context("port", port.to_string())
                .with_source(error)
        })?;
        Ok(Self { port, tunnel, guard })
    }

    /// A token that is valid from now on: for `valid_for`, or with `None` until it is revoked. Requests with it reach the sandbox with
    /// `user_data` as their `X-Verified-User-Data`.
    ///
    /// # Errors
    /// `InvalidArgument` for user data that no header can carry (4 KiB at most, no control characters); `QuotaExceeded` with
    /// 10000 valid tokens.
    pub fn issue(&self, user_data: Option<&str>, valid_for: Option<Duration>) -> Result<ConnectToken> {
        self.guard.issue(user_data.map(str::to_owned), valid_for).map_err(|error| match error {
            computesdk_tunnel::GuardError::UserData => {
                Error::invalid(OPERATION, "user_data", &error).with_source(error)
            }
            computesdk_tunnel::GuardError::Full => {
                Error::new(ErrorKind::QuotaExceeded, OPERATION, error.to_string()).with_source(error)
            }
            _ => Error::new(ErrorKind::Unexpected, OPERATION, error.to_string()).with_source(error),
        })
    }

    /// Ends a token; whether it was a valid one. Connections that it opened go on.
    pub fn revoke(&self, token: &ConnectToken) -> bool {
        self.guard.revoke(token.as_str())
    }

    /// The port in the sandbox.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.tunnel.plain_addr()
    }

    /// `http://127.0.0.1:PORT`, to which requests with a token are sent.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The same with a token in it, for a browser. Whoever has it has the port.
    #[must_use]
    pub fn url_with(&self, token: &ConnectToken) -> String {
        format!("{}/?_modal_connect_token={}", self.url(), token.as_str())
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("port", &self.port).field("address", &self.address()).finish_non_exhaustive()
    }
}
