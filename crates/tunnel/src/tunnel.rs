//! A tunnel: listeners on this machine whose connections end in a port of a sandbox.
//!
//! Plain and TLS are listeners of their own, so that a server that speaks first can be reached. Whatever listens belongs to
//! the tunnel: when it is closed or dropped, its listeners and connections are gone.

use crate::authority::{Authority, AuthorityError};
use crate::dial::Dial;
use crate::guard::Guard;
use crate::listen::{Listening, Shared};
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;

/// The TLS side of a tunnel. TLS ends here: the sandbox's server speaks without.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TlsFace {
    /// Signs the certificate.
    pub authority: Arc<Authority>,
    /// Host names of the certificate: `localhost` and names below it. 127.0.0.1 and ::1 are always in it.
    pub names: Vec<String>,
    /// Where to listen; 0 for any free port.
    pub port: u16,
    /// The server in the sandbox speaks HTTP/2 without TLS ("prior knowledge"): clients are offered `h2` before
    /// `http/1.1`. Default: `http/1.1` alone.
    pub h2: bool,
}

impl TlsFace {
    /// Any free port, HTTP/1.1.
    #[must_use]
    pub fn new(authority: Arc<Authority>, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { authority, names: names.into_iter().map(Into::into).collect(), port: 0, h2: false }
    }
}

/// Where a tunnel listens, and for whom.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TunnelOptions {
    /// The address to listen on. Default: 127.0.0.1. With any address beyond loopback, the sandbox's server is open to
    /// whoever reaches this machine; see `inbound` and `guard`.
    pub listen: IpAddr,
    /// The plain port. Default: 0, any free one.
    pub port: u16,
    /// A second listener with TLS. Default: none.
    pub tls: Option<TlsFace>,
    /// Who may connect: the connections of others are closed at once. Default: whoever reaches the address.
    pub inbound: Option<Vec<IpNet>>,
    /// Connections at a time over both listeners; at least 1. More are not refused: they wait in the kernel's queue (1024
    /// for each listener) until others end. Default: 512.
    pub max_connections: usize,
    /// Tokens that a client must show, over HTTP/1.1. Default: none is asked for, and any protocol goes through.
    pub guard: Option<Guard>,
    /// How long a connection into the sandbox may take to be made. Default: 10 s.
    pub dial_timeout: Duration,
    /// Where the tunnel's tasks run. Default: the runtime that `open` is called in.
    pub runtime: Option<Handle>,
}

impl Default for TunnelOptions {
    fn default() -> Self {
        Self {
            listen: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            tls: None,
            inbound: None,
            max_connections: 512,
            guard: None,
            dial_timeout: Duration::from_secs(10),
            runtime: None,
        }
    }
}

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TunnelError {
    /// The port cannot be listened on.
    #[error("cannot listen on {address}: {source}; {advice}", advice = advice(source, *address))]
    Listen {
        /// Address and port as asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// No certificate for these names.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Options that cannot be kept together.
    #[error("{0}")]
    Invalid(&'static str),
    /// There is nothing to run on.
    #[error("a tunnel is opened inside of a tokio runtime, or with `TunnelOptions::runtime`")]
    NoRuntime,
}

fn advice(error: &std::io::Error, address: SocketAddr) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "another program has port {port}: end it (`ss -ltnp sport = :{port}` shows it), or choose another port, or 0 for \
             any free one",
            port = address.port()
        ),
        std::io::ErrorKind::PermissionDenied => format!(
            "ports below 1024 may be kept for root: choose a higher one, or let everybody have it with \
             `sysctl net.ipv4.ip_unprivileged_port_start={}`",
            address.port()
        ),
        std::io::ErrorKind::AddrNotAvailable => "give an address of this machine, such as 127.0.0.1".to_owned(),
        _ => "choose another address or port".to_owned(),
    }
}

/// What a tunnel has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TunnelStats {
    /// Connections there are now.
    pub open: usize,
    /// Connections taken since it was opened.
    pub accepted: u64,
    /// Connections closed because of where they came from.
    pub refused: u64,
    /// Connections that ended because the sandbox's side could not be reached.
    pub failed_dials: u64,
    /// What the last of these said.
    pub last_error: Option<String>,
}

/// A way from this machine to a port of a sandbox. Dropping it stops listening and resets its connections.
pub struct Tunnel {
    plain: Listening,
    tls: Option<Listening>,
    shared: Arc<Shared>,
}

impl Tunnel {
    /// Listens, from now on. The sandbox is dialed once for each connection that comes in, and not before.
    ///
    /// # Errors
    /// [`TunnelError::Listen`] where the port is taken, with what to do about it. [`TunnelError::Authority`] where no
    /// certificate can be made for the names.
    pub async fn open(dial: Arc<dyn Dial>, options: TunnelOptions) -> Result<Self, TunnelError> {
        let runtime = match options.runtime {
            Some(runtime) => runtime,
            None => Handle::try_current().map_err(|_| TunnelError::NoRuntime)?,
        };
        if options.max_connections == 0 {
            return Err(TunnelError::Invalid("max_connections is at least 1"));
        }
        if options.guard.is_some() && options.tls.as_ref().is_some_and(|tls| tls.h2) {
            return Err(TunnelError::Invalid("connect tokens are checked over HTTP/1.1: leave out `guard` or `h2`"));
        }
        let config = match &options.tls {
            Some(tls) => Some((tls.authority.server_config(&tls.names, tls.h2)?, tls.port)),
            None => None,
        };
        let plain = listener(&runtime, SocketAddr::new(options.listen, options.port))?;
        let tls = match config {
            Some((config, port)) => Some((listener(&runtime, SocketAddr::new(options.listen, port))?, config)),
            None => None,
        };
        let shared =
            Arc::new(Shared::new(dial, options.inbound, options.max_connections, options.guard, options.dial_timeout));
        let start = |(listener, address), config| Listening::start(&runtime, listener, address, config, &shared);
        let (plain, tls) = (start(plain, None), tls.map(|(listener, config)| start(listener, Some(config))));
        Ok(Self { plain, tls, shared })
    }

    /// Where it listens without TLS.
    #[must_use]
    pub fn plain_addr(&self) -> SocketAddr {
        self.plain.address()
    }

    /// Where it listens with TLS, if it was asked to.
    #[must_use]
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(Listening::address)
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> TunnelStats {
        self.shared.stats()
    }

    /// Why the last connection came to nothing: what the sandbox's side said.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.shared.stats().last_error
    }

    /// Stops listening and resets its connections; when it returns, the ports are free. Dropping it does the same, but
    /// does not wait.
    pub async fn close(self) {
        let Self { plain, tls, .. } = self;
        plain.close().await;
        if let Some(tls) = tls {
            tls.close().await;
        }
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel")
            .field("plain", &self.plain_addr())
            .field("tls", &self.tls_addr())
            .finish_non_exhaustive()
    }
}

fn listener(runtime: &Handle, address: SocketAddr) -> Result<(TcpListener, SocketAddr), TunnelError> {
    let _inside = runtime.enter();
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A port whose last connections are still in TIME_WAIT is free.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(1024)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    listen().map_err(|source| TunnelError::Listen { address, source })
}
