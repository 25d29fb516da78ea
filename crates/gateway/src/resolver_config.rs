//! What this machine's own resolver is told: `/etc/resolv.conf` and `/etc/hosts`, resolv.conf(5) and hosts(5).

use crate::domain::normal_name;
use std::net::IpAddr;

/// As many as glibc asks.
const MOST_SERVERS: usize = 3;

/// The name servers of a `resolv.conf`, in the order in which they are asked; at most three.
///
/// None for a file without any, where glibc asks this machine. Options and search lists are not read: a sandbox has its
/// own. A server at a link-local address with a zone cannot be asked from elsewhere and is passed over.
pub(crate) fn nameservers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == "nameserver").then(|| words.next()?.parse().ok())?
    };
    let mut servers = Vec::new();
    for addr in text.lines().filter_map(server) {
        if !servers.contains(&addr) && servers.len() < MOST_SERVERS {
            servers.push(addr);
        }
    }
    servers
}

/// The addresses that a `hosts` file gives `name`, in its order. None for what is no host name.
pub(crate) fn hosts_lookup(text: &str, name: &str) -> Vec<IpAddr> {
    let Some(name) = normal_name(name) else { return Vec::new() };
    let address = |line: &str| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let addr = words.next()?.parse::<IpAddr>().ok()?;
        words.any(|word| word.strip_suffix('.').unwrap_or(word).eq_ignore_ascii_case(&name)).then_some(addr)
    };
    let mut addresses = Vec::new();
    for addr in text.lines().filter_map(address) {
        if !addresses.contains(&addr) {
            addresses.push(addr);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_found_among_the_rest() {
        let text = "# made by hand\n;nameserver 9.9.9.9\nsearch a.example b.example\noptions ndots:5 timeout:1\r\n\
            nameserver 192.0.2.1\n  nameserver\t2001:db8::1 # no comment, but no matter\nnameserver fe80::1%eth0\n\
            nameserver\nnameserver example.com\nnameserver 192.0.2.1\nnameservers 192.0.2.5\nnameserver 192.0.2.2\n\
            nameserver 192.0.2.3\n";
        let servers: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1", "192.0.2.2"].map(|addr| addr.parse().unwrap()).into();
        assert_eq!(nameservers(text), servers);
        assert!(nameservers("").is_empty());
        assert!(nameservers("\0\u{feff}nameserver 1.1.1.1").is_empty());
    }

    #[test]
    fn hosts_are_found_by_every_name() {
        let text = "127.0.0.1\tlocalhost\n::1 localhost ip6-localhost\n# 192.0.2.9 a.example\n\
            192.0.2.1 a.example A # b.example\nfe80::1%lo0 a.example\nnonsense a.example\n192.0.2.1 a.example\n";
        let lookup = |name| hosts_lookup(text, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(lookup("localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(lookup("A.Example."), ["192.0.2.1"]);
        assert_eq!(lookup("a"), ["192.0.2.1"]);
        for name in ["b.example", "example", "", "#", "192.0.2.1", "nonsense"] {
            assert!(lookup(name).is_empty(), "{name}");
        }
    }
}
