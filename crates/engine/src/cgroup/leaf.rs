//! A group for one command with a time limit.
//!
//! The command enters it before it is executed, by a descriptor that was opened here: with it, whoever has taken over the
//! agent can only move processes of its own sandbox below its own sandbox's limits. When the time is up, everything in the
//! group is killed, whatever session it has moved to.

use super::{Groups, layout};
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// The group of one command. Dropping it removes the group, unless something that the command left behind is in it: then
/// it goes with the sandbox's.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) hierarchy: u8,
    pub(crate) name: String,
    path: PathBuf,
}

impl Leaf {
    /// Makes one below a sandbox's groups, with the descriptor by which it is entered. `None` where there is no hierarchy
    /// for it: the command's session is then all that its end reaches.
    pub(crate) fn make(groups: &Groups, group: &str, exec: u32) -> Option<(Self, OwnedFd)> {
        let (hierarchy, place) = groups.for_commands().filter(|_| !group.is_empty())?;
        let name = format!("e{exec}");
        let path = place.dir.join(group).join(&name);
        std::fs::create_dir(&path).ok()?;
        let leaf = Self { hierarchy, name, path };
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let procs = rustix::fs::open(leaf.path.join("cgroup.procs"), flags, Mode::empty()).ok()?;
        Some((leaf, procs))
    }

    /// Whether nothing runs in it.
    pub(crate) fn is_empty(&self) -> bool {
        // One that is gone, with its sandbox, is empty too.
        std::fs::read_to_string(self.path.join("cgroup.procs")).map_or(true, |text| text.trim().is_empty())
    }

    /// Removes the group if nothing is in it.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_dir(&self.path);
    }

    /// How many forks of it were refused.
    pub(crate) fn refused_forks(&self) -> Option<u64> {
        layout::refused_forks(&std::fs::read_to_string(self.path.join(layout::PIDS_EVENTS)).ok()?)
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        self.remove();
    }
}
