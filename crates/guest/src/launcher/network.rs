//! Network namespaces.
//!
//! A sandbox inherits the network namespace that the launcher is in when it clones, so the namespace belongs to the
//! *launcher's* user namespace: the sandbox's root has no power over it, and it can be made ahead. Making one is most
//! of what making a sandbox costs, so from the second sandbox on a spare is made while the launcher is idle.
//!
//! A sandbox that never used its network leaves the namespace as it got it: it may not change its settings, and not one packet
//! was sent. Such a namespace is given to another sandbox. Whether it is so is not believed but compared: what the kernel counts
//! in it must be, to the last digit, what it counted when it was made. Its sockets towards the engine are made anew all the same.

use super::{create::write_proc, failure, outlet, step};
use crate::sys;
use computesdk_guest_protocol::launcher::Failure;
use computesdk_guest_protocol::outlet::Outlet;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, socketpair};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Namespaces of ended sandboxes that are kept at most.
const KEPT: usize = 8;

/// What tells whether a namespace was ever used (`proc_pid_net(5)`): packets of its interface, what its protocols counted,
/// refusals included, and its sockets, those included that nobody has any more.
const COUNTS: [&str; 6] = ["dev", "sockstat", "sockstat6", "snmp", "snmp6", "netstat"];

/// The namespace that the launcher is in, and those that can be used again.
pub(super) struct Networks {
    /// Whether no sandbox has it yet.
    fresh: bool,
    /// What it was made to be.
    kind: Kind,
    /// What the next sandbox will most likely need.
    likely: Outlet,
    /// The sockets towards the engine of a namespace that was made ahead.
    hooks: Option<(Outlet, Vec<OwnedFd>)>,
    taken: u32,
    /// Making one ahead failed: not tried again before one is needed.
    failed: bool,
    /// Left by sandboxes that have ended, the latest last.
    left: Vec<Left>,
    /// The counts of one that nobody has used, of each kind.
    unused: HashMap<Kind, Vec<Vec<u8>>>,
    /// One that no sandbox ever has, for the sockets between agents and engine: the engine may keep its end when a sandbox is
    /// gone, and a socket keeps its namespace in use.
    home: Option<OwnedFd>,
    /// Where settings are written, and how often that was used.
    settings: Option<OwnedFd>,
    settings_uses: u32,
}

/// What is set up in a namespace ahead of any sandbox. A proxy needs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Closed,
    Gateway { ipv6: bool },
}

impl Kind {
    fn of(outlet: Outlet) -> Self {
        match outlet {
            Outlet::Closed | Outlet::Proxy => Self::Closed,
            Outlet::Gateway { ipv6 } => Self::Gateway { ipv6 },
        }
    }

    fn set_up(self) -> Result<(), Failure> {
        match self {
            Self::Closed => Ok(()),
            Self::Gateway { ipv6 } => outlet::prepare(Outlet::Gateway { ipv6 }),
        }
    }
}

/// What a sandbox has left.
struct Left {
    taken: Taken,
    since: Instant,
}

/// How long the engine may take to let go of a namespace: it closes its sockets when it has heard that the sandbox has ended.
const LET_GO_WITHIN: Duration = Duration::from_millis(250);

/// A namespace that was taken: it can be given back when its sandbox has ended, if it may be used again.
pub(super) struct Taken {
    namespace: OwnedFd,
    kind: Kind,
}

impl Networks {
    /// Leaves the host's network for good, into a fresh namespace.
    pub(super) fn new() -> Result<Self, Failure> {
        let mut networks = Self {
            fresh: false,
            kind: Kind::Closed,
            likely: Outlet::Closed,
            hooks: None,
            taken: 0,
            failed: false,
            left: Vec::new(),
            unused: HashMap::new(),
            home: None,
            settings: None,
            settings_uses: 0,
        };
        networks.unshare()?;
        Ok(networks)
    }

    /// Tries an outlet, and makes the current namespace, which is fresh, one with it.
    pub(super) fn expect(&mut self, outlet: Outlet, sysctls: &[(String, String)]) -> Result<(), Failure> {
        let kind = Kind::of(outlet);
        match self.become_kind(kind).and_then(|()| outlet::hooks(outlet)) {
            Ok(hooks) => {
                self.likely = outlet;
                self.hooks = Some((outlet, hooks));
                Ok(())
            }
            Err(failure) => {
                // Half of it may be there.
                self.make(Kind::Closed, sysctls)?;
                Err(failure)
            }
        }
    }

