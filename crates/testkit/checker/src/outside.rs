//! The part that runs on the host: plants what the checks look for, and says what there is to be found.
//!
//! It plants a file, a socket file, an abstract socket, TCP and UDP ports of its loopback and of every address, shared memory, semaphores, message queues of
//! both kinds, keys, and is itself the process to be found. When its input ends it looks for marks that checkers left,
//! says `leaked=PATH` for each that is on the host, and removes everything.

use crate::banner;
use crate::special::MARKED;
use crate::sys::{self, Page};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

/// Between two datagrams for whoever would take the host's address.
const INTERVAL: Duration = Duration::from_millis(50);
const NAMESPACES: [&str; 8] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];
const COMPARED: [&str; 14] = [
    "/",
    "/usr",
    "/etc",
    "/tmp",
    "/var",
    "/root",
    "/home",
    "/run",
    "/dev",
    "/dev/shm",
    "/dev/pts",
    "/dev/mqueue",
    "/proc",
    "/sys",
];

pub(crate) fn run() {
    let token = token();
    let name = format!("computesdk-canary-{token}");
    let mut facts = host();
    let mut add = |key: &str, value: String| facts.push((key.to_owned(), value));
    add("canary.token", token.clone());
    add("canary.name", name.clone());
    add("canary.pid", std::process::id().to_string());

    let file = format!("/var/tmp/{name}");
    if fs::write(&file, &token).is_ok() {
        add("canary.file", file.clone());
    }
    let socket = format!("{file}.socket");
    let listener = UnixListener::bind(&socket);
    if listener.is_ok() {
        add("canary.socket", socket.clone());
    }
    let abstract_listener =
        std::os::unix::net::SocketAddr::from_abstract_name(&name).and_then(|at| UnixListener::bind_addr(&at));
    if abstract_listener.is_ok() {
        add("canary.abstract", name.clone());
    }
    let tcp = TcpListener::bind("127.0.0.1:0");
    if let Some(port) = tcp.as_ref().ok().and_then(|tcp| tcp.local_addr().ok()).map(|at| at.port()) {
        add("canary.tcp", port.to_string());
        // As /proc/net/tcp writes it.
        add("canary.tcp_hex", format!("0100007F:{port:04X}"));
    }
    let udp = UdpSocket::bind("127.0.0.1:0");
    if let Some(port) = udp.as_ref().ok().and_then(|udp| udp.local_addr().ok()).map(|at| at.port()) {
        add("canary.udp", port.to_string());
    }
    let (any_tcp, any_udp) = (banner::tcp(0), banner::udp(0));
    if let Some(port) = any_tcp.as_ref().ok().and_then(|tcp| tcp.local_addr().ok()).map(|at| at.port()) {
        add("canary.any_tcp", port.to_string());
        add("canary.tcp6_hex", format!("{:032}:{port:04X}", 0));
    }
    if let Some(port) = any_udp.as_ref().ok().and_then(|udp| udp.local_addr().ok()).map(|at| at.port()) {
        add("canary.any_udp", port.to_string());
    }
    let own = addresses();
    add("host.addresses", own.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    // Free a moment ago, and nobody's now.
    let free = banner::udp(0).and_then(|udp| udp.local_addr()).and_then(|at| banner::tcp(at.port()).map(|_| at.port()));
    add("canary.beacon", free.as_ref().map(ToString::to_string).unwrap_or_default());
    let objects = Objects::make(&token, &name);
    add("canary.key", objects.key.to_string());

    let mut out = io::stdout();
    for (key, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(out, "{key}={}", value.replace('\n', " "));
    }
    let _ = writeln!(out, "ready=1");
    let _ = out.flush();
    if let Ok(udp) = udp {
        std::thread::spawn(move || {
            while let Ok((n, from)) = udp.recv_from(&mut [0; 16]) {
                let _ = udp.send_to(&[0; 16][..n], from);
            }
        });
    }
    let _ = any_tcp.map(|listener| banner::serve_tcp(listener, token.clone()));
    let _ = any_udp.map(|socket| banner::serve_udp(socket, token.clone()));
    let _ = free.map(|port| send_always(own, port));
    let _ = io::stdin().read_to_end(&mut Vec::new());

    for dir in MARKED {
        let mark = format!("{dir}/computesdk-mark-{token}");
        if fs::symlink_metadata(&mark).is_ok() {
            let _ = writeln!(out, "leaked={mark}");
            let _ = fs::remove_file(mark);
        }
    }
    let _ = fs::remove_file(socket);
    let _ = fs::remove_file(file);
    objects.remove();
}

/// Every address of this machine but the loopback's: `proc_net(5)`.
fn addresses() -> Vec<IpAddr> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let mut found: Vec<IpAddr> = Vec::new();
    let mut latest = "";
    let trie = read("/proc/net/fib_trie");
    for line in trie.lines().map(str::trim_start) {
        match line.strip_prefix("|-- ") {
            Some(address) => latest = address,
            None if line.starts_with("/32 host LOCAL") => found.extend(latest.parse::<Ipv4Addr>().map(IpAddr::from)),
            None => {}
        }
    }
    for line in read("/proc/net/if_inet6").lines() {
        let digits = line.split_whitespace().next().unwrap_or_default();
        found.extend(u128::from_str_radix(digits, 16).map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits))));
    }
    found.retain(|address| !address.is_loopback());
    found.sort_unstable();
    found.dedup();
    found
}

