//! Packets of the Internet protocols, as they are told by the packet filter and put back into a sandbox.
//!
//! What is read here was written by the kernel on behalf of a sandbox, or by the sandbox itself: every length is
//! checked. What is written goes into that one sandbox and nowhere else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `protocol` of RFC 791 and `next header` of RFC 8200.
pub(crate) mod protocol {
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ICMPV6: u8 = 58;
}

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// `rst` and `ack` of RFC 9293.
const RST_ACK: u8 = 0x14;
const TTL: u8 = 64;

/// A packet from a sandbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet<'a> {
    bytes: &'a [u8],
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    /// Where what is above IP begins.
    header: usize,
}

impl<'a> Packet<'a> {
    /// Reads one; `None` if it is none. With options of the sixth version it counts as one of their protocol.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => {
                let header = usize::from(bytes[0] & 15) * 4;
                let address = |at: usize| {
                    bytes.get(at..at + 4)?.first_chunk::<4>().map(|octets| IpAddr::V4(Ipv4Addr::from(*octets)))
                };
                let (source, destination) = (address(12)?, address(16)?);
                (header >= V4_HEADER && bytes.len() >= header).then_some(())?;
                Some(Self { bytes, source, destination, protocol: bytes[9], header })
            }
            6 => {
                let address = |at: usize| {
                    bytes.get(at..at + 16)?.first_chunk::<16>().map(|octets| IpAddr::V6(Ipv6Addr::from(*octets)))
                };
                let (source, destination) = (address(8)?, address(24)?);
                Some(Self { bytes, source, destination, protocol: bytes[6], header: V6_HEADER })
            }
            _ => None,
        }
    }

    /// A copy of it.
    pub(crate) fn to_vec(self) -> Vec<u8> {
        self.bytes.to_vec()
    }

    /// What is above IP.
    fn above(&self) -> &'a [u8] {
        &self.bytes[self.header..]
    }

    /// The ports of TCP or UDP, with their addresses: from, to.
    pub(crate) fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        let ports = self.above().first_chunk::<4>()?;
        let port = |high, low| u16::from_be_bytes([high, low]);
        Some((
            SocketAddr::new(self.source, port(ports[0], ports[1])),
            SocketAddr::new(self.destination, port(ports[2], ports[3])),
        ))
    }

    /// Whether it begins a connection of TCP: of its flags `syn` is set, and neither `fin`, `rst` nor `ack`.
    pub(crate) fn is_syn(&self) -> bool {
        self.protocol == protocol::TCP && self.above().get(13).is_some_and(|flags| flags & 0x17 == 2)
    }

    /// The content of a UDP datagram.
    pub(crate) fn datagram(&self) -> Option<&'a [u8]> {
        let above = self.above();
        let len = usize::from(u16::from_be_bytes([*above.get(4)?, *above.get(5)?]));
        above.get(UDP_HEADER..len)
    }

    /// Itself, as its sender would have sent it to another machine: with a checksum, which the kernel leaves out on the
    /// loopback.
    pub(crate) fn again(&self) -> Option<Vec<u8>> {
        let mut bytes = self.bytes.to_vec();
        (self.protocol == protocol::TCP && self.above().len() >= TCP_HEADER).then_some(())?;
        put_checksum(&mut bytes[self.header..], 16, self.source, self.destination, protocol::TCP);
        Some(bytes)
    }

    /// The answer of a port that nobody listens on, to a SYN.
    pub(crate) fn reset(&self) -> Option<Vec<u8>> {
        let above = self.above();
        let (from, to) = self.ends()?;
        let sequence = u32::from_be_bytes(*above.get(4..8)?.first_chunk()?);
        let mut tcp = Vec::with_capacity(TCP_HEADER);
        tcp.extend_from_slice(&to.port().to_be_bytes());
        tcp.extend_from_slice(&from.port().to_be_bytes());
        tcp.extend_from_slice(&[0; 4]);
        // A SYN counts for one.
        tcp.extend_from_slice(&sequence.wrapping_add(1).to_be_bytes());
        tcp.extend_from_slice(&[5 << 4, RST_ACK]);
        tcp.extend_from_slice(&[0; 6]);
        Some(build(to.ip(), from.ip(), protocol::TCP, &tcp, Some(16)))
    }

    /// A router's answer that it may not pass: the program sees "no route to host".
    pub(crate) fn prohibited(&self) -> Option<Vec<u8>> {
        // RFC 1812 5.2.7.1, RFC 4443 3.1: administratively prohibited.
        self.unreachable(13, 1)
    }

    /// A router's answer that there is no way: the program sees "network is unreachable".
    pub(crate) fn no_route(&self) -> Option<Vec<u8>> {
        self.unreachable(0, 0)
    }

    /// A host's answer that nobody listens on that port.
    pub(crate) fn no_port(&self) -> Option<Vec<u8>> {
        self.unreachable(3, 4)
    }

    /// A host's answer that is on its network and silent.
    pub(crate) fn no_host(&self) -> Option<Vec<u8>> {
        self.unreachable(1, 3)
    }

    fn unreachable(&self, code4: u8, code6: u8) -> Option<Vec<u8>> {
        let (kind, code, protocol) = match self.source {
            IpAddr::V4(_) => (3, code4, protocol::ICMP),
            IpAddr::V6(_) => (1, code6, protocol::ICMPV6),
        };
        // The header and the ports are enough to find the socket. To an error no error is sent; to a request for an echo, one is.
        let quote = self.bytes.get(..self.header + 8)?;
        let asks = self.protocol == protocol && matches!(self.above().first(), Some(8 | 128));
        (self.protocol != protocol || asks).then_some(())?;
        let mut icmp = vec![kind, code, 0, 0, 0, 0, 0, 0];
        icmp.extend_from_slice(quote);
        Some(build(self.destination, self.source, protocol, &icmp, Some(2)))
    }
}

