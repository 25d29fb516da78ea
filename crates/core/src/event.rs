//! What happened to a sandbox, as it happens.

use crate::{EndCause, async_trait};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::SystemTime;

/// One thing that happened. Serialises with camelCase keys, the time in ISO 8601, `event` naming the kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Event {
    /// When, by this machine's clock.
    #[serde(with = "crate::time::iso")]
    pub at: SystemTime,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl Event {
    /// This happened at this time.
    #[must_use]
    pub const fn new(at: SystemTime, kind: EventKind) -> Self {
        Self { at, kind }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "event")]
#[non_exhaustive]
pub enum EventKind {
    /// It was made.
    Created,
    /// It may reach something else from now on: the policy as text, such as `domain:pypi.org`.
    #[serde(rename_all = "camelCase")]
    NetworkChanged {
        /// The new policy.
        policy: String,
    },
    /// Something was decided about its network.
    Network(NetworkEvent),
    /// Events were lost because nobody took them in time.
    #[serde(rename_all = "camelCase")]
    Lost {
        /// How many.
        count: u64,
    },
    /// It ended. The last event.
    #[serde(rename_all = "camelCase")]
    Ended {
        /// Why.
        end: EndCause,
    },
}

/// A connection, a question to the name service, or an exchange of datagrams, that a program in a sandbox began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct NetworkEvent {
    /// The same in all events of one connection.
    pub connection: u64,
    /// What was decided, or became of it.
    pub verdict: Verdict,
    /// What was spoken.
    pub protocol: NetworkProtocol,
    /// The name that it was about, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The address that it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The port; 0 where there is none.
    pub port: u16,
    /// Why it was refused or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Bytes from the sandbox, so far.
    pub sent: u64,
    /// Bytes to the sandbox, so far.
    pub received: u64,
}

impl NetworkEvent {
    /// An event about nothing in particular yet.
    #[must_use]
    pub const fn new(connection: u64, verdict: Verdict, protocol: NetworkProtocol) -> Self {
        Self { connection, verdict, protocol, host: None, address: None, port: 0, reason: None, sent: 0, received: 0 }
    }
}

/// What was decided about a connection, or became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum NetworkProtocol {
    /// TCP, with anything on top.
    Tcp,
    /// UDP, with anything on top.
    Udp,
    /// A question to the name service.
    Dns,
    /// HTTP, by the proxy.
    Http,
    /// Something else.
    Other,
}

/// Events, the earliest first: those that are remembered, then each as it happens. Dropping it ends nothing.
#[async_trait]
pub trait EventStream: Send {
    /// The next event; `None` after [`EventKind::Ended`].
    async fn next(&mut self) -> Option<Event>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_flat_objects() {
        let mut network = NetworkEvent::new(7, Verdict::Refused, NetworkProtocol::Tcp);
        network.address = Some([10, 0, 0, 1].into());
        network.port = 22;
        network.reason = Some("a private address".into());
        let event = Event::new(SystemTime::UNIX_EPOCH, EventKind::Network(network));
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "at": "1970-01-01T00:00:00.000Z", "event": "network", "connection": 7, "verdict": "refused",
                "protocol": "tcp", "address": "10.0.0.1", "port": 22, "reason": "a private address",
                "sent": 0, "received": 0
            })
        );
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
        let ended = Event::new(SystemTime::UNIX_EPOCH, EventKind::Ended { end: EndCause::TimedOut });
        assert_eq!(serde_json::from_value::<Event>(serde_json::to_value(&ended).unwrap()).unwrap(), ended);
    }
}
