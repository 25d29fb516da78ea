//! Addresses that are never reached by accident: what is no ordinary place in the internet.
//!
//! A sandbox that may reach "the internet" must not reach the machine it runs on, the network this machine is in, or the
//! service that hands out the machine's credentials. The ranges follow IANA's registries of special-purpose addresses
//! (RFC 6890), with the metadata services of clouds added. Documentation ranges count as ordinary: nobody answers there.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const METADATA: &str = "a metadata service";
const PRIVATE: &str = "a private address";
const LOOPBACK: &str = "a loopback address";
const LINK_LOCAL: &str = "a link-local address";
const MULTICAST: &str = "a multicast address";
const NO_ADDRESS: &str = "this host";

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, h: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, h), prefix)
}

/// The first that holds an address says what it is: metadata services stand before the ranges they lie in.
const V4: [(Ipv4Net, &str); 19] = [
    (v4(169, 254, 169, 254, 32), METADATA), // AWS, Google, Azure, and most others
    (v4(169, 254, 170, 2, 32), METADATA),   // AWS, containers
    (v4(169, 254, 170, 23, 32), METADATA),  // AWS, pods
    (v4(169, 254, 42, 42, 32), METADATA),   // Scaleway
    (v4(168, 63, 129, 16, 32), METADATA),   // Azure
    (v4(100, 100, 100, 200, 32), METADATA), // Alibaba
    (v4(192, 0, 0, 192, 32), METADATA),     // Oracle
    (v4(0, 0, 0, 0, 8), NO_ADDRESS),
    (v4(10, 0, 0, 0, 8), PRIVATE),
    (v4(172, 16, 0, 0, 12), PRIVATE),
    (v4(192, 168, 0, 0, 16), PRIVATE),
    (v4(198, 18, 0, 0, 15), "a private address (RFC 2544)"),
    (v4(100, 64, 0, 0, 10), "a carrier's private address (RFC 6598)"),
    (v4(127, 0, 0, 0, 8), LOOPBACK),
    (v4(169, 254, 0, 0, 16), LINK_LOCAL),
    // The gateway's own addresses inside of a sandbox are here.
    (v4(192, 0, 0, 0, 24), "an address of a protocol (RFC 6890)"),
    (v4(224, 0, 0, 0, 4), MULTICAST),
    (v4(255, 255, 255, 255, 32), "the broadcast address"),
    (v4(240, 0, 0, 0, 4), "a reserved address"),
];

const V6: [(Ipv6Net, &str); 11] = [
    (v6(0xfd00, 0xec2, 0, 0x254, 128), METADATA), // AWS
    (v6(0xfd20, 0xce, 0, 0x254, 128), METADATA),  // Google
    (v6(0, 0, 0, 0, 128), NO_ADDRESS),
    (v6(0, 0, 0, 1, 128), LOOPBACK),
    (v6(0xfc00, 0, 0, 0, 7), PRIVATE),
    (v6(0xfe80, 0, 0, 0, 10), LINK_LOCAL),
    (v6(0xfec0, 0, 0, 0, 10), "a site-local address (RFC 3879)"),
    (v6(0xff00, 0, 0, 0, 8), MULTICAST),
    (v6(0x64, 0xff9b, 1, 0, 48), "an address of a local translator (RFC 8215)"),
    // The address of a server, and behind it, in disguise, any IPv4 address.
    (v6(0x2001, 0, 0, 0, 32), "a Teredo address (RFC 4380)"),
    (v6(0x100, 0, 0, 0, 64), "a discarded address (RFC 6666)"),
];

/// Ranges whose addresses hold an IPv4 address, and at which bit: such an address leads where that one leads.
const EMBEDDING: [(Ipv6Net, u8); 5] = [
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), 96), // mapped
    (v6(0, 0, 0, 0, 96), 96),                                                  // "compatible"
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96), 96), // SIIT, RFC 2765
    (v6(0x64, 0xff9b, 0, 0, 96), 96),                                          // NAT64, RFC 6052
    (v6(0x2002, 0, 0, 0, 16), 16),                                             // 6to4, RFC 3056
];

/// Why `addr` is reached only where it is named: what it is, as in "10.0.0.1 is a private address". `None` for an
/// ordinary address of the internet.
#[must_use]
pub fn special(addr: IpAddr) -> Option<&'static str> {
    special_net(addr.to_canonical().into())
}

/// Whether all of `net` lies within one special range. Whoever lists such a range means it, and not the internet.
#[must_use]
pub fn special_range(net: &IpNet) -> bool {
    special_net(*net).is_some()
}

