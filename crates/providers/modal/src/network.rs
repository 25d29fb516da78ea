//! What a sandbox may reach, in Modal's words.

use computesdk_core::Network;
use computesdk_modal_proto::client::NetworkAccess;
use computesdk_modal_proto::client::network_access::NetworkAccessType;

/// The policy as it is sent.
pub(crate) fn access(network: Option<&Network>) -> NetworkAccess {
    let (kind, cidrs, domains) = match network {
        Some(Network::None) => (NetworkAccessType::Blocked, Vec::new(), Vec::new()),
        Some(Network::Cidr(list)) => (NetworkAccessType::Allowlist, list.clone(), Vec::new()),
        Some(Network::Domain(list)) => (NetworkAccessType::Allowlist, Vec::new(), list.clone()),
        _ => (NetworkAccessType::Open, Vec::new(), Vec::new()),
    };
    NetworkAccess { network_access_type: kind.into(), allowed_cidrs: cidrs, allowed_domains: domains }
}