/// Sends to this port of these addresses, as long as this process lives.
fn send_always(own: Vec<IpAddr>, port: u16) {
    std::thread::spawn(move || {
        loop {
            for address in own.iter().map(|address| SocketAddr::new(*address, port)) {
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let _ = UdpSocket::bind(any).and_then(|udp| udp.send_to(b"beacon", address));
                let _ = TcpStream::connect_timeout(&address, INTERVAL);
            }
            std::thread::sleep(INTERVAL);
        }
    });
}

fn token() -> String {
    let page = Page::new();
    let _ = sys::native_call(libc::SYS_getrandom, &[page.0, 8, 0]);
    format!("{:016x}", u64::from_ne_bytes(page.bytes()))
}

/// What the host is called, and where its parts are.
fn host() -> Vec<(String, String)> {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let mut facts: Vec<(String, String)> = [
        ("name", "/proc/sys/kernel/hostname"),
        ("domain", "/proc/sys/kernel/domainname"),
        ("boot_id", "/proc/sys/kernel/random/boot_id"),
        ("core_pattern", "/proc/sys/kernel/core_pattern"),
        ("machine_id", "/etc/machine-id"),
        ("cmdline", "/proc/cmdline"),
        ("loginuid", "/proc/self/loginuid"),
    ]
    .map(|(name, path)| (format!("host.{name}"), read(path)))
    .into();
    for (key, value) in &mut facts {
        // What says nothing is no fact: no domain, no user who logged in.
        if value == "(none)" || value == "4294967295" || key == "host.name" && value == "localhost" {
            value.clear();
        }
    }
    // A word that stands for the host wherever it is found; a short name is part of others.
    let name = facts[0].1.clone();
    facts.push(("host.word".into(), if name.len() > 5 { name } else { String::new() }));
    let nameserver =
        read("/etc/resolv.conf").lines().find_map(|line| Some(line.strip_prefix("nameserver ")?.trim().to_owned()));
    facts.push(("host.nameserver".into(), nameserver.filter(|at| !at.starts_with("127.")).unwrap_or_default()));
    // Accounts of people: the usual range of login.defs(5).
    let passwd = read("/etc/passwd");
    let users: Vec<&str> = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|fields| fields.get(2).and_then(|id| id.parse().ok()).is_some_and(|id| (1000..60000).contains(&id)))
        .filter_map(|fields| fields.first().copied())
        // Every image has one of this name.
        .filter(|name| *name != "user")
        .collect();
    facts.push(("host.users".into(), users.join(",")));
    let home = std::env::var("HOME").unwrap_or_default();
    // `/root` is every root's home, and a short one would be part of everything.
    let home = if home.len() > 5 { home } else { String::new() };
    let directory = std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default();
    let told =
        [home.as_str(), directory.as_str()].into_iter().filter(|path| path.len() > 5).collect::<Vec<_>>().join(",");
    facts.push(("host.paths".into(), told));
    for name in NAMESPACES {
        let link = fs::read_link(format!("/proc/self/ns/{name}")).map(|link| link.display().to_string());
        facts.push((format!("ns.{name}"), link.unwrap_or_default()));
    }
    for path in COMPARED {
        let device = fs::metadata(Path::new(path)).map(|metadata| metadata.dev().to_string());
        facts.push((format!("fs.{path}"), device.unwrap_or_default()));
    }
    // Names of variables that are the caller's own: not those that every program has.
    let common = [
        "PATH", "HOME", "USER", "PWD", "TERM", "LANG", "LC_CTYPE", "SHELL", "LOGNAME", "SHLVL", "HOSTNAME", "OLDPWD",
        "_", "TZ",
    ];
    let names: Vec<String> = std::env::vars()
        .map(|(name, _)| name)
        .filter(|name| !common.contains(&name.as_str()) && !name.starts_with("LC_") && !name.contains(','))
        .collect();
    facts.push(("env".into(), names.join(",")));
    facts
}

