//! What was decided about a sandbox's network, told as it happens.

use std::fmt;
use std::net::IpAddr;

/// One decision, or what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// The same in all that is told of one connection; counted for each sandbox.
    pub connection: u64,
    /// What was decided.
    pub verdict: Verdict,
    /// What was spoken.
    pub protocol: Protocol,
    /// The name it was about, as far as it is known.
    pub host: Option<String>,
    /// The address it was about.
    pub address: Option<IpAddr>,
    /// The port; 0 if there is none.
    pub port: u16,
    /// Why it was refused, failed, or cut.
    pub reason: Option<String>,
    /// Bytes from the sandbox so far.
    pub sent: u64,
    /// Bytes to the sandbox so far.
    pub received: u64,
}

/// What was decided about a connection, or became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The policy allows it.
    Allowed,
    /// The policy, or a limit, does not.
    Refused,
    /// It was allowed, and the other side could not be reached.
    Failed,
    /// One that was allowed is over.
    Closed,
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// A question to the name service.
    Dns,
    /// HTTP, to the proxy.
    Http,
    /// Something else.
    Other,
}

/// Takes what is told of one sandbox. Called from the gateway's thread, which must not be held up.
pub trait Sink: Send + Sync + fmt::Debug {
    /// This happened now.
    fn tell(&self, decision: Decision);
}
