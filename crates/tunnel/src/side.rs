//! One end of a relayed connection, and what is done to its socket.
//!
//! An end that is dropped before both directions came to their end is reset, not closed: whoever is at the other side then
//! sees that something is missing, as it would without a tunnel.

use crate::dial::{Dialed, Keepsake};
use rustix::net::{Shutdown, shutdown, sockopt};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A TCP socket that is read, written and watched by several owners.
#[derive(Clone, Debug)]
pub(crate) struct Tcp(Arc<TcpStream>);

impl Tcp {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Streams may be silent for hours, so a peer that vanished without a word is found by asking. A socket that takes
        // none of this still carries bytes.
        let _ = stream.set_nodelay(true);
        let _ = sockopt::set_socket_keepalive(&stream, true);
        #[cfg(target_os = "linux")]
        {
            let _ = sockopt::set_tcp_keepidle(&stream, Duration::from_secs(120));
            let _ = sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(30));
        }
        Self(Arc::new(stream))
    }

    /// Comes back when the other side reset the connection, also while nobody reads.
    pub(crate) async fn broken(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if self.0.ready(Interest::ERROR).await.is_ok() {
            return;
        }
        std::future::pending::<()>().await;
    }
}

impl AsyncRead for Tcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buf.initialize_unfilled()) {
                Ok(n) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(&*self.0, Shutdown::Write).map_err(Into::into))
    }
}

pub(crate) type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub(crate) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// One end: both directions, and the socket below where there is one.
pub(crate) struct Side {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) tcp: Option<Tcp>,
    clean: bool,
    keepsakes: Vec<Keepsake>,
}

impl Side {
    pub(crate) fn plain(tcp: Tcp) -> Self {
        let (reader, writer) = (Box::new(tcp.clone()), Box::new(tcp.clone()));
        Self { reader, writer, tcp: Some(tcp), clean: false, keepsakes: Vec::new() }
    }

    pub(crate) fn tls(stream: TlsStream<Tcp>) -> Self {
        let tcp = stream.get_ref().0.clone();
        let (reader, writer) = tokio::io::split(stream);
        Self { reader: Box::new(reader), writer: Box::new(writer), tcp: Some(tcp), clean: false, keepsakes: Vec::new() }
    }

    pub(crate) fn dialed(dialed: Dialed) -> Self {
        match dialed {
            Dialed::Tcp(stream) => Self::plain(Tcp::new(stream)),
            Dialed::Other(stream) => {
                let (reader, writer) = tokio::io::split(stream);
                Self {
                    reader: Box::new(reader),
                    writer: Box::new(writer),
                    tcp: None,
                    clean: false,
                    keepsakes: Vec::new(),
                }
            }
            Dialed::Kept(dialed, keepsake) => {
                let mut side = Self::dialed(*dialed);
                side.keepsakes.push(keepsake);
                side
            }
        }
    }

    /// Both directions came to their end: from here a drop closes, and resets no more.
    pub(crate) fn finish(&mut self) {
        self.clean = true;
    }
}

/// Comes back when the other side reset the connection; never, where there is no socket to tell.
pub(crate) async fn broken(tcp: Option<&Tcp>) {
    match tcp {
        Some(tcp) => tcp.broken().await,
        None => std::future::pending().await,
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Some(tcp) = self.tcp.as_ref().filter(|_| !self.clean) {
            let _ = tcp.0.set_zero_linger();
        }
    }
}
