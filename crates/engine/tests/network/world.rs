//! The world: a host with one link, and the internet behind it.
//!
//! ```text
//! HOST (this process)                          INTERNET (held by a child)
//!   lo    127.0.0.1  127.0.0.53 (resolver)       in  198.51.100.2  203.0.113.10 .11 .53  2001:db8::10
//!   out   198.51.100.1  2001:db8:1::1  ────────►     10.20.30.40 169.254.169.254 fd00:aa::10 …: never to be reached
//! ```
//!
//! The host has a packet filter of somebody else's that forwards nothing, and does not forward anyway.

use crate::ROLE;
use crate::servers::Servers;
use rustix::fd::AsFd as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where everything of the world is: a file system in memory, in a mount namespace of our own.
pub(crate) const TOP: &str = "/mnt";

/// With what a line of the servers' log begins if somebody came whom nobody was to let through.
pub(crate) const LEAK: &str = "LEAK";

/// No trial takes longer on a busy machine than half of this.
const WITHIN: Duration = Duration::from_secs(120);

/// On whose behalf an engine runs, and how its sandboxes get out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Root, by the gateway.
    Root,
    /// Root, by the proxy.
    RootProxy,
    /// A user with subordinate ids.
    Ids,
    /// A user without.
    NoIds,
}

impl Who {
    pub(crate) const ALL: [Self; 4] = [Self::Root, Self::RootProxy, Self::Ids, Self::NoIds];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Root => "A",
            Self::RootProxy => "A-proxy",
            Self::Ids => "B",
            Self::NoIds => "C",
        }
    }

    /// The letter of the rung.
    fn rung(self) -> &'static str {
        &self.name()[..1]
    }

    fn uid(self) -> u32 {
        match self {
            Self::Root | Self::RootProxy => 0,
            Self::Ids => 61_101,
            Self::NoIds => 61_102,
        }
    }

    fn cache(self) -> PathBuf {
        Path::new(TOP).join(format!("cache-{}", self.rung()))
    }

    fn home(self) -> PathBuf {
        Path::new(TOP).join(format!("home-{}", self.rung()))
    }
}

/// For whom a trial makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ways {
    All,
    Gateway,
    Proxy,
    Root,
    RootGateway,
}

impl Ways {
    pub(crate) fn has(self, who: Who) -> bool {
        match self {
            Self::All => true,
            Self::Gateway => who != Who::RootProxy,
            Self::Proxy => who == Who::RootProxy,
            Self::Root => who.uid() == 0,
            Self::RootGateway => who == Who::Root,
        }
    }
}

/// What the host is like for a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    /// With a resolver in the internet.
    Usual,
    LoopbackResolver,
    PrivateResolver,
    SixthResolver,
    /// With one that never answers.
    SilentResolver,
    /// Without any link, not even to itself.
    Alone,
}

impl Host {
    const RESOLVERS: [(Self, &'static str); 5] = [
        (Self::Usual, "203.0.113.53"),
        (Self::LoopbackResolver, "127.0.0.53"),
        (Self::PrivateResolver, "10.20.30.53"),
        (Self::SixthResolver, "2001:db8::53"),
        (Self::SilentResolver, "203.0.113.99"),
    ];

    /// Its `/etc/resolv.conf`.
    fn file(self) -> PathBuf {
        Path::new(TOP).join(format!("resolv-{self:?}"))
    }
}

/// Addresses of the internet that have servers.
const INTERNET: [&str; 18] = [
    "198.51.100.2/24",
    "203.0.113.10/32",
    "203.0.113.11/32",
    "203.0.113.53/32",
    "10.20.30.40/32",
    "10.20.30.53/32",
    "10.99.1.1/32",
    "10.99.2.1/32",
    "169.254.169.254/32",
    "100.64.9.9/32",
    "2001:db8:1::2/64",
    "2001:db8::10/128",
    "2001:db8::53/128",
    "fd00:aa::10/128",
    // 10.20.30.40 and the host's 198.51.100.1, as a translator and a tunnel would have them.
    "64:ff9b::a14:1e28/128",
    "64:ff9b::c633:6401/128",
    "2002:a14:1e28::1/128",
    "2002:c633:6401::1/128",
];

const HOST: [&str; 4] = ["198.51.100.1/24", "198.51.100.7/32", "192.168.77.1/32", "2001:db8:1::1/64"];

/// What this machine lacks for a world.
pub(crate) fn lack() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some(String::from("a network of its own needs root"));
    }
    let programs = ["unshare", "nsenter", "setpriv", "mount", "ip", "python3"];
    let missing: Vec<_> = programs.into_iter().filter(|program| !has(program)).collect();
    if !missing.is_empty() {
        return Some(format!("missing: {} (packages util-linux, iproute2, python3)", missing.join(", ")));
    }
    let script = "ip link add out type veth peer name in && ip -6 addr add 2001:db8::1/64 dev out";
    let tried = Command::new("unshare").args(["--net", "--mount", "--", "sh", "-c", script]).output().unwrap();
    (!tried.status.success()).then(|| format!("no network of its own: {}", String::from_utf8_lossy(&tried.stderr)))
}

