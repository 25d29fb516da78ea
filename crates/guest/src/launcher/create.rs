//! The launcher's half of making a sandbox.

use super::cgroup::Group;
use super::network::Taken;
use super::{Launcher, child, failure, kill, step, wait};
use crate::sys::{self, Forked};
use computesdk_guest_protocol::decode;
use computesdk_guest_protocol::launcher::{Create, Failure, Layer, Privilege};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::pipe::{PipeFlags, pipe_with};
use std::fmt::Write as _;

/// What a first process says when its root file system and its groups are in order. No [`Failure`] is one byte long.
pub(super) const PREPARED: &[u8] = b"p";

/// A sandbox whose first process is still preparing itself.
pub(super) struct Pending {
    pub(super) sandbox: u64,
    pub(super) pid: i32,
    /// What it says.
    pub(super) status: Status,
    /// The engine's end of the agent's socket.
    pub(super) agent: OwnedFd,
    pub(super) group: Group,
    /// Its network namespace, if that may be used again.
    pub(super) network: Option<Taken>,
    /// What comes with its outlet, for the engine.
    pub(super) hooks: Vec<OwnedFd>,
}

/// The pipe on which a first process says [`PREPARED`] and, at any time, why it failed. It ends when the process becomes the
/// agent.
pub(super) struct Status(pub(super) OwnedFd);

/// What was said.
pub(super) enum Said {
    Prepared,
    Failed(Failure),
    /// Nothing more: it is the agent now, or dead.
    Over,
}

impl Status {
    /// What is there to be read, which may be the end.
    pub(super) fn read(&self) -> Said {
        let mut bytes = [0; 4096];
        let said = match rustix::io::read(&self.0, &mut bytes) {
            Ok(count) => &bytes[..count],
            Err(_) => &[],
        };
        match said.strip_prefix(PREPARED) {
            _ if said.is_empty() => Said::Over,
            Some([]) => Said::Prepared,
            Some(rest) => Said::Failed(failure_of(rest)),
            None => Said::Failed(failure_of(said)),
        }
    }

    /// Of one that has ended: why, if it said so.
    pub(super) fn last_words(&self) -> Option<Failure> {
        loop {
            match self.read() {
                Said::Prepared => {}
                Said::Failed(failure) => return Some(failure),
                Said::Over => return None,
            }
        }
    }
}

fn failure_of(said: &[u8]) -> Failure {
    decode(said).unwrap_or_else(|_| failure("prepare the sandbox", Errno::IO))
}

/// What the child gets besides the request.
pub(super) struct Parts<'a> {
    pub(super) program: &'a OwnedFd,
    /// One detached mount per lower directory, in the order of the layers.
    pub(super) trees: &'a [OwnedFd],
    /// One byte when the ids are mapped, a second one when it is in its control groups.
    pub(super) go: &'a OwnedFd,
    pub(super) status: &'a OwnedFd,
    /// The agent's end of its socket.
    pub(super) socket: &'a OwnedFd,
    /// By which it enters its control groups.
    pub(super) doors: &'a [OwnedFd],
}

impl Launcher {
    /// Starts a sandbox's first process and maps its ids.
    pub(super) fn create(&mut self, create: &Create) -> Result<Pending, Failure> {
        let trees = open_layers(&create.layers)?;
        let (go_read, go_write) = step("make a pipe", pipe_with(PipeFlags::CLOEXEC))?;
        let (status_read, status_write) = step("make a pipe", pipe_with(PipeFlags::CLOEXEC))?;
        let (network, hooks) = self.network.take(create.outlet, &self.policy.sysctls)?;
        let (ours, theirs) = self.network.agent_sockets(network.as_ref())?;
        let mut group = self.groups.take(&create.hierarchies)?;
        let pid = match step("clone into new namespaces", sys::clone_into_namespaces()) {
            Ok(Forked::Child) => {
                drop((go_write, status_read, ours));
                let parts = Parts {
                    program: &self.agent,
                    trees: &trees,
                    go: &go_read,
                    status: &status_write,
                    socket: &theirs,
                    doors: &group.doors,
                };
                child::run(create, &self.policy, self.privilege, &parts)
            }
            Ok(Forked::Parent(pid)) => pid,
            Err(failure) => {
                self.groups.remove(&group);
                return Err(failure);
            }
        };
        if let Err(failure) = self.admit(create, pid, &group, &trees, &go_write) {
            kill(pid);
            wait(pid);
            self.groups.remove(&group);
            return Err(failure);
        }
        group.doors.clear();
        self.hierarchies.clone_from(&create.hierarchies);
        Ok(Pending { sandbox: create.sandbox, pid, status: Status(status_read), agent: ours, group, network, hooks })
    }

    /// Gives a new first process its ids and its groups. It builds its root file system while it is moved into them.
    fn admit(&self, create: &Create, pid: i32, group: &Group, trees: &[OwnedFd], go: &OwnedFd) -> Result<(), Failure> {
        let go_on = || step("let the sandbox go on", rustix::io::write(go, b"g").map(drop));
        map_ids(pid, create.ids)?;
        if create.idmapped {
            idmap(pid, trees)?;
        }
        go_on()?;
        self.groups.limit(group, &create.limits)?;
        self.groups.enter(group, pid)?;
        go_on()
    }
}

/// A detached copy of each lower directory's mount, opened here, where the host's paths mean something.
fn open_layers(layers: &[Layer]) -> Result<Vec<OwnedFd>, Failure> {
    let mut trees = Vec::new();
    for lower in layers.iter().flat_map(|layer| &layer.lowers) {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let name = String::from_utf8_lossy(lower);
        trees.push(step(format!("open the image layer {name}"), open_tree(CWD, &lower[..], flags))?);
    }
    Ok(trees)
}

/// Writes the id maps of a new user namespace (`user_namespaces(7)`).
fn map_ids(pid: i32, (first, count): (u32, u32)) -> Result<(), Failure> {
    for map in ["uid_map", "gid_map"] {
        let mut line = String::new();
        let _ = write!(line, "0 {first} {count}");
        write_proc(&format!("/proc/{pid}/{map}"), &line)?;
    }
    Ok(())
}

pub(super) fn write_proc(path: &str, content: &str) -> Result<(), Failure> {
    let what = || format!("write {content:?} to {path}");
    let file = step(what(), rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()))?;
    // One write: the kernel takes these files whole or not at all.
    match rustix::io::write(&file, content.as_bytes()) {
        Ok(n) if n == content.len() => Ok(()),
        Ok(_) => Err(failure(what(), Errno::IO)),
        Err(errno) => Err(failure(what(), errno)),
    }
}

fn idmap(pid: i32, trees: &[OwnedFd]) -> Result<(), Failure> {
    let path = format!("/proc/{pid}/ns/user");
    let userns = step(
        "open the sandbox's user namespace",
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()),
    )?;
    for tree in trees {
        step("idmap an image layer", sys::idmap_mount(tree, userns.as_fd()))?;
    }
    Ok(())
}

/// Whether the sandbox's group list may be set: not where one id is mapped and `setgroups` is denied.
pub(super) fn may_set_groups(privilege: Privilege) -> bool {
    privilege != Privilege::SingleId
}