/// A UDP datagram.
pub(crate) fn datagram(from: SocketAddr, to: SocketAddr, content: &[u8]) -> Option<Vec<u8>> {
    let len = u16::try_from(UDP_HEADER + content.len()).ok()?;
    let mut udp = Vec::with_capacity(usize::from(len));
    udp.extend_from_slice(&from.port().to_be_bytes());
    udp.extend_from_slice(&to.port().to_be_bytes());
    udp.extend_from_slice(&len.to_be_bytes());
    udp.extend_from_slice(&[0; 2]);
    udp.extend_from_slice(content);
    (udp.len() + V6_HEADER <= usize::from(u16::MAX)).then_some(())?;
    Some(build(from.ip(), to.ip(), protocol::UDP, &udp, Some(6)))
}

/// Puts the header of IP before something; with a checksum at this place of it.
fn build(from: IpAddr, to: IpAddr, protocol: u8, above: &[u8], checksum_at: Option<usize>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(V6_HEADER + above.len());
    #[allow(clippy::cast_possible_truncation, reason = "callers keep to what a packet can hold")]
    let len = above.len() as u16;
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend_from_slice(&[0x45, 0]);
            // raw(7): the kernel fills in identification and checksum.
            #[allow(clippy::cast_possible_truncation, reason = "it is 20")]
            bytes.extend_from_slice(&(len + V4_HEADER as u16).to_be_bytes());
            bytes.extend_from_slice(&[0, 0, 0, 0, TTL, protocol, 0, 0]);
            bytes.extend_from_slice(&from.octets());
            bytes.extend_from_slice(&to.octets());
        }
        _ => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            bytes.extend_from_slice(&[0x60, 0, 0, 0]);
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(&[protocol, TTL]);
            bytes.extend_from_slice(&octets(from));
            bytes.extend_from_slice(&octets(to));
        }
    }
    let header = bytes.len();
    bytes.extend_from_slice(above);
    if let Some(at) = checksum_at {
        put_checksum(&mut bytes[header..], at, from, to, protocol);
    }
    bytes
}