    /// The launcher's current namespace goes to the sandbox that is cloned next; to be given back when that has ended. With the
    /// descriptors that come with its outlet.
    pub(super) fn take(
        &mut self,
        outlet: Outlet,
        sysctls: &[(String, String)],
    ) -> Result<(Option<Taken>, Vec<OwnedFd>), Failure> {
        let kind = Kind::of(outlet);
        if self.fresh && self.kind != kind && self.kind == Kind::Closed {
            self.become_kind(kind)?;
        } else if !self.fresh || self.kind != kind {
            self.make(kind, sysctls)?;
        }
        self.likely = outlet;
        self.failed = false;
        self.taken += 1;
        // Whoever has one sandbox only needs no second namespace.
        let taken = if self.taken > 1 { self.current_with_home(kind, sysctls).ok() } else { None };
        let hooks = match self.hooks.take() {
            Some((made_for, hooks)) if made_for == outlet => hooks,
            _ => outlet::hooks(outlet)?,
        };
        self.fresh = false;
        Ok((taken, hooks))
    }

    /// The current namespace, if there is one of the launcher's own besides it.
    fn current_with_home(&mut self, kind: Kind, sysctls: &[(String, String)]) -> Result<Taken, Failure> {
        if self.home.is_none() {
            // This one stays; the sandbox gets the next.
            self.home = Some(current()?);
            self.make(kind, sysctls)?;
        }
        Ok(Taken { namespace: current()?, kind })
    }

    /// Gives the sandbox with this first process, which has no way out, this one.
    pub(super) fn open(&mut self, pid: i32, outlet: Outlet) -> Result<Vec<OwnedFd>, Failure> {
        let back = current()?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(format!("/proc/{pid}/ns/net"), flags, Mode::empty());
        let namespace = step("open the sandbox's network namespace", opened)?;
        step("enter the sandbox's network namespace", enter(&namespace))?;
        let hooks = Kind::of(outlet).set_up().and_then(|()| outlet::hooks(outlet));
        step("leave the sandbox's network namespace", enter(&back))?;
        hooks
    }

    /// The two ends of an agent's socket. `current` is the namespace that the launcher is in.
    pub(super) fn agent_sockets(&mut self, taken: Option<&Taken>) -> Result<(OwnedFd, OwnedFd), Failure> {
        let pair = || socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let made = match (&self.home, taken) {
            (Some(home), Some(taken)) => {
                step("enter the launcher's own network namespace", enter(home))?;
                let made = pair();
                step("enter the sandbox's network namespace", enter(&taken.namespace))?;
                made
            }
            _ => pair(),
        };
        step("make the agent's socket", made)
    }

    /// Takes back the namespace of a sandbox of which nothing runs any more.
    pub(super) fn give_back(&mut self, taken: Option<Taken>) {
        if self.left.len() < KEPT {
            self.left.extend(taken.map(|taken| Left { taken, since: Instant::now() }));
        }
    }

    /// Whether one should be made ahead. A process that needs one sandbox only does not pay for a second.
    pub(super) fn wants_refill(&self) -> bool {
        !self.fresh && self.taken > 1 && !self.failed
    }

    /// Makes one ahead.
    pub(super) fn refill(&mut self, sysctls: &[(String, String)]) {
        if self.wants_refill() {
            let made = self.make(Kind::of(self.likely), sysctls).and_then(|()| outlet::hooks(self.likely));
            // One that cannot be made is told when it is needed.
            self.failed = made.is_err();
            self.hooks = made.ok().map(|hooks| (self.likely, hooks));
        }
    }

