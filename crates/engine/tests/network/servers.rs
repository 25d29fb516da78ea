//! The servers of the world: what they saw is one log, in order; trials ask for it over a Unix socket.

use crate::world::{Internet, LEAK, TOP, host};
use rustls::pki_types::PrivateKeyDer;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

pub(crate) const CONTROL: &str = "control";

/// Addresses that nobody may reach, unless a trial says so.
const FORBIDDEN: [&str; 8] = [
    "10.20.30.40",
    "169.254.169.254",
    "100.64.9.9",
    "fd00:aa::10",
    "64:ff9b::a14:1e28",
    "64:ff9b::c633:6401",
    "2002:a14:1e28::1",
    "2002:c633:6401::1",
];

const A: u16 = 1;
const AAAA: u16 = 28;

pub(crate) struct Servers {
    log: Mutex<Vec<String>>,
    zone: Mutex<HashMap<(String, u16), Record>>,
    tls: Arc<rustls::ServerConfig>,
    packages: OnceLock<String>,
}

/// What a name leads to: one step after the other, the last one for good.
struct Record {
    steps: Vec<Vec<IpAddr>>,
    asked: usize,
}

type Handler = fn(&Servers, &TcpStream, SocketAddr);

impl Servers {
    pub(crate) fn start(internet: &Internet) {
        let this: &'static Self = Box::leak(Box::new(Self {
            log: Mutex::default(),
            zone: Mutex::default(),
            tls: tls_config(),
            packages: OnceLock::new(),
        }));
        this.zone_of_everybody();
        let control = Path::new(TOP).join(CONTROL);
        let listener = UnixListener::bind(&control).unwrap();
        std::fs::set_permissions(&control, std::fs::Permissions::from_mode(0o777)).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || this.control(stream));
            }
        });
        // The host's own.
        this.tcp(bind("[::]:8080"), leak);
        this.udp(UdpSocket::bind("[::]:8080").unwrap(), leaked);
        this.tcp(bind("198.51.100.1:8081"), http);
        this.udp(UdpSocket::bind("127.0.0.53:53").unwrap(), question);
        this.tcp(bind("127.0.0.53:53"), questions);
        hidden(this);
        internet.inside(|| this.internet());
    }

    fn internet(&'static self) {
        for web in ["203.0.113.10", "203.0.113.11", "[2001:db8::10]", "10.99.1.1", "10.99.2.1"] {
            self.tcp(bind(&format!("{web}:80")), http);
            self.tcp(bind(&format!("{web}:443")), https);
            self.tcp(bind(&format!("{web}:7")), echo);
            self.tcp(bind(&format!("{web}:9000")), silent);
            self.tcp(bind(&format!("{web}:9001")), flood);
            self.tcp(bind(&format!("{web}:9002")), hold);
            self.tcp(bind(&format!("{web}:9003")), half);
            self.udp(UdpSocket::bind(format!("{web}:7")).unwrap(), echoed);
        }
        for resolver in ["203.0.113.53", "10.20.30.53", "[2001:db8::53]"] {
            self.udp(UdpSocket::bind(format!("{resolver}:53")).unwrap(), question);
            self.tcp(bind(&format!("{resolver}:53")), questions);
        }
        self.tcp(bind("10.20.30.53:80"), leak);
        self.udp(UdpSocket::bind("10.20.30.53:7").unwrap(), leaked);
        for address in FORBIDDEN {
            for port in [7, 53, 80, 443, 8080] {
                let address = SocketAddr::new(address.parse().unwrap(), port);
                self.tcp(TcpListener::bind(address).unwrap(), leak);
                self.udp(UdpSocket::bind(address).unwrap(), leaked);
            }
        }
    }

    fn tcp(&'static self, listener: TcpListener, handler: Handler) {
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(at) = stream.local_addr() else { continue };
                let at = SocketAddr::new(at.ip().to_canonical(), at.port());
                std::thread::spawn(move || handler(self, &stream, at));
            }
        });
    }

    fn udp(&'static self, socket: UdpSocket, handler: fn(&Self, &[u8], SocketAddr) -> Option<Vec<u8>>) {
        std::thread::spawn(move || {
            let at = socket.local_addr().unwrap();
            let mut buffer = vec![0; 65_536];
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                if let Some(answer) = handler(self, &buffer[..len], at) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
    }

    fn log(&self) -> MutexGuard<'_, Vec<String>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saw(&self, line: String) {
        self.log().push(line);
    }

    fn zone_of_everybody(&self) {
        for (name, addresses) in [
            ("web.test", "203.0.113.10,2001:db8::10"),
            ("other.test", "203.0.113.11"),
            ("four.test", "203.0.113.10"),
            ("six.test", "2001:db8::10"),
            ("pypi.test", "203.0.113.10"),
            ("npm.test", "203.0.113.10"),
            ("git.test", "203.0.113.10"),
            ("a.wild.test", "203.0.113.10"),
            ("b.a.wild.test", "203.0.113.11"),
            ("wild.test", "203.0.113.10"),
            ("shared.test", "203.0.113.10"),
            ("private.test", "10.20.30.40"),
            ("metadata.test", "169.254.169.254"),
            ("loopback.test", "127.0.0.1,::1"),
            ("own.test", "198.51.100.1,2001:db8:1::1"),
            ("ula.test", "fd00:aa::10"),
            ("mapped.test", "::ffff:10.20.30.40"),
            ("mapped-own.test", "::ffff:198.51.100.1"),
            ("translated.test", "64:ff9b::a14:1e28"),
            ("translated-own.test", "64:ff9b::c633:6401"),
        ] {
            self.set(name, addresses);
        }
        let many: Vec<String> = (1..=60).map(|last| format!("192.0.2.{last}")).collect();
        self.set("many.test", &many.join(","));
    }

    /// Steps are parted by `;`, the addresses of one by `,`. A step without addresses of a kind is one all the same.
    fn set(&self, name: &str, steps: &str) {
        let mut zone = self.zone.lock().unwrap();
        for kind in [A, AAAA] {
            let of_kind = |address: &IpAddr| address.is_ipv4() == (kind == A);
            let addresses = |step: &str| -> Vec<IpAddr> {
                step.split(',').filter_map(|address| address.parse().ok()).filter(of_kind).collect()
            };
            let steps = steps.split(';').map(addresses).collect();
            zone.insert((name.to_owned(), kind), Record { steps, asked: 0 });
        }
    }

    fn lookup(&self, name: &str, kind: u16) -> Option<Vec<IpAddr>> {
        let mut zone = self.zone.lock().unwrap();
        let exists = zone.contains_key(&(name.to_owned(), A));
        let Some(record) = zone.get_mut(&(name.to_owned(), kind)) else { return exists.then(Vec::new) };
        let step = record.steps.get(record.asked).or(record.steps.last()).cloned();
        record.asked += 1;
        step
    }

    /// One request, one answer.
    fn control(&self, mut stream: std::os::unix::net::UnixStream) {
        let mut request = String::new();
        if BufReader::new(&stream).read_line(&mut request).is_err() {
            return;
        }
        let words: Vec<&str> = request.split_whitespace().collect();
        let matching = |words: &[&str]| {
            let has = |line: &&String| words.iter().all(|word| line.split(' ').any(|part| part == *word));
            self.log().iter().filter(has).cloned().collect::<Vec<_>>()
        };
        let answer = match words[..] {
            ["zone", name, steps] => {
                self.set(name, steps);
                String::new()
            }
            ["log", ref words @ ..] => matching(words).join("\n"),
            ["host"] => host(),
            ["packages"] => self.packages.get_or_init(make_packages).clone(),
            _ => panic!("what is {request}?"),
        };
        let _ = stream.write_all(answer.as_bytes());
    }
}

