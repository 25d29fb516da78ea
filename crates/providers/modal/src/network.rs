//! What a sandbox may reach, and from where it is reached, in Modal's words.

use crate::error::NAME;
use computesdk_core::{Error, Network, Result};
use computesdk_modal_proto::client::NetworkAccess;
use computesdk_modal_proto::client::network_access::NetworkAccessType;
use ipnet::IpNet;
use std::net::IpAddr;

/// The policy as it is sent. A list that makes no sense is refused by name.
pub(crate) fn access(operation: &'static str, network: Option<&Network>) -> Result<NetworkAccess> {
    let (kind, cidrs, domains) = match network {
        Some(Network::None) => (NetworkAccessType::Blocked, Vec::new(), Vec::new()),
        Some(Network::Cidr(list)) => {
            (NetworkAccessType::Allowlist, ranges(operation, "network", some(operation, list)?)?, Vec::new())
        }
        Some(Network::Domain(list)) => {
            (NetworkAccessType::Allowlist, Vec::new(), names(operation, some(operation, list)?)?)
        }
        _ => (NetworkAccessType::Open, Vec::new(), Vec::new()),
    };
    Ok(NetworkAccess { network_access_type: kind.into(), allowed_cidrs: cidrs, allowed_domains: domains })
}

/// A list with nothing in it says `none` in a way that is easily a mistake.
fn some<'a>(operation: &'static str, list: &'a [String]) -> Result<&'a [String]> {
    if list.is_empty() {
        let problem = "the list is empty: to reach nothing at all, say `none`";
        return Err(Error::invalid(operation, "network", problem).with_provider(NAME));
    }
    Ok(list)
}

/// Ranges in CIDR notation; a single address is a range of one.
pub(crate) fn ranges(operation: &'static str, field: &str, list: &[String]) -> Result<Vec<String>> {
    let range = |text: &String| {
        let range = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        let problem = match range {
            None => format!("{text:?} is no range of addresses such as 203.0.113.0/24"),
            Some(range) if range.trunc() != range => {
                format!("{text:?} has bits beyond its length: {} is meant?", range.trunc())
            }
            Some(range) => return Ok(range.to_string()),
        };
        Err(Error::invalid(operation, field, problem).with_provider(NAME))
    };
    list.iter().map(range).collect()
}

/// Host names, `*.` before one standing for all below it. What else makes a name is the server's to say.
fn names(operation: &'static str, list: &[String]) -> Result<Vec<String>> {
    for text in list {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let plain = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        let is_name = !name.is_empty()
            && name.len() <= 253
            && name.trim_end_matches('.').split('.').all(|label| !label.is_empty() && label.chars().all(plain));
        if !is_name || name.parse::<IpAddr>().is_ok() {
            let problem = format!("{text:?} is no name of a host such as pypi.org or *.pythonhosted.org");
            return Err(Error::invalid(operation, "network", problem).with_provider(NAME));
        }
    }
    Ok(list.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATION: &str = "sandbox.create";

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|&entry| entry.to_owned()).collect()
    }

    #[test]
    fn policies_have_their_words() {
        let kind = |network| access(OPERATION, network).unwrap().network_access_type();
        assert_eq!(kind(None), NetworkAccessType::Open);
        assert_eq!(kind(Some(&Network::Egress)), NetworkAccessType::Open);
        assert_eq!(kind(Some(&Network::None)), NetworkAccessType::Blocked);
        let sent = access(OPERATION, Some(&Network::Cidr(list(&["203.0.113.0/24", "2001:db8::1"])))).unwrap();
        assert_eq!(sent.allowed_cidrs, ["203.0.113.0/24", "2001:db8::1/128"]);
        let sent = access(OPERATION, Some(&Network::Domain(list(&["pypi.org", "*.pythonhosted.org"])))).unwrap();
        assert_eq!(sent.allowed_domains, ["pypi.org", "*.pythonhosted.org"]);
    }

    #[test]
    fn lists_that_make_no_sense_are_refused_by_name() {
        let bad = [
            Network::Cidr(Vec::new()),
            Network::Domain(Vec::new()),
            Network::Cidr(list(&["10.0.0.1/8"])),
            Network::Cidr(list(&["10.0.0.0/33"])),
            Network::Cidr(list(&["pypi.org"])),
            Network::Domain(list(&["https://pypi.org"])),
            Network::Domain(list(&["10.0.0.1"])),
            Network::Domain(list(&["a.org", ""])),
        ];
        for network in bad {
            let error = access(OPERATION, Some(&network)).unwrap_err();
            assert_eq!(error.context_value("field"), Some("network"), "{network:?}");
        }
        assert_eq!(ranges(OPERATION, "inbound", &list(&["x"])).unwrap_err().context_value("field"), Some("inbound"));
    }
}
