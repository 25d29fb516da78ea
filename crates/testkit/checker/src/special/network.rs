//! The host's network, and changes to the sandbox's own.

use super::Done;
use crate::generic::{by_right, needed};
use crate::reach;
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
        "route_out" => route_out(facts),
        "metadata" => metadata(facts),
        "loopback_down" => Ok(loopback_down()),
        "add_address" => Ok(interface_request(libc::SIOCSIFADDR, b"lo:7", &[2, 0, 0, 0, 127, 0, 0, 9])),
        "add_route" => {
            with_socket(|fd| by_right(sys::native_call(libc::SYS_ioctl, &[fd, libc::SIOCADDRT, Page::new().0])))
        }
        "iptables" => iptables(libc::AF_INET, libc::SOL_IP),
        "ip6tables" => iptables(libc::AF_INET6, libc::SOL_IPV6),
        "mark_message" => mark_message(),
        "filter_programs" => reach::apart(facts).and_then(|()| filter_programs()),
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

/// Where there is a way out, each address is somebody's to decide on: that is what the group `reach` asks for.
fn route_out(facts: &Facts) -> Done {
    if facts.get("network").is_ok_and(|network| network == "egress") {
        return Err(Verdict::NotApplicable("it may reach the internet".into()));
    }
    Ok(Verdict::refused(route("192.0.2.1:9").or_else(|_| route("[2001:db8::1]:9"))))
}

fn metadata(facts: &Facts) -> Done {
    match reach::tcp("169.254.169.254 80", facts)? {
        Verdict::Held(_) => reach::udp("169.254.169.254 80", facts),
        other => Ok(other),
    }
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

/// IPT_SO_SET_REPLACE and IP6T_SO_SET_REPLACE are 64; without the module there is nothing to change.
fn iptables(family: i32, level: i32) -> Done {
    let socket = needed("a socket", sys::socket(family, libc::SOCK_DGRAM, 0))?;
    match sys::set_option(&socket, level, 64, &[0; 96]) {
        Err(libc::ENOPROTOOPT) => Err(Verdict::NotApplicable("this kernel has no such filters".into())),
        other => Ok(by_right(other)),
    }
}

/// `sendmsg(2)` with a control message, `cmsg(3)`.
fn mark_message() -> Done {
    let socket = needed("a socket", UdpSocket::bind("127.0.0.1:0"))?;
    // `struct cmsghdr`: length, level, type; the mark.
    let control = [
        &20_u64.to_ne_bytes()[..],
        &libc::SOL_SOCKET.to_ne_bytes(),
        &libc::SO_MARK.to_ne_bytes(),
        &1_u64.to_ne_bytes(),
    ];
    let control = Page::with(&control.concat());
    // A `sockaddr_in`: port 9 of 127.0.0.1.
    let address = Page::with(&[&2_u16.to_ne_bytes()[..], &9_u16.to_be_bytes(), &[127, 0, 0, 1]].concat());
    let content = Page::with(b"mark");
    let vector = Page::with(&[content.0, 4].map(u64::to_ne_bytes).concat());
    // `struct msghdr`: address, its length, vectors, how many, control, its length, flags.
    let message = Page::with(&[address.0, 16, vector.0, 1, control.0, 24, 0].map(u64::to_ne_bytes).concat());
    let fd = u64::from(socket.as_raw_fd().cast_unsigned());
    Ok(by_right(sys::native_call(libc::SYS_sendmsg, &[fd, message.0, 0])))
}

/// Programs that an image may have, each with what it would change or tell.
const PROGRAMS: [&str; 8] = [
    "nft list ruleset",
    "nft delete table inet computesdk",
    "nft flush ruleset",
    "iptables -P INPUT ACCEPT",
    "ip6tables -P INPUT ACCEPT",
    "ip route del local default",
    "ip address add 10.9.8.7/32 dev lo",
    "tc qdisc add dev lo root pfifo",
];

fn filter_programs() -> Done {
    let mut tried = 0;
    for words in PROGRAMS {
        let mut words = words.split(' ');
        let name = words.next().unwrap_or_default();
        let paths = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(|dir| format!("{dir}/{name}"));
        let Some(program) = paths.iter().find(|path| fs::metadata(path).is_ok()) else { continue };
        tried += 1;
        let arguments: Vec<&str> = words.collect();
        let quiet = || std::process::Stdio::null();
        let status = std::process::Command::new(program)
            .args(&arguments)
            .stdin(quiet())
            .stdout(quiet())
            .stderr(quiet())
            .status();
        if status.is_ok_and(|status| status.success()) {
            return Ok(Verdict::NotHeld(format!("{name} {} worked", arguments.join(" "))));
        }
    }
    if tried == 0 {
        return Err(Verdict::NotApplicable("none of these programs is there".into()));
    }
    Ok(Verdict::Held(format!("{tried} of them fail")))
}