fn bind(address: &str) -> TcpListener {
    TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"))
}

/// Somebody came to where nobody may come. The answer is what a program would be glad to get.
fn leak(servers: &Servers, mut stream: &TcpStream, at: SocketAddr) {
    servers.saw(format!("{LEAK} tcp {at} {:?}", stream.peer_addr().ok()));
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nsecret\n");
}

fn leaked(servers: &Servers, datagram: &[u8], at: SocketAddr) -> Option<Vec<u8>> {
    servers.saw(format!("{LEAK} udp {at}"));
    Some(datagram.to_vec())
}

/// An abstract socket of the host's.
fn hidden(servers: &'static Servers) {
    use std::os::linux::net::SocketAddrExt as _;
    let name = std::os::unix::net::SocketAddr::from_abstract_name("computesdk-world").unwrap();
    let listener = UnixListener::bind_addr(&name).unwrap();
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            servers.saw(format!("{LEAK} abstract socket"));
        }
    });
}

fn echo(_: &Servers, mut stream: &TcpStream, _: SocketAddr) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..len]).is_err() {
            return;
        }
    }
}

#[allow(clippy::unnecessary_wraps, reason = "it is one of several")]
fn echoed(_: &Servers, datagram: &[u8], _: SocketAddr) -> Option<Vec<u8>> {
    Some(datagram.to_vec())
}

