//! Which addresses are this machine's own: asked of its routing table, at each decision, since they come and go.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::net::IpAddr;

// linux/netlink.h, linux/rtnetlink.h
const NLM_F_REQUEST: u16 = 1;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
/// Where a `nlmsghdr` ends and where, in the `rtmsg` behind it, the type of the route stands.
const HEADER: usize = 16;
const ROUTE_TYPE: usize = HEADER + 7;
const RTN_UNICAST: u8 = 1;
/// Types of routes that lead nowhere: they are nobody's.
const NOWHERE: std::ops::RangeInclusive<u8> = 6..=8;

/// Asks the kernel of the namespace that this process is in.
#[derive(Debug)]
pub(crate) struct Host {
    socket: Option<OwnedFd>,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self { socket: open().ok() }
    }

    /// Whether what is sent there stays on this machine, or goes to everybody around it. If that cannot be told, it does.
    pub(crate) fn is_own(&mut self, address: IpAddr) -> bool {
        let answer = match &self.socket {
            Some(socket) => ask(socket, address),
            None => Err(Errno::BADF),
        };
        match answer {
            Ok(own) => own,
            // No route: it is somebody else's, who cannot be reached.
            Err(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS | Errno::INVAL) => false,
            Err(_) => {
                self.socket = open().ok();
                self.socket.as_ref().is_none_or(|socket| ask(socket, address).unwrap_or(true))
            }
        }
    }
}

fn open() -> Result<OwnedFd, Errno> {
    // NETLINK_ROUTE is 0.
    socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

fn ask(socket: &OwnedFd, address: IpAddr) -> Result<bool, Errno> {
    let (family, octets) = match address {
        IpAddr::V4(address) => (AddressFamily::INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AddressFamily::INET6, address.octets().to_vec()),
    };
    let mut message = Vec::with_capacity(64);
    let len = HEADER + 12 + 4 + octets.len();
    message.extend_from_slice(&u32::try_from(len).unwrap_or_default().to_ne_bytes());
    message.extend_from_slice(&RTM_GETROUTE.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    // rtmsg: family, length of the destination.
    message.push(u8::try_from(family.as_raw()).unwrap_or_default());
    message.push(u8::try_from(octets.len() * 8).unwrap_or_default());
    message.extend_from_slice(&[0; 10]);
    message.extend_from_slice(&u16::try_from(4 + octets.len()).unwrap_or_default().to_ne_bytes());
    message.extend_from_slice(&RTA_DST.to_ne_bytes());
    message.extend_from_slice(&octets);
    // What an earlier question left behind, if anything.
    let mut answer = [0_u8; 1024];
    while recv(socket, &mut answer[..], RecvFlags::DONTWAIT).is_ok() {}
    send(socket, &message, SendFlags::empty())?;
    let (_, len) = recv(socket, &mut answer[..], RecvFlags::DONTWAIT)?;
    let answer = answer.get(..len).ok_or(Errno::MSGSIZE)?;
    let kind = answer.get(4..6).and_then(|kind| kind.first_chunk()).map(|kind| u16::from_ne_bytes(*kind));
    if kind != Some(RTM_NEWROUTE) {
        let code = answer.get(HEADER..).and_then(|body| body.first_chunk()).ok_or(Errno::PROTO)?;
        return Err(Errno::from_raw_os_error(-i32::from_ne_bytes(*code)));
    }
    let route = *answer.get(ROUTE_TYPE).ok_or(Errno::PROTO)?;
    Ok(route != RTN_UNICAST && !NOWHERE.contains(&route))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_own_and_an_address_elsewhere_is_not() {
        let mut host = Host::new();
        for own in ["127.0.0.1", "127.9.9.9", "::1"] {
            assert!(host.is_own(own.parse().unwrap()), "{own}");
        }
        for other in ["203.0.113.77", "8.8.8.8", "2001:db8::77"] {
            assert!(!host.is_own(other.parse().unwrap()), "{other}");
        }
        // And the address by which others see this machine, if there is one.
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("203.0.113.77:9").is_ok() {
            assert!(host.is_own(socket.local_addr().unwrap().ip()));
        }
    }
}
