//! A packet socket on the engine's own runtime.

use computesdk_guest_protocol::packet::{Packet, PacketError, receive};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

/// One end of a SEQPACKET socket, usable from any thread and any runtime.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: AsyncFd<OwnedFd>,
}

impl Socket {
    /// Registers the socket with the engine's runtime.
    pub(crate) fn new(fd: OwnedFd, runtime: &Handle) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let _guard = runtime.enter();
        Ok(Self { fd: crate::sys::register(fd)? })
    }

    /// Sends a message with these descriptors; waits while the other side is slow.
    pub(crate) async fn send<T: Serialize>(&self, message: &T, fds: &[OwnedFd]) -> Result<(), PacketError> {
        let packet = Packet::new(message)?;
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
        // Nearly always there is room: no need to ask the runtime first.
        match packet.send(self.fd.get_ref(), &borrowed) {
            Err(PacketError::Io(Errno::AGAIN)) => {}
            result => return result,
        }
        loop {
            let mut ready = self.fd.ready(Interest::WRITABLE).await.map_err(|error| io_error(&error))?;
            match packet.send(self.fd.get_ref(), &borrowed) {
                Err(PacketError::Io(Errno::AGAIN)) => ready.clear_ready(),
                result => return result,
            }
        }
    }

    /// The next message with its descriptors.
    pub(crate) async fn receive<T: DeserializeOwned>(
        &self,
        buffer: &mut Vec<u8>,
    ) -> Result<(T, Vec<OwnedFd>), PacketError> {
        loop {
            let mut ready = self.fd.ready(Interest::READABLE).await.map_err(|error| io_error(&error))?;
            match receive(self.fd.get_ref(), buffer) {
                Err(PacketError::Io(Errno::AGAIN)) => ready.clear_ready(),
                result => return result,
            }
        }
    }

    /// Says nothing more: the other side sees the end, and can still be heard.
    pub(crate) fn shut_down(&self) {
        let _ = rustix::net::shutdown(self.fd.get_ref(), rustix::net::Shutdown::Write);
    }
}

fn io_error(error: &io::Error) -> PacketError {
    PacketError::Io(Errno::from_io_error(error).unwrap_or(Errno::IO))
}
