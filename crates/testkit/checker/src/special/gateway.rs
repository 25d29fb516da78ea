//! What serves a sandbox's network from outside, and tricks with addresses.

use super::Done;
use crate::reach::{SILENCE, apart, at, host, host_v4, port, talk, unheard};
use crate::sys;
use crate::{Facts, Verdict};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};

const NAMESERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 0, 1)), 53);
/// Where an HTTP proxy stands, if that is the way out.
const PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3128);
/// An address that is neither the sandbox's nor the host's.
const FOREIGN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 8, 7)), 0);
pub(super) fn run(name: &str, facts: &Facts) -> Option<Done> {
    Some(match name {
        "nameserver_garbage" => apart(facts).map(|()| garbage()),
        "nameserver_garbage_tcp" => apart(facts).map(|()| garbage_tcp()),
        "proxy_host" => apart(facts).and_then(|()| proxy_host(facts)),
        "proxy_ranges" => apart(facts).map(|()| proxied(80, RANGES.map(str::to_owned).to_vec(), "")),
        "ping_host" => apart(facts).and_then(|()| ping_host(facts)),
        "foreign_bind" => apart(facts).and_then(|()| foreign_bind(facts)),
        "foreign_source" => apart(facts).and_then(|()| foreign_source(facts)),
        "source_route" => apart(facts).and_then(|()| source_route(facts)),
        _ => return None,
    })
}

/// Messages that are no question of the name service: RFC 1035 4.1.
fn no_questions() -> Vec<Vec<u8>> {
    // Its number, flags, four counts; the name `a`, type and class.
    let message = |flags: [u8; 2], questions: u8| {
        let mut bytes = vec![7, 7, flags[0], flags[1], 0, questions, 0, 0, 0, 0, 0, 0];
        bytes.extend([1, b'a', 0, 0, 1, 0, 1].repeat(usize::from(questions)));
        bytes
    };
    let mut cut_short = message([1, 0], 1);
    cut_short.truncate(14);
    vec![
        vec![0],
        vec![0; 12],
        vec![0xff; 512],
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        // An answer, an update (RFC 2136), two questions.
        message([0x81, 0x80], 1),
        message([0x28, 0], 1),
        message([1, 0], 2),
        cut_short,
    ]
}

fn garbage() -> Verdict {
    let all = || -> io::Result<usize> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(NAMESERVER)?;
        socket.set_read_timeout(Some(SILENCE))?;
        for message in no_questions() {
            socket.send(&message)?;
        }
        socket.recv(&mut [0; 512])
    };
    match all() {
        Ok(len) => Verdict::NotHeld(format!("an answer of {len} bytes")),
        Err(error) => Verdict::Held(error.to_string()),
    }
}

fn garbage_tcp() -> Verdict {
    let mut verdict = Verdict::Held(String::new());
    for message in no_questions() {
        let framed = [&u16::try_from(message.len()).unwrap_or(0).to_be_bytes()[..], &message].concat();
        for said in [message, framed] {
            verdict = unheard(NAMESERVER, talk(NAMESERVER, &said, true));
            if matches!(verdict, Verdict::NotHeld(_)) {
                return verdict;
            }
        }
    }
    verdict
}

/// As a proxy is asked for them.
const RANGES: [&str; 10] = [
    "169.254.169.254",
    "[::ffff:169.254.169.254]",
    "10.0.0.1",
    "[::ffff:10.0.0.1]",
    "192.168.0.1",
    "192.0.0.2",
    "[fd00:ec2::254]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[::127.0.0.1]",
];

fn proxy_host(facts: &Facts) -> Done {
    let mut hosts =
        ["127.0.0.1", "127.0.0.2", "[::1]", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "[::ffff:0.0.0.0]", "localhost"]
            .map(str::to_owned)
            .to_vec();
    for address in host(facts).unwrap_or_default() {
        hosts.push(if address.is_ipv4() { address.to_string() } else { format!("[{address}]") });
        if let IpAddr::V4(address) = address {
            hosts.push(format!("[{}]", address.to_ipv6_mapped()));
        }
    }
    Ok(proxied(port("canary.any_tcp", facts)?, hosts, facts.get("canary.token")?))
}

/// Asks the proxy for each, for a tunnel and for a page. Held if there is no proxy, or it has neither.
fn proxied(port: u16, hosts: Vec<String>, word: &str) -> Verdict {
    let mut said = String::new();
    for host in hosts {
        let requests = [format!("CONNECT {host}:{port}"), format!("GET http://{host}:{port}/")];
        for request in requests {
            let whole = format!("{request} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
            let heard = match talk(PROXY, whole.as_bytes(), true) {
                Ok(heard) => String::from_utf8_lossy(&heard).into_owned(),
                Err(error) => return Verdict::Held(format!("there is no proxy: {error}")),
            };
            // A page of nobody's may be refused for many reasons, but not answered.
            let refused = ["HTTP/1.1 4", "HTTP/1.1 5"].iter().any(|start| heard.starts_with(start));
            let forbidden = heard.starts_with("HTTP/1.1 403");
            if !refused || !word.is_empty() && heard.contains(word) || word.is_empty() && !forbidden {
                return Verdict::NotHeld(format!("{request} is answered with {heard:?}"));
            }
            said = format!("{request}: {}", heard.lines().next().unwrap_or_default());
        }
    }
    Verdict::Held(said)
}

/// `ping(8)` without privileges: `icmp(7)`.
fn ping_host(facts: &Facts) -> Done {
    let mut said = String::new();
    for address in host(facts)? {
        // An echo request (RFC 792, RFC 4443), whose checksum the kernel fills in.
        let (family, protocol, kind) = match address {
            IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP, 8),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => continue,
            IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6, 128),
        };
        let ask = || -> io::Result<usize> {
            let socket = sys::socket(family, libc::SOCK_DGRAM, protocol)?;
            sys::with_address(libc::SYS_connect, &socket, SocketAddr::new(address, 0))?;
            let socket = UdpSocket::from(socket);
            socket.set_read_timeout(Some(SILENCE))?;
            socket.send(&[kind, 0, 0, 0, 0, 0, 0, 1, b'm'])?;
            socket.recv(&mut [0; 64])
        };
        match ask() {
            Ok(_) => return Ok(Verdict::NotHeld(format!("{address} answers"))),
            Err(error) => said = format!("{address}: {error}"),
        }
    }
    Ok(Verdict::Held(said))
}