/// Accepts, and says nothing until the other side has had enough.
fn silent(_: &Servers, mut stream: &TcpStream, _: SocketAddr) {
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

/// Breaks in the middle of its answer.
fn half(_: &Servers, mut stream: &TcpStream, _: SocketAddr) {
    let _ = stream.read(&mut [0; 100]);
    let _ = stream.write_all(b"half\n");
    // socket(7): lingering for no time is a reset.
    rustix::net::sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO)).unwrap();
}

/// Takes the name of a connection, and tells when it ends.
fn hold(servers: &Servers, stream: &TcpStream, at: SocketAddr) {
    let mut name = String::new();
    let mut reader = BufReader::new(stream);
    if reader.read_line(&mut name).is_err() {
        return;
    }
    let name = name.trim().to_owned();
    servers.saw(format!("hold {at} {name} begin"));
    let _ = { stream }.write_all(b"ok\n");
    let how = match std::io::copy(&mut reader, &mut std::io::sink()) {
        Ok(_) => String::from("eof"),
        Err(error) => format!("{:?}", error.kind()),
    };
    servers.saw(format!("hold {at} {name} end {how}"));
}

/// Sends without end, and says how much was taken when nothing more is for a second, and at the end.
fn flood(servers: &Servers, stream: &TcpStream, _: SocketAddr) {
    let mut name = String::new();
    if BufReader::new(stream).read_line(&mut name).is_err() {
        return;
    }
    let name = name.trim().to_owned();
    stream.set_write_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    let block = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    loop {
        match { stream }.write(&block) {
            Ok(len) => sent += len,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                servers.saw(format!("flood {name} stalled {sent}"));
            }
            Err(_) => return servers.saw(format!("flood {name} end {sent}")),
        }
        if sent > 1 << 30 {
            return servers.saw(format!("flood {name} taken {sent}"));
        }
    }
}

fn http(servers: &Servers, stream: &TcpStream, at: SocketAddr) {
    requests(servers, stream, at, "http");
}

fn https(servers: &Servers, stream: &TcpStream, at: SocketAddr) {
    let connection = rustls::ServerConnection::new(Arc::clone(&servers.tls)).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, stream);
    while stream.conn.is_handshaking() {
        if stream.conn.complete_io(&mut stream.sock).is_err() {
            return;
        }
    }
    let name = stream.conn.server_name().unwrap_or("-").to_owned();
    servers.saw(format!("tls {at} {name}"));
    requests(servers, stream, at, "https");
}

/// Requests of one connection, until one says that it is the last.
fn requests(servers: &Servers, stream: impl Read + Write, at: SocketAddr, kind: &str) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        loop {
            match stream.read_line(&mut head) {
                Ok(0) | Err(_) => return,
                Ok(_) if head.ends_with("\r\n\r\n") => break,
                Ok(_) => {}
            }
        }
        let value = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.clone().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        let host = value("host").unwrap_or_default();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let close = value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        servers.saw(format!("{kind} {at} {host} {path} {}", if close { "close" } else { "keep" }));
        // As a server does that takes no bodies: it says so before it has read it, and is gone.
        if path == "/refuse" {
            let _ = stream.get_mut().write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\n\r\nrefused\n");
            return;
        }
        let body = value("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
        if std::io::copy(&mut (&mut stream).take(body), &mut std::io::sink()).is_err() {
            return;
        }
        if value("upgrade").is_some_and(|to| to == "websocket") {
            let _ = stream.get_mut().write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
            let mut said = [0; 5];
            let _ = stream.read_exact(&mut said).and_then(|()| stream.get_mut().write_all(&said));
            return;
        }
        if !respond(servers, stream.get_mut(), &host, &path, &head) || close {
            return;
        }
    }
}

