//! What a sandbox may reach over the network, and from where it is reached.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// What the sandbox may reach over the network.
///
/// Never reached unless named: the host itself, other sandboxes, private and carrier ranges (RFC 1918, RFC 6598), unique
/// local, link-local, multicast and loopback addresses, and the metadata services of clouds.
///
/// On the command line and as text: `none`, `egress`, `cidr:203.0.113.0/24,2001:db8::/32`, `domain:pypi.org,*.pythonhosted.org`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Network {
    /// Nothing but its own loopback.
    None,
    /// The internet, but no private address.
    Egress,
    /// These address ranges only, in CIDR notation; a single address is a range of one. A range that lies within a private
    /// one opens it; one that merely contains a private range does not. Names are resolved, whatever they are.
    Cidr(Vec<String>),
    /// These host names only, over HTTP and TLS. `*.example.com` is every name below `example.com`, at any depth, and not
    /// `example.com` itself. Other names are not even resolved.
    Domain(Vec<String>),
}

impl Network {
    /// The word for it on the command line: `none`, `egress`, `cidr`, `domain`.
    #[must_use]
    pub const fn mode(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Egress => "egress",
            Self::Cidr(_) => "cidr",
            Self::Domain(_) => "domain",
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None | Self::Egress => f.write_str(self.mode()),
            Self::Cidr(list) | Self::Domain(list) => write!(f, "{}:{}", self.mode(), list.join(",")),
        }
    }
}

/// A text that is no [`Network`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseNetworkError(String);

impl fmt::Display for ParseNetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; give `none`, `egress`, `cidr:RANGE,…` or `domain:NAME,…`", self.0)
    }
}

impl std::error::Error for ParseNetworkError {}

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let list = |list: &str| {
            let entries: Vec<String> = list.split(',').map(|entry| entry.trim().to_owned()).collect();
            if entries.iter().any(String::is_empty) {
                return Err(ParseNetworkError(format!("{text:?} has an empty entry")));
            }
            Ok(entries)
        };
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "egress" => Ok(Self::Egress),
            Some(("cidr", ranges)) => list(ranges).map(Self::Cidr),
            Some(("domain", names)) => list(names).map(Self::Domain),
            _ => Err(ParseNetworkError(format!("{text:?} is no network policy"))),
        }
    }
}

/// The way from this machine to one port of a sandbox. It lasts as long as the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Tunnel {
    /// The port in the sandbox.
    pub port: u16,
    /// Where it is reached as it is: HTTP without TLS, or any other protocol over TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<HostPort>,
    /// Where it is reached over TLS, which ends before the sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<HostPort>,
}

impl Tunnel {
    /// A tunnel with neither way yet.
    #[must_use]
    pub const fn new(port: u16) -> Self {
        Self { port, plain: None, tls: None }
    }

    /// `https://HOST:PORT` where there is TLS and `secure` asks for it, else `http://HOST:PORT`.
    #[must_use]
    pub fn url(&self, secure: bool) -> Option<String> {
        match (secure, &self.plain, &self.tls) {
            (true, _, Some(tls)) => Some(format!("https://{tls}")),
            (false, Some(plain), _) => Some(format!("http://{plain}")),
            _ => None,
        }
    }
}

/// A host name or address, and a port. Prints as `HOST:PORT`, with brackets around an IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl HostPort {
    /// This host, this port.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_as_they_are_printed() {
        for text in ["none", "egress", "cidr:203.0.113.0/24,2001:db8::/32", "domain:pypi.org,*.pythonhosted.org"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for text in ["", "None", "all", "cidr", "cidr:", "domain:a,,b", "egress:x"] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains("`domain:NAME,…`"), "{error}");
        }
    }

    #[test]
    fn addresses_of_the_sixth_version_have_brackets() {
        assert_eq!(HostPort::new("::1", 80).to_string(), "[::1]:80");
        assert_eq!(HostPort::new("p80.localhost", 80).to_string(), "p80.localhost:80");
    }
}
