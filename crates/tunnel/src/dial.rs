//! How the other end is reached. This crate knows no engine: whoever has one says how a port of its sandbox is dialed.

use async_trait::async_trait;
use std::any::Any;
use std::fmt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What bytes go through both ways: any type that can be read, written and moved to another thread.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream of whatever kind.
pub type BoxStream = Box<dyn Stream>;

/// A connection into the sandbox.
#[non_exhaustive]
pub enum Dialed {
    /// A TCP socket. The only kind of which a reset is seen at once and passed on as a reset.
    Tcp(TcpStream),
    /// Anything else. It is shut down for the end of a direction, and dropped when something broke.
    Other(BoxStream),
    /// A connection, and something that is dropped when it has ended: a count of those there are, for one.
    Kept(Box<Dialed>, Keepsake),
}

/// What a connection keeps until its end.
pub type Keepsake = Box<dyn Any + Send>;

impl Dialed {
    /// Any stream that is no TCP socket.
    #[must_use]
    pub fn other(stream: impl Stream + 'static) -> Self {
        Self::Other(Box::new(stream))
    }

    /// The same connection, keeping this until its end.
    #[must_use]
    pub fn keeping(self, keepsake: impl Send + 'static) -> Self {
        Self::Kept(Box::new(self), Box::new(keepsake))
    }
}

impl From<TcpStream> for Dialed {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl fmt::Debug for Dialed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(stream) => f.debug_tuple("Tcp").field(stream).finish(),
            Self::Other(_) => f.debug_tuple("Other").finish_non_exhaustive(),
            Self::Kept(dialed, _) => f.debug_tuple("Kept").field(dialed).finish_non_exhaustive(),
        }
    }
}

/// Reaches one port of one sandbox.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// A fresh connection. Called once for each connection that comes in, many at a time.
    ///
    /// # Errors
    /// Whatever kept it from being made; [`std::io::ErrorKind::ConnectionRefused`] where nothing listens.
    async fn dial(&self) -> std::io::Result<Dialed>;
}

/// A [`Dial`] of a function, as [`dial_fn`] makes it.
pub struct DialFn<F>(F);

/// Dials with a function.
pub fn dial_fn<F, R>(function: F) -> DialFn<F>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = std::io::Result<Dialed>> + Send + 'static,
{
    DialFn(function)
}

#[async_trait]
impl<F, R> Dial for DialFn<F>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = std::io::Result<Dialed>> + Send + 'static,
{
    async fn dial(&self) -> std::io::Result<Dialed> {
        (self.0)().await
    }
}

impl<F> fmt::Debug for DialFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialFn").finish_non_exhaustive()
    }
}
