//! Servers that say one word to whoever comes: how one that was reached is told from another with the same address.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

/// A listener at every address; port 0 is any.
pub(crate) fn tcp(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
}

/// The same for datagrams.
pub(crate) fn udp(port: u16) -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))
}

/// Says it on every connection.
pub(crate) fn serve_tcp(listener: TcpListener, word: String) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(word.as_bytes()));
        }
    });
}

/// Says it to every datagram.
pub(crate) fn serve_udp(socket: UdpSocket, word: String) {
    std::thread::spawn(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 512]) {
            let _ = socket.send_to(word.as_bytes(), from);
        }
    });
}

/// The other sandbox: the word on a port and by an abstract socket called `name`, until its input ends.
pub(crate) fn neighbour(port: u16, word: &str, name: &str) -> io::Result<()> {
    serve_tcp(tcp(port)?, word.to_owned());
    serve_udp(udp(port)?, word.to_owned());
    let _listener = SocketAddr::from_abstract_name(name).and_then(|address| UnixListener::bind_addr(&address))?;
    let _ = writeln!(io::stdout(), "ready");
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}