/// The one question behind both: an address is a range of one.
fn special_net(net: IpNet) -> Option<&'static str> {
    match net {
        IpNet::V4(net) => V4.iter().find(|(range, _)| range.contains(&net)).map(|(_, what)| *what),
        IpNet::V6(net) => {
            let listed = V6.iter().find(|(range, _)| range.contains(&net)).map(|(_, what)| *what);
            listed.or_else(|| special_net(IpNet::V4(embedded(net)?)))
        }
    }
}

/// The IPv4 range that the addresses of `net` hold.
fn embedded(net: Ipv6Net) -> Option<Ipv4Net> {
    let (_, at) = EMBEDDING.iter().find(|(range, _)| range.contains(&net))?;
    let bits = net.addr().to_bits() >> (96 - u32::from(*at));
    #[allow(clippy::cast_possible_truncation, reason = "the lower 32 bits are the IPv4 address")]
    let addr = Ipv4Addr::from_bits(bits as u32);
    Ipv4Net::new(addr, net.prefix_len().saturating_sub(*at).min(32)).ok().map(|net| net.trunc())
}

/// The IPv4 address that an address holds, if it is of such a range.
pub(crate) fn held(addr: IpAddr) -> Option<Ipv4Addr> {
    match addr {
        IpAddr::V4(_) => None,
        IpAddr::V6(addr) => embedded(addr.into()).map(|net| net.addr()),
    }
}

/// `net` as IPv4 where it is a range of mapped addresses: a kernel knows no difference between the two.
pub(crate) fn canonical_net(net: IpNet) -> IpNet {
    match net {
        IpNet::V6(v6) if EMBEDDING[0].0.contains(&v6) => embedded(v6).map_or(net, IpNet::V4),
        _ => net,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(addr: &str) -> Option<&'static str> {
        special(addr.parse().unwrap())
    }

    #[test]
    fn what_is_no_ordinary_address_says_what_it_is() {
        for (addr, part) in [
            ("0.0.0.0", "this host"),
            ("0.1.2.3", "this host"),
            ("10.0.0.1", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("198.19.255.255", "private"),
            ("100.64.0.1", "carrier"),
            ("100.100.100.200", "metadata"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("169.254.0.1", "link-local"),
            ("169.254.169.254", "metadata"),
            ("168.63.129.16", "metadata"),
            ("192.0.0.192", "metadata"),
            ("192.0.0.8", "protocol"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("::", "this host"),
            ("::1", "loopback"),
            ("fc00::1", "private"),
            ("fdff::1", "private"),
            ("fd00:ec2::254", "metadata"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("64:ff9b:1::808:808", "translator"),
            ("2001::1", "Teredo"),
            ("100::1", "discarded"),
        ] {
            assert!(what(addr).is_some_and(|what| what.contains(part)), "{addr}: {:?}", what(addr));
        }
    }

    #[test]
    fn an_embedded_address_counts_as_what_it_is() {
        for addr in [
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "2002:a9fe:a9fe::1",
            "2002:a9fe:a9fe:ffff:ffff:ffff:ffff:ffff",
        ] {
            assert_eq!(what(addr), Some(METADATA), "{addr}");
        }
        for addr in ["::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"] {
            assert_eq!(what(addr), None, "{addr}");
        }
    }

    #[test]
    fn the_internet_and_documentation_are_ordinary() {
        for addr in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "168.63.129.17",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "223.255.255.255",
            "2001:db8::1",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "64:ff9b:2::1",
        ] {
            assert_eq!(what(addr), None, "{addr}");
        }
    }

    #[test]
    fn a_range_names_special_addresses_only_from_within() {
        let within = |net: &str| special_range(&net.parse().unwrap());
        for net in ["10.0.0.0/8", "10.1.0.0/16", "169.254.0.0/16", "168.63.129.16/32", "fc00::/7", "fd00:ec2::254/128"]
        {
            assert!(within(net), "{net}");
        }
        for net in ["64:ff9b::a00:0/104", "2002:a00::/24", "::ffff:10.0.0.0/104"] {
            assert!(within(net), "{net}");
        }
        for net in ["0.0.0.0/0", "8.0.0.0/6", "168.63.0.0/16", "192.168.0.0/15", "::/0", "fc00::/6", "64:ff9b::/96"] {
            assert!(!within(net), "{net}");
        }
        assert!(!within("2002::/16") && !within("203.0.113.0/24"));
    }

    #[test]
    fn mapped_ranges_become_ipv4() {
        let canonical = |net: &str| canonical_net(net.parse().unwrap()).to_string();
        assert_eq!(canonical("::ffff:10.0.0.0/104"), "10.0.0.0/8");
        assert_eq!(canonical("::ffff:10.0.0.1/128"), "10.0.0.1/32");
        assert_eq!(canonical("::/0"), "::/0");
    }
}
