//! Network policies and events, in the words of either side.

use crate::error::NAME;
use crate::sandbox::end_cause;
use computesdk_core::{
    Error, Event, EventKind, EventStream, Network, NetworkEvent, NetworkProtocol, Result, Verdict, async_trait,
};
use computesdk_engine::{self as engine, NetworkPolicy, Protocol};

/// The engine's policy for what was asked; a list that makes no sense is refused by name.
pub(crate) fn policy(operation: &'static str, network: &Network) -> Result<NetworkPolicy> {
    let policy = match network {
        Network::None => Ok(NetworkPolicy::Nothing),
        Network::Egress => Ok(NetworkPolicy::Internet),
        Network::Cidr(ranges) => NetworkPolicy::ranges(ranges),
        Network::Domain(names) => NetworkPolicy::names(names),
        other => {
            let why = "the local provider does not know it";
            let option = format!("network={}", other.mode());
            return Err(Error::unsupported(operation, &option, why).with_provider(NAME));
        }
    };
    policy.map_err(|error| {
        let problem = format!("{}: {error}", network.mode());
        Error::invalid(operation, "network", problem).with_provider(NAME).with_source(error)
    })
}

/// The events of a sandbox.
pub(crate) struct Events(pub(crate) engine::Events);

#[async_trait]
impl EventStream for Events {
    async fn next(&mut self) -> Option<Event> {
        loop {
            let event = self.0.next().await?;
            let kind = match event.kind {
                engine::EventKind::Created => EventKind::Created,
                engine::EventKind::NetworkChanged(policy) => EventKind::NetworkChanged { policy },
                engine::EventKind::Network(decision) => EventKind::Network(network_event(decision)),
                engine::EventKind::Lost(count) => EventKind::Lost { count },
                engine::EventKind::Ended(end) => EventKind::Ended { end: end_cause(end) },
                // The engine's list may grow.
                _ => continue,
            };
            return Some(Event::new(event.at, kind));
        }
    }
}

fn network_event(decision: engine::Decision) -> NetworkEvent {
    let verdict = match decision.verdict {
        engine::Verdict::Allowed => Verdict::Allowed,
        engine::Verdict::Refused => Verdict::Refused,
        engine::Verdict::Failed => Verdict::Failed,
        engine::Verdict::Closed => Verdict::Closed,
    };
    let protocol = match decision.protocol {
        Protocol::Tcp => NetworkProtocol::Tcp,
        Protocol::Udp => NetworkProtocol::Udp,
        Protocol::Dns => NetworkProtocol::Dns,
        Protocol::Http => NetworkProtocol::Http,
        Protocol::Other => NetworkProtocol::Other,
    };
    let mut event = NetworkEvent::new(decision.connection, verdict, protocol);
    event.host = decision.host;
    event.address = decision.address;
    event.port = decision.port;
    event.reason = decision.reason;
    (event.sent, event.received) = (decision.sent, decision.received);
    event
}