fn respond(servers: &Servers, stream: &mut impl Write, host: &str, path: &str, head: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let send = |stream: &mut dyn Write, status: &str, kind: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).and_then(|()| stream.flush()).is_ok()
    };
    if let Some(count) = path.strip_prefix("/bytes/").and_then(|count| count.parse().ok()) {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n");
        return stream.write_all(head.as_bytes()).and_then(|()| pattern(count, stream)).is_ok();
    }
    if path == "/head" {
        return send(stream, "200 OK", "text/plain", head.as_bytes());
    }
    if let Some(name) = path.strip_prefix("/endless/") {
        let mut line = String::from("HTTP/1.1 200 OK\r\n");
        let mut sent = 0_u64;
        while stream.write_all(line.as_bytes()).is_ok() {
            sent += line.len() as u64;
            line.clear();
            let _ = write!(line, "X-{sent}: {}\r\n", "y".repeat(1000));
        }
        servers.saw(format!("endless {name} end {sent}"));
        return false;
    }
    let site = Path::new(TOP).join("files").join(host.split(':').next().unwrap_or_default());
    if host.is_empty() || path.contains("..") || !site.is_dir() {
        return send(stream, "200 OK", "text/plain", format!("hello from {host}\n").as_bytes());
    }
    let file = site.join(path.trim_start_matches('/'));
    let candidates: [PathBuf; 3] = [file.clone(), file.join("index.html"), file.join("index.json")];
    match candidates.iter().find(|path| path.is_file()) {
        Some(path) => {
            let kind = match path.extension().and_then(|extension| extension.to_str()) {
                Some("html") => "text/html",
                Some("json") => "application/json",
                _ => "application/octet-stream",
            };
            send(stream, "200 OK", kind, &std::fs::read(path).unwrap())
        }
        None => send(stream, "404 Not Found", "text/plain", b"no such file\n"),
    }
}

/// So many bytes, no 64 KiB of which are like another.
pub(crate) fn pattern(mut count: u64, to: &mut (impl Write + ?Sized)) -> std::io::Result<()> {
    let mut block: Vec<u8> = (0..65_536_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut number = 0_u64;
    while count > 0 {
        block[..8].copy_from_slice(&number.to_be_bytes());
        let len = count.min(block.len() as u64);
        to.write_all(&block[..len as usize])?;
        (count, number) = (count - len, number + 1);
    }
    to.flush()
}

fn tls_config() -> Arc<rustls::ServerConfig> {
    let names = ["web.test", "other.test", "*.wild.test"].map(String::from);
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    Arc::new(config.unwrap())
}

/// Nothing, or why there are none.
fn make_packages() -> String {
    let files = Path::new(TOP).join("files");
    let mut command = Command::new("python3");
    command.args(["-c", include_str!("packages.py")]).arg(&files).env("HOME", TOP);
    let output = command.output().unwrap();
    if output.status.success() { String::new() } else { String::from_utf8_lossy(&output.stderr).into_owned() }
}

/// RFC 1035. A question that has more addresses than fit over UDP is told to come again.
fn question(servers: &Servers, query: &[u8], at: SocketAddr) -> Option<Vec<u8>> {
    answer(servers, query, at, 512)
}

fn answer(servers: &Servers, query: &[u8], at: SocketAddr, most: usize) -> Option<Vec<u8>> {
    let mut end = 12;
    let mut labels = Vec::new();
    loop {
        let len = usize::from(*query.get(end)?);
        let label = query.get(end + 1..end + 1 + len)?;
        end += 1 + len;
        if len == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(label).to_lowercase());
    }
    let name = labels.join(".");
    let kind = u16::from_be_bytes(*query.get(end..end + 2)?.first_chunk()?);
    servers.saw(format!("dns {} {name} {kind}", at.ip()));
    // An alias of `NAME` is called `NAME.alias.test`.
    let real = name.strip_suffix(".alias.test");
    let found = servers.lookup(real.unwrap_or(&name), kind);
    let mut out = query.get(..end + 4)?.to_vec();
    out[2] = 0x81;
    out[3] = if found.is_some() { 0x80 } else { 0x83 };
    out[6..12].fill(0);
    let mut owner = 12;
    if real.is_some() && found.is_some() {
        // CNAME: the name without its last two labels, whose length stands before each, and the root.
        let target = [&query[12..end - "_alias_test_".len()], &[0]].concat();
        out.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 0, 0, target.len() as u8]);
        owner = out.len() as u8;
        out.extend_from_slice(&target);
        out[7] += 1;
    }
    for address in found.unwrap_or_default() {
        out.extend_from_slice(&[0xc0, owner]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 0]);
        match address {
            IpAddr::V4(address) => {
                out.extend_from_slice(&[0, 4]);
                out.extend_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                out.extend_from_slice(&[0, 16]);
                out.extend_from_slice(&address.octets());
            }
        }
        out[7] += 1;
    }
    if out.len() > most {
        out.truncate(end + 4);
        out[2] |= 2;
        out[7] = 0;
    }
    Some(out)
}

fn questions(servers: &Servers, mut stream: &TcpStream, at: SocketAddr) {
    let mut len = [0; 2];
    while stream.read_exact(&mut len).is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
        let Ok(()) = stream.read_exact(&mut query) else { return };
        let Some(answer) = answer(servers, &query, at, 65_535) else { return };
        let len = u16::try_from(answer.len()).unwrap();
        let _ = stream.write_all(&[&len.to_be_bytes()[..], &answer].concat());
    }
}