/// Computes the checksum of what is above IP (RFC 1071), over the pseudo header but for ICMP of the fourth version.
fn put_checksum(above: &mut [u8], at: usize, from: IpAddr, to: IpAddr, protocol: u8) {
    let Some(place) = above.get_mut(at..at + 2) else { return };
    place.fill(0);
    let mut sum = 0_u64;
    let mut add = |bytes: &[u8]| {
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    };
    if protocol != protocol::ICMP {
        for address in [from, to] {
            match address {
                IpAddr::V4(address) => add(&address.octets()),
                IpAddr::V6(address) => add(&address.octets()),
            }
        }
        add(&[0, protocol]);
        #[allow(clippy::cast_possible_truncation, reason = "a packet is at most 64 KiB")]
        add(&(above.len() as u32).to_be_bytes());
    }
    add(above);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[allow(clippy::cast_possible_truncation, reason = "folded to 16 bits above")]
    let checksum = match !(sum as u16) {
        // RFC 768: none is sent as 0.
        0 if protocol == protocol::UDP => 0xffff,
        other => other,
    };
    above[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SYN from 192.0.0.2:43942 to 1.2.3.4:443.
    fn syn() -> Vec<u8> {
        let mut tcp = vec![0xab, 0xa6, 0x01, 0xbb, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0xc4, 0x36, 0, 0];
        tcp.truncate(TCP_HEADER);
        build([192, 0, 0, 2].into(), [1, 2, 3, 4].into(), protocol::TCP, &tcp, None)
    }

    /// The sum over everything, checksum included, is all ones.
    fn is_sound(packet: &[u8]) -> bool {
        let parsed = Packet::parse(packet).unwrap();
        let place = match parsed.protocol {
            protocol::TCP => 16,
            protocol::UDP => 6,
            _ => 2,
        };
        let mut above = parsed.above().to_vec();
        let told = [above[place], above[place + 1]];
        put_checksum(&mut above, place, parsed.source, parsed.destination, parsed.protocol);
        [above[place], above[place + 1]] == told
    }

    #[test]
    fn a_syn_is_read_and_answered() {
        let syn = syn();
        let packet = Packet::parse(&syn).unwrap();
        let (from, to) = packet.ends().unwrap();
        assert!(packet.is_syn());
        assert_eq!((from.to_string().as_str(), to.to_string().as_str()), ("192.0.0.2:43942", "1.2.3.4:443"));
        let again = packet.again().unwrap();
        assert!(is_sound(&again) && again.len() == syn.len());
        let reset = packet.reset().unwrap();
        assert!(is_sound(&reset));
        assert_eq!(Packet::parse(&reset).unwrap().ends().unwrap(), (to, from));
        assert_eq!(reset[V4_HEADER + 8..V4_HEADER + 12], [0, 0, 0, 10], "it acknowledges the SYN");
        for error in [packet.prohibited(), packet.no_route(), packet.no_host(), packet.no_port()] {
            let error = error.unwrap();
            assert!(is_sound(&error));
            assert_eq!(error[V4_HEADER + 8..], syn[..V4_HEADER + 8], "it quotes the packet");
        }
    }

    #[test]
    fn datagrams_of_both_versions_have_sound_checksums() {
        for (from, to) in [("1.2.3.4:53", "192.0.0.2:4000"), ("[2001:db8::1]:53", "[fdc0::2]:4000")] {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            for content in [&b""[..], b"x", b"four", &[0xff; 1001]] {
                let bytes = datagram(from, to, content).unwrap();
                let packet = Packet::parse(&bytes).unwrap();
                assert!(is_sound(&bytes));
                assert_eq!((packet.ends().unwrap(), packet.datagram().unwrap()), ((from, to), content));
            }
        }
        assert!(datagram("1.1.1.1:1".parse().unwrap(), "1.1.1.1:1".parse().unwrap(), &[0; 65_530]).is_none());
    }

    #[test]
    fn a_request_for_an_echo_gets_an_error_and_an_error_none() {
        for (kind, answered) in [(8, true), (3, false), (0, false)] {
            let bytes = build([192, 0, 0, 2].into(), [1, 2, 3, 4].into(), protocol::ICMP, &[kind; 16], Some(2));
            assert_eq!(Packet::parse(&bytes).unwrap().prohibited().is_some(), answered, "{kind}");
        }
    }

    #[test]
    fn nonsense_is_no_packet() {
        let syn = syn();
        for len in 0..syn.len() {
            if let Some(packet) = Packet::parse(&syn[..len]) {
                let _ = (packet.ends(), packet.datagram(), packet.again(), packet.reset(), packet.prohibited());
            }
        }
        assert!(Packet::parse(&[0x4f; 30]).is_none(), "a header that is longer than the packet");
        assert!(Packet::parse(&[0x41; 30]).is_none(), "a header that is shorter than one");
        assert!(Packet::parse(&[0x60; 39]).is_none());
        assert!(Packet::parse(&[]).is_none());
    }
}
