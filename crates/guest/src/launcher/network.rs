//! Network namespaces.
//!
//! A sandbox inherits the network namespace that the launcher is in when it clones, so the namespace belongs to the
//! *launcher's* user namespace: the sandbox's root has no power over it, and it can be made ahead. Making one is most
//! of what making a sandbox costs, so from the second sandbox on a spare is made while the launcher is idle.

use super::{create::write_proc, failure, step};
use crate::sys;
use computesdk_guest_protocol::launcher::Failure;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::UnshareFlags;

/// Whether the launcher is in a namespace that no sandbox has yet.
pub(super) struct Spare {
    fresh: bool,
    taken: u32,
    /// Making one ahead failed: not tried again before one is needed.
    failed: bool,
}

impl Spare {
    /// Leaves the host's network for good, into a fresh namespace.
    pub(super) fn new() -> Result<Self, Failure> {
        let mut spare = Self { fresh: false, taken: 0, failed: false };
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
    pub(super) fn apply(&self, sysctls: &[(String, String)]) {
        for (name, value) in sysctls {
            let _ = write_proc(&format!("/proc/sys/{name}"), value);
        }
    }
}
