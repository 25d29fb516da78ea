//! Puts packets into a sandbox's network namespace, as if they came from elsewhere.

use crate::packet::Packet;
use rustix::fd::OwnedFd;
use rustix::net::{SendFlags, sendto};
use std::net::{IpAddr, SocketAddr};

/// Raw sockets of the namespace. What they send bears the mark by which the packet filter lets it pass.
#[derive(Debug)]
pub(crate) struct Injector {
    raw4: OwnedFd,
    raw6: Option<OwnedFd>,
}

impl Injector {
    pub(crate) fn new(raw4: OwnedFd, raw6: Option<OwnedFd>) -> Self {
        Self { raw4, raw6 }
    }

    /// Sends it, if there is one. One that cannot be sent is a lost packet: its sender tries again.
    pub(crate) fn send(&self, bytes: Option<Vec<u8>>) {
        let Some(bytes) = bytes else { return };
        let Some(to) = Packet::parse(&bytes).map(|packet| packet.destination) else { return };
        let socket = match to {
            IpAddr::V4(_) => Some(&self.raw4),
            IpAddr::V6(_) => self.raw6.as_ref(),
        };
        if let Some(socket) = socket {
            let _ = sendto(socket, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &SocketAddr::new(to, 0));
        }
    }
}