pub(crate) fn has(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join(program).is_file())
}

/// Runs a program that must do it.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}: {error}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn mount(from: &Path, onto: &str) {
    run("mount", &["--bind", from.to_str().unwrap(), onto]);
}

/// A file of our own `/etc`, a link of the host's or not.
fn put(name: &str, content: &str) {
    let path = Path::new("/etc").join(name);
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, content).unwrap();
}

#[derive(Clone)]
pub(crate) struct World(Arc<Inner>);

struct Inner {
    /// Holds the namespace of the internet.
    _internet: Internet,
    /// Why there is no user with subordinate ids.
    no_ids: Option<String>,
}

/// The network namespace of the internet, as long as this is there.
pub(crate) struct Internet {
    child: Child,
    namespace: File,
}

impl Internet {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        // It ends with us, however we end: its input does.
        command.args(["--net", "sh", "-c", "echo; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
        let namespace = File::open(format!("/proc/{}/ns/net", child.id())).unwrap();
        Self { child, namespace }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Does something in there. A socket stays where it was made.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join().unwrap())
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl World {
    pub(crate) fn make() -> Self {
        run("mount", &["-t", "tmpfs", "-o", "mode=755", "none", TOP]);
        Self::etc();
        let no_ids = Self::users();
        Self::files();
        let internet = Internet::new();
        Self::links(&internet);
        Servers::start(&internet);
        Self(Arc::new(Inner { _internet: internet, no_ids }))
    }

    /// An `/etc` of our own: files of the host's are replaced now and then, which takes off what is mounted over them.
    fn etc() {
        let etc = format!("{TOP}/etc");
        run("cp", &["-a", "/etc", &etc]);
        mount(Path::new(&etc), "/etc");
        put("resolv.conf", "");
        put("hosts", "127.0.0.1 localhost\n203.0.113.10 listed.test\n10.20.30.40 secret.test\n");
        for (host, address) in Host::RESOLVERS {
            std::fs::write(host.file(), format!("nameserver {address}\n")).unwrap();
        }
        mount(&Host::Usual.file(), "/etc/resolv.conf");
    }

    /// Two users that the machine does not know; or why there is none with subordinate ids.
    fn users() -> Option<String> {
        std::fs::create_dir(Who::Root.home()).unwrap();
        let mut passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        for who in [Who::Ids, Who::NoIds] {
            let (uid, home) = (who.uid(), who.home());
            std::fs::create_dir(&home).unwrap();
            std::os::unix::fs::chown(&home, Some(uid), Some(uid)).unwrap();
            passwd += &format!("computesdk-{}:x:{uid}:{uid}::{}:/bin/sh\n", who.rung().to_lowercase(), home.display());
        }
        put("passwd", &passwd);
        for file in ["subuid", "subgid"] {
            put(file, "computesdk-b:1000000:65536\n");
        }
        (!has("newuidmap")).then(|| String::from("newuidmap is missing (package uidmap)"))
    }

    fn files() {
        // The image takes seconds to make: it is kept from run to run, for each user.
        for who in [Who::Root, Who::Ids, Who::NoIds] {
            let (kept, seen) = (format!("{}/network-{}", env!("CARGO_TARGET_TMPDIR"), who.rung()), who.cache());
            std::fs::create_dir_all(&kept).unwrap();
            std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o700)).unwrap();
            std::os::unix::fs::chown(&kept, Some(who.uid()), Some(who.uid())).unwrap();
            // Which rung it was is found out anew: one that failed once would be passed over until the next boot.
            for entry in std::fs::read_dir(&kept).unwrap().flatten() {
                if entry.file_name().to_string_lossy().starts_with("rung-") {
                    std::fs::remove_file(entry.path()).unwrap();
                }
            }
            std::fs::create_dir(&seen).unwrap();
            mount(Path::new(&kept), seen.to_str().unwrap());
        }
        // Users may not see where it was built.
        let program = Path::new(TOP).join("program");
        std::fs::write(&program, "").unwrap();
        mount(&std::env::current_exe().unwrap(), program.to_str().unwrap());
    }

