//! Where a connection is meant to go, and what is told of it.

use crate::event::{Decision, Protocol, Verdict};
use std::net::{IpAddr, SocketAddr};

/// Where a connection goes. As it goes on, more is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) connection: u64,
    pub(crate) protocol: Protocol,
    /// The name that it is for, or that its address was last told for.
    pub(crate) host: Option<String>,
    /// Whether the connection itself has named that host.
    pub(crate) is_named: bool,
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
}

impl Target {
    pub(crate) fn new(connection: u64, protocol: Protocol, to: SocketAddr) -> Self {
        Self { connection, protocol, host: None, is_named: false, address: Some(to.ip()), port: to.port() }
    }

    pub(crate) fn named(connection: u64, protocol: Protocol, host: &str, port: u16) -> Self {
        Self { connection, protocol, host: Some(host.to_owned()), is_named: true, address: None, port }
    }

    pub(crate) fn decision(&self, verdict: Verdict, reason: Option<String>, bytes: (u64, u64)) -> Decision {
        Decision {
            connection: self.connection,
            verdict,
            protocol: self.protocol,
            host: self.host.clone(),
            address: self.address,
            port: self.port,
            reason,
            sent: bytes.0,
            received: bytes.1,
        }
    }
}