/// Kernel objects with names of their own.
struct Objects {
    key: u64,
    shm: Option<u64>,
    sem: Option<u64>,
    msg: Option<u64>,
    name: Page,
    file: String,
    keys: Vec<(u64, i64)>,
}

impl Objects {
    fn make(token: &str, name: &str) -> Self {
        // A positive number of 31 bits that nobody else uses.
        let key = u64::from_str_radix(&token[..7], 16).unwrap_or(0) + 1;
        let mode = u64::from((libc::IPC_CREAT | libc::IPC_EXCL).cast_unsigned()) | 0o666;
        let file = format!("/dev/shm/{name}");
        let _ = fs::write(&file, token);
        let page = Page::with(name.as_bytes());
        let flags = u64::from((libc::O_CREAT | libc::O_RDWR).cast_unsigned());
        let _ = sys::native_call(libc::SYS_mq_open, &[page.0, flags, 0o666, 0]);
        // KEY_SPEC_SESSION_KEYRING and KEY_SPEC_USER_KEYRING.
        let kind = Page::with(b"user\0");
        let add = |ring: i64| {
            let added = sys::native_call(libc::SYS_add_key, &[kind.0, page.0, page.0, 8, ring.cast_unsigned()]);
            added.ok().map(|key| (key, ring))
        };
        Self {
            key,
            shm: sys::native_call(libc::SYS_shmget, &[key, 4096, mode]).ok(),
            sem: sys::native_call(libc::SYS_semget, &[key, 1, mode]).ok(),
            msg: sys::native_call(libc::SYS_msgget, &[key, mode]).ok(),
            name: page,
            file,
            keys: [-3, -4].into_iter().filter_map(add).collect(),
        }
    }

    fn remove(self) {
        // IPC_RMID is 0.
        let _ = self.shm.map(|id| sys::native_call(libc::SYS_shmctl, &[id, 0, 0]));
        let _ = self.sem.map(|id| sys::native_call(libc::SYS_semctl, &[id, 0, 0]));
        let _ = self.msg.map(|id| sys::native_call(libc::SYS_msgctl, &[id, 0, 0]));
        let _ = sys::native_call(libc::SYS_mq_unlink, &[self.name.0]);
        let _ = fs::remove_file(self.file);
        for (key, ring) in self.keys {
            // KEYCTL_UNLINK is 9.
            let _ = sys::native_call(libc::SYS_keyctl, &[9, key, ring.cast_unsigned()]);
        }
    }
}