    fn links(internet: &Internet) {
        let pid = internet.pid();
        let there = |arguments: &[&str]| run("nsenter", &[&["-t", &pid, "-n", "ip"], arguments].concat());
        let here = |arguments: &[&str]| run("ip", arguments);
        fn address<'a>(address: &'a str, device: &'a str) -> Vec<&'a str> {
            let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
            [&["address", "add", address, "dev", device], nodad].concat()
        }
        here(&["link", "add", "out", "type", "veth", "peer", "name", "in", "netns", &pid]);
        // An address that the kernel makes up would come a moment later.
        here(&["link", "set", "out", "addrgenmode", "none"]);
        for device in ["lo", "out"] {
            here(&["link", "set", device, "up"]);
        }
        for device in ["lo", "in"] {
            there(&["link", "set", device, "up"]);
        }
        for own in HOST {
            here(&address(own, "out"));
        }
        for other in INTERNET {
            there(&address(other, "in"));
        }
        here(&["route", "add", "default", "via", "198.51.100.2"]);
        here(&["-6", "route", "add", "default", "via", "2001:db8:1::2"]);
        // What a router says, and what the own table says.
        here(&["route", "add", "unreachable", "203.0.113.77"]);
        here(&["route", "add", "throw", "203.0.113.78"]);
        here(&["-6", "route", "add", "unreachable", "2001:db8::77"]);
        // Where nobody is at all: here routers would say so.
        there(&["route", "add", "blackhole", "203.0.113.66"]);
        there(&["-6", "route", "add", "blackhole", "2001:db8::66"]);
        if has("nft") {
            let rules = "add table inet foreign; add chain inet foreign forward \
                         { type filter hook forward priority 0; policy drop; }";
            run("nft", &[rules]);
        }
    }

    /// What the network of the host is like.
    pub(crate) fn host(&self) -> String {
        host()
    }

    /// Runs a trial in a process of its own.
    pub(crate) fn try_as(&self, who: Who, trial: &str, host: Host) -> Result<(), String> {
        if let (Who::Ids, Some(why)) = (who, &self.0.no_ids) {
            println!("skipped: {why}");
            return Ok(());
        }
        let mut words = Vec::new();
        match host {
            Host::Usual => {}
            Host::Alone => words.extend(["unshare", "--net", "--"].map(String::from)),
            _ => {
                words.extend(["unshare", "--mount", "--propagation", "private", "--", "sh", "-c"].map(String::from));
                words.push(format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", host.file().display()));
                words.push(String::from("sh"));
            }
        }
        words.extend(["setpriv", "--pdeathsig", "KILL"].map(String::from));
        if who.uid() != 0 {
            let uid = who.uid();
            words.extend([format!("--reuid={uid}"), format!("--regid={uid}"), String::from("--clear-groups")]);
        }
        words.extend(["--".into(), format!("{TOP}/program")]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env(ROLE, format!("trial {trial}"));
        if who.uid() != 0 {
            command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").env("HOME", who.home());
        }
        // What a killed one leaves goes with the world.
        command.current_dir("/").env_remove("COMPUTESDK_CGROUP").env("TMPDIR", who.home());
        command.env("COMPUTESDK_NETWORK_WHO", who.name()).env("COMPUTESDK_NETWORK_CACHE", who.cache());
        finish(&mut command)
    }
}

/// What the network of this namespace is like, without what changes by itself.
pub(crate) fn host() -> String {
    let mut text = String::new();
    for arguments in [&["-o", "link"][..], &["-o", "address"]] {
        text += &run("ip", arguments);
    }
    for version in ["-4", "-6"] {
        text += &run("ip", &[version, "route", "show", "table", "all"]);
        text += &run("ip", &[version, "rule"]);
    }
    if has("nft") {
        text += &run("nft", &["list", "ruleset"]);
    }
    for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/all/route_localnet"] {
        text += &format!("{setting} {}", std::fs::read_to_string(format!("/proc/sys/net/{setting}")).unwrap());
    }
    text
}

/// Waits for a trial, with its deadline. What it said is its failure.
fn finish(command: &mut Command) -> Result<(), String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = |from: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let lines = BufReader::new(from).lines().map_while(Result::ok);
            lines.collect::<Vec<_>>().join("\n")
        })
    };
    let said = [read(Box::new(stdout)), read(Box::new(stderr))];
    let deadline = Instant::now() + WITHIN;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let [stdout, stderr] = said.map(|said| said.join().unwrap());
    match status {
        Some(status) if status.success() => {
            stdout.lines().for_each(|line| println!("{line}"));
            Ok(())
        }
        Some(status) => Err(format!("{status}\n{stdout}\n{stderr}")),
        None => Err(format!("it hangs: not within {WITHIN:?}\n{stdout}\n{stderr}")),
    }
}
