//! The host's network, and changes to the sandbox's own.

use super::Done;
use crate::generic::needed;
use crate::sys::{self, Page};
use crate::{Facts, Verdict};
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

pub(super) fn run(name: &str, facts: &Facts) -> Option<Done> {
    Some(match name {
        "interfaces" => interfaces(),
        "canary_tcp" => facts.get("canary.tcp").map(|port| {
            let connect = |host: &str| {
                let address: SocketAddr = format!("{host}:{port}").parse().map_err(io::Error::other)?;
                TcpStream::connect_timeout(&address, Duration::from_secs(2))
            };
            Verdict::refused(connect("127.0.0.1").or_else(|_| connect("[::1]")))
        }),
        "canary_udp" => facts.get("canary.udp").map(|port| Verdict::refused(echo(port))),
        "canary_abstract" => facts.get("canary.abstract").map(|name| {
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name);
            Verdict::refused(address.and_then(|address| UnixStream::connect_addr(&address)))
        }),
        "canary_abstract_listed" => facts.get("canary.abstract").and_then(|name| {
            let text = needed("/proc/net/unix", fs::read_to_string("/proc/net/unix"))?;
            Ok(Verdict::when(!text.contains(name), format!("{} sockets are listed", text.lines().count())))
        }),
        "canary_unix_path" => facts.get("canary.socket").map(|path| Verdict::refused(UnixStream::connect(path))),
        "route_out" => Ok(Verdict::refused(route("192.0.2.1:9").or_else(|_| route("[2001:db8::1]:9")))),
        "metadata" => Ok(Verdict::refused(route("169.254.169.254:80"))),
        "add_interface" => Ok(add_interface()),
        "loopback_down" => Ok(loopback_down()),
        "add_address" => Ok(interface_request(libc::SIOCSIFADDR, b"lo:7", &[2, 0, 0, 0, 127, 0, 0, 9])),
        "add_route" => {
            with_socket(|fd| by_right(sys::native_call(libc::SYS_ioctl, &[fd, libc::SIOCADDRT, Page::new().0])))
        }
        "iptables" => iptables(),
        _ => return None,
    })
}

fn interfaces() -> Done {
    let text = needed("/proc/net/dev", fs::read_to_string("/proc/net/dev"))?;
    let names: Vec<&str> = text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    Ok(Verdict::when(names.iter().all(|name| *name == "lo"), format!("{names:?}")))
}

/// What was planted there answers; nobody there is an error on this socket at once.
fn echo(port: &str) -> io::Result<usize> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(format!("127.0.0.1:{port}"))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.send(b"mark")?;
    socket.recv(&mut [0; 16])
}

/// Connecting a datagram socket sends nothing: it asks for a route.
fn route(address: &str) -> io::Result<SocketAddr> {
    let any = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.local_addr()
}

fn with_socket(work: impl FnOnce(u64) -> Verdict) -> Done {
    let socket = needed("a socket", UdpSocket::bind("127.0.0.1:0"))?;
    Ok(work(u64::from(socket.as_raw_fd().cast_unsigned())))
}

/// Held if it is not this process's to do; any other error came after that question.
fn by_right(result: Result<u64, i32>) -> Verdict {
    match result {
        Err(errno) => {
            let refused = [libc::EPERM, libc::EACCES, libc::ENOSYS].contains(&errno);
            Verdict::when(refused, io::Error::from_raw_os_error(errno).to_string())
        }
        Ok(value) => Verdict::NotHeld(format!("it returned {value}")),
    }
}

/// `struct ifreq` (`netdevice(7)`): a name of 16 bytes and a value.
fn interface_request(request: libc::Ioctl, name: &[u8], value: &[u8]) -> Verdict {
    let mut bytes = [0; 40];
    bytes[..name.len()].copy_from_slice(name);
    bytes[16..16 + value.len()].copy_from_slice(value);
    let page = Page::with(&bytes);
    with_socket(|fd| by_right(sys::native_call(libc::SYS_ioctl, &[fd, request, page.0]))).unwrap_or_else(|v| v)
}

fn loopback_down() -> Verdict {
    let verdict = interface_request(libc::SIOCSIFFLAGS, b"lo", &[0, 0]);
    if matches!(verdict, Verdict::NotHeld(_)) {
        // IFF_UP again.
        let _ = interface_request(libc::SIOCSIFFLAGS, b"lo", &[1, 0]);
    }
    verdict
}

/// `rtnetlink(7)`: RTM_NEWLINK for a dummy interface, and the kernel's answer.
fn add_interface() -> Verdict {
    let attribute = |kind: u16, payload: &[u8]| {
        let length = u16::try_from(4 + payload.len()).unwrap_or(0);
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    // IFLA_IFNAME, and IFLA_LINKINFO with IFLA_INFO_KIND.
    let mut body = vec![0; 16];
    body.extend(attribute(3, b"computesdk0\0"));
    body.extend(attribute(18, &attribute(1, b"dummy\0")));
    let length = u32::try_from(16 + body.len()).unwrap_or(0);
    // RTM_NEWLINK; NLM_F_REQUEST, ACK, CREATE and EXCL.
    let mut message = length.to_ne_bytes().to_vec();
    message.extend([16_u16.to_ne_bytes(), 0x605_u16.to_ne_bytes()].concat());
    message.extend([0; 8]);
    message.extend(body);
    let page = Page::with(&message);
    let socket = match sys::native_call(libc::SYS_socket, &[libc::AF_NETLINK as u64, libc::SOCK_RAW as u64, 0]) {
        Ok(socket) => socket,
        Err(errno) => return Verdict::Held(io::Error::from_raw_os_error(errno).to_string()),
    };
    if let Err(errno) = sys::native_call(libc::SYS_sendto, &[socket, page.0, length.into(), 0, 0, 0]) {
        return Verdict::Held(io::Error::from_raw_os_error(errno).to_string());
    }
    let answer = Page::new();
    if let Err(errno) = sys::native_call(libc::SYS_recvfrom, &[socket, answer.0, 4096, 0, 0, 0]) {
        return Verdict::NotHeld(io::Error::from_raw_os_error(errno).to_string());
    }
    // A header of 16 bytes, then the error, negative.
    let bytes: [u8; 20] = answer.bytes();
    let error = i32::from_ne_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
    by_right(match error {
        0 => Ok(0),
        error => Err(-error),
    })
}

/// IPT_SO_SET_REPLACE (64) at SOL_IP; without the module there is nothing to change.
fn iptables() -> Done {
    let page = Page::new();
    let answer = |fd| sys::native_call(libc::SYS_setsockopt, &[fd, 0, 64, page.0, 96]);
    let socket = needed("a socket", UdpSocket::bind("127.0.0.1:0"))?;
    match answer(u64::from(socket.as_raw_fd().cast_unsigned())) {
        Err(libc::ENOPROTOOPT) => Err(Verdict::NotApplicable("this kernel has no such filters".into())),
        other => Ok(by_right(other)),
    }
}
