//! Network namespaces.
//!
//! A sandbox inherits the network namespace that the launcher is in when it clones, so the namespace belongs to the
//! *launcher's* user namespace: the sandbox's root has no power over it, and it can be made ahead. Making one is most
//! of what making a sandbox costs, so from the second sandbox on a spare is made while the launcher is idle.

use super::{create::write_proc, failure, step};
use crate::sys;
use computesdk_guest_protocol::launcher::Failure;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::UnshareFlags;

/// Whether the launcher is in a namespace that no sandbox has yet.
pub(super) struct Spare {
    fresh: bool,
    taken: u32,
    /// Making one ahead failed: not tried again before one is needed.
    failed: bool,
    /// Where settings are written, and how often that was used.
    settings: Option<OwnedFd>,
    settings_uses: u32,
}

impl Spare {
    /// Leaves the host's network for good, into a fresh namespace.
    pub(super) fn new() -> Result<Self, Failure> {
        let mut spare = Self { fresh: false, taken: 0, failed: false, settings: None, settings_uses: 0 };
        spare.make()?;
        Ok(spare)
    }

    /// The launcher's current namespace goes to the sandbox that is cloned next.
    pub(super) fn take(&mut self, sysctls: &[(String, String)]) -> Result<(), Failure> {
        if !self.fresh {
            self.make()?;
            self.apply(sysctls);
        }
        self.fresh = false;
        self.failed = false;
        self.taken += 1;
        Ok(())
    }

    /// Whether one should be made ahead. A process that needs one sandbox only does not pay for a second.
    pub(super) fn wants_refill(&self) -> bool {
        !self.fresh && self.taken > 1 && !self.failed
    }

    /// Makes one ahead.
    pub(super) fn refill(&mut self, sysctls: &[(String, String)]) {
        if !self.wants_refill() {
            return;
        }
        // One that cannot be made is told when it is needed.
        self.failed = self.make().is_err();
        if !self.failed {
            self.apply(sysctls);
        }
    }

    fn make(&mut self) -> Result<(), Failure> {
        step("make a network namespace", sys::unshare(UnshareFlags::NEWNET))?;
        let socket = step(
            "open a socket in the network namespace",
            socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None),
        )?;
        sys::bring_up(&socket, c"lo").map_err(|errno: Errno| failure("bring the loopback interface up", errno))?;
        self.fresh = true;
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