/// A socket that may have any address: IP_FREEBIND is 15 at SOL_IP, and good for the sixth version too.
fn free(address: IpAddr, kind: i32) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let socket = sys::socket(family, kind, 0)?;
    let _ = sys::set_option(&socket, libc::SOL_IP, libc::IP_FREEBIND, &1_i32.to_ne_bytes());
    Ok(socket)
}

/// The host sends to this port of its own addresses all the time.
fn foreign_bind(facts: &Facts) -> Done {
    let port = port("canary.beacon", facts)?;
    let bind = |address, kind| -> io::Result<OwnedFd> {
        let socket = free(address, kind)?;
        sys::with_address(libc::SYS_bind, &socket, at(address, port))?;
        Ok(socket)
    };
    let (mut datagrams, mut connections) = (Vec::new(), Vec::new());
    for address in host(facts)? {
        datagrams.extend(bind(address, libc::SOCK_DGRAM).map(UdpSocket::from));
        let listener = bind(address, libc::SOCK_STREAM).and_then(|socket| {
            let fd = u64::from(socket.as_raw_fd().cast_unsigned());
            sys::native_call(libc::SYS_listen, &[fd, 8]).map_err(io::Error::from_raw_os_error)?;
            Ok(TcpListener::from(socket))
        });
        connections.extend(listener);
    }
    std::thread::sleep(SILENCE);
    for socket in &datagrams {
        let _ = socket.set_nonblocking(true);
        if let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
            return Ok(Verdict::NotHeld(format!("{:?} has a datagram from {from}", socket.local_addr())));
        }
    }
    for socket in &connections {
        let _ = socket.set_nonblocking(true);
        if let Ok((_, from)) = socket.accept() {
            return Ok(Verdict::NotHeld(format!("{:?} has a connection from {from}", socket.local_addr())));
        }
    }
    Ok(Verdict::Held(format!("{} sockets were had, and nothing came", datagrams.len() + connections.len())))
}

fn foreign_source(facts: &Facts) -> Done {
    let (tcp, udp) = (port("canary.any_tcp", facts)?, port("canary.any_udp", facts)?);
    let mut said = String::new();
    for address in host_v4(facts)? {
        let connect = || -> io::Result<()> {
            let socket = free(address.into(), libc::SOCK_STREAM)?;
            sys::with_address(libc::SYS_bind, &socket, FOREIGN)?;
            connect_shortly(socket, SocketAddr::new(address.into(), tcp))
        };
        let ask = || -> io::Result<usize> {
            let socket = free(address.into(), libc::SOCK_DGRAM)?;
            sys::with_address(libc::SYS_bind, &socket, FOREIGN)?;
            let socket = UdpSocket::from(socket);
            socket.set_read_timeout(Some(SILENCE))?;
            socket.send_to(b"mark", (address, udp))?;
            socket.recv(&mut [0; 64])
        };
        for tried in [connect(), ask().map(drop)] {
            match tried {
                Ok(()) => return Ok(Verdict::NotHeld(format!("{address} is reached"))),
                Err(error) => said = format!("{address}: {error}"),
            }
        }
    }
    Ok(Verdict::Held(said))
}

/// A connection within a short time, since errors go to the address that it comes from: `socket(7)`, SO_SNDTIMEO.
fn connect_shortly(socket: OwnedFd, target: SocketAddr) -> io::Result<()> {
    let stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(SILENCE))?;
    sys::with_address(libc::SYS_connect, &OwnedFd::from(stream), target)
}

/// The packet goes to the first address, and carries where it is to go from there.
fn source_route(facts: &Facts) -> Done {
    let port = port("canary.any_tcp", facts)?;
    let mut said = String::new();
    for address in host_v4(facts)? {
        for (first, last) in [(Ipv4Addr::LOCALHOST, address), (address, Ipv4Addr::LOCALHOST)] {
            let connect = || -> io::Result<()> {
                let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
                // IP_OPTIONS is 4; loose source route (RFC 791): type, length, pointer, one address; padding.
                let route = [&[131, 7, 4][..], &first.octets(), &[0]].concat();
                sys::set_option(&socket, libc::SOL_IP, 4, &route).map_err(io::Error::from_raw_os_error)?;
                connect_shortly(socket, SocketAddr::new(last.into(), port))
            };
            match connect() {
                Ok(()) => return Ok(Verdict::NotHeld(format!("{last} by {first} is reached"))),
                Err(error) => said = format!("{last} by {first}: {error}"),
            }
        }
    }
    Ok(Verdict::Held(said))
}