    /// Moves into a namespace of this kind that nobody has used.
    fn make(&mut self, kind: Kind, sysctls: &[(String, String)]) -> Result<(), Failure> {
        // Its sockets are another namespace's from now on.
        self.hooks = None;
        let mut index = 0;
        // Oldest first: the latest may not be let go of yet.
        while let Some(left) = self.left.get(index) {
            let unused = self.unused.get(&kind);
            if left.taken.kind != kind {
                index += 1;
            } else if enter(&left.taken.namespace).is_ok() && unused.is_some() && counts(false).ok().as_ref() == unused
            {
                self.left.remove(index);
                (self.fresh, self.kind) = (true, kind);
                return Ok(());
            } else if left.since.elapsed() < LET_GO_WITHIN {
                index += 1;
            } else {
                self.left.remove(index);
            }
        }
        self.unshare()?;
        self.apply(sysctls);
        self.become_kind(kind)?;
        if !self.unused.contains_key(&kind)
            && let Ok(counts) = counts(true)
        {
            self.unused.insert(kind, counts);
        }
        Ok(())
    }

    /// Makes the current namespace, which has just been made, one of this kind.
    fn become_kind(&mut self, kind: Kind) -> Result<(), Failure> {
        if self.kind != kind {
            // Until all of it is there, it is nobody's.
            self.fresh = false;
            kind.set_up()?;
            (self.fresh, self.kind) = (true, kind);
        }
        Ok(())
    }

    fn unshare(&mut self) -> Result<(), Failure> {
        self.fresh = false;
        step("make a network namespace", sys::unshare(UnshareFlags::NEWNET))?;
        let socket = step(
            "open a socket in the network namespace",
            socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None),
        )?;
        sys::bring_up(&socket, c"lo").map_err(|errno: Errno| failure("bring the loopback interface up", errno))?;
        (self.fresh, self.kind) = (true, Kind::Closed);
        Ok(())
    }

    /// Applies the policy's settings. They only open things up (low ports, ping), so one that is refused is left.
    pub(super) fn apply(&mut self, sysctls: &[(String, String)]) {
        if self.settings_uses == 0 {
            self.settings = fresh_proc().ok();
        }
        self.settings_uses = (self.settings_uses + 1) % USES;
        for (name, value) in sysctls {
            let written = match &self.settings {
                Some(proc) => write_at(proc, &format!("sys/{name}"), value),
                None => Err(Errno::NOENT),
            };
            if written.is_err() {
                let _ = write_proc(&format!("/proc/sys/{name}"), value);
            }
        }
    }
}

/// How many namespaces are set up through one instance of `/proc`.
const USES: u32 = 32;

fn current() -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    step("open the network namespace", rustix::fs::open("/proc/self/ns/net", flags, Mode::empty()))
}

fn enter(namespace: &OwnedFd) -> Result<(), Errno> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
}

/// What stands in [`COUNTS`] for the current namespace; `is_new` if it was just made.
fn counts(is_new: bool) -> Result<Vec<Vec<u8>>, Errno> {
    let read = |name: &&str| {
        let content = std::fs::read(format!("/proc/self/net/{name}"))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(if name.starts_with("sockstat") { own_sockets(&content, is_new) } else { content })
    };
    COUNTS.iter().map(read).collect()
}

/// The numbers of a `sockstat` that are this namespace's: sockets that are used, and those that wait for their end. The others,
/// such as memory, are the machine's.
fn own_sockets(content: &[u8], is_new: bool) -> Vec<u8> {
    let mut own = Vec::new();
    let mut words = content.split(u8::is_ascii_whitespace);
    while let Some(word) = words.next() {
        let value = match word {
            b"inuse" | b"tw" => words.next().unwrap_or_default(),
            // The socket that set the namespace up is let go of a moment later.
            b"used" if is_new => b"0",
            b"used" => words.next().unwrap_or_default(),
            _ => continue,
        };
        own.extend_from_slice(value);
        own.push(b' ');
    }
    own
}

/// An instance of `/proc` that is mounted nowhere. The kernel keeps an entry for each network namespace that was looked at
/// below one and the same `sys/net`, and walks through all of them each time: in the host's `/proc` that is a walk over
/// every sandbox, live or not yet forgotten.
fn fresh_proc() -> Result<OwnedFd, Errno> {
    let fs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&fs)?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

fn write_at(dir: &OwnedFd, path: &str, content: &str) -> Result<(), Errno> {
    let file = rustix::fs::openat(dir, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    // One write: the kernel takes these files whole or not at all.
    rustix::io::write(&file, content.as_bytes()).map(drop)
}
