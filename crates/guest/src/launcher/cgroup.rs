//! Control groups of the sandboxes (`cgroups(7)`).
//!
//! ```text
//! …/computesdk-ENGINE/     one in each hierarchy; made by the engine, removed here when the launcher ends
//!   └ sN/                  one for each sandbox: its limits and its accounts; made ahead when there is time
//!       └ eN/              one for a command with a time limit; made by the engine, removed with the sandbox's
//! ```
//!
//! What the files are called and what their content means is the engine's business: here directories are made, values
//! written, processes moved, and text read. A group is removed only after every process of its sandbox is reaped.

use super::{failure, step};
use computesdk_guest_protocol::Bytes;
use computesdk_guest_protocol::launcher::{Failure, GroupFile, GroupLimit};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a group may stay busy after its last process was reaped: the kernel lets go of it a moment later.
const FREED_WITHIN: Duration = Duration::from_secs(2);

/// How often a busy group is tried again while there is nothing else to do; then only at the launcher's end.
const TRIES: u32 = 500;

/// The groups of all sandboxes.
pub(super) struct Groups {
    /// The engine's own group in each hierarchy.
    dirs: Vec<PathBuf>,
    readings: Vec<GroupFile>,
    next: u64,
    /// One that no sandbox has yet.
    spare: Option<Group>,
    taken: u32,
    /// Making one ahead failed: not tried again before one is needed.
    failed: bool,
    /// Groups that were still busy when they should have gone, and how often that was tried again.
    busy: Vec<PathBuf>,
    tries: u32,
}

/// The groups of one sandbox: the same name in some hierarchies.
#[derive(Default)]
pub(super) struct Group {
    pub(super) name: String,
    hierarchies: Vec<u8>,
}

impl Groups {
    pub(super) fn new(dirs: Vec<Bytes>, readings: Vec<GroupFile>) -> Self {
        let dirs = dirs.into_iter().map(|dir| PathBuf::from(OsString::from_vec(dir))).collect();
        Self { dirs, readings, next: 0, spare: None, taken: 0, failed: false, busy: Vec::new(), tries: 0 }
    }

    /// Groups for the next sandbox, in these hierarchies.
    pub(super) fn take(&mut self, hierarchies: &[u8]) -> Result<Group, Failure> {
        self.taken += 1;
        self.failed = false;
        match self.spare.take() {
            Some(spare) if spare.hierarchies == hierarchies => Ok(spare),
            other => {
                self.spare = other;
                self.make(hierarchies)
            }
        }
    }

    /// Whether groups should be made ahead, or removed. A process that needs one sandbox only does not pay for a second.
    pub(super) fn wants_refill(&self, hierarchies: &[u8]) -> bool {
        let wants_spare = self.spare.is_none() && self.taken > 1 && !hierarchies.is_empty() && !self.failed;
        wants_spare || (!self.busy.is_empty() && self.tries < TRIES)
    }

    /// Makes groups ahead, and removes those that were busy.
    pub(super) fn refill(&mut self, hierarchies: &[u8]) {
        if self.spare.is_none() && self.wants_refill(hierarchies) {
            // What cannot be made is told when it is needed.
            self.spare = self.make(hierarchies).ok();
            self.failed = self.spare.is_none();
        }
        self.remove_busy();
    }

    fn make(&mut self, hierarchies: &[u8]) -> Result<Group, Failure> {
        self.next += 1;
        let mut group = Group { name: format!("s{}", self.next), hierarchies: Vec::new() };
        for &hierarchy in hierarchies {
            let made = self.dir(hierarchy).and_then(|dir| {
                let path = dir.join(&group.name);
                step(format!("make the control group {}", path.display()), rustix::fs::mkdir(&path, Mode::from(0o755)))
            });
            if let Err(failure) = made {
                self.remove(&group);
                return Err(failure);
            }
            group.hierarchies.push(hierarchy);
        }
        Ok(group)
    }

    fn dir(&self, hierarchy: u8) -> Result<&Path, Failure> {
        let dir = self.dirs.get(usize::from(hierarchy)).map(PathBuf::as_path);
        dir.ok_or_else(|| failure(format!("find the control group hierarchy {hierarchy}"), Errno::INVAL))
    }

    fn path(&self, group: &Group, hierarchy: u8) -> Option<PathBuf> {
        let is_in = group.hierarchies.contains(&hierarchy);
        self.dirs.get(usize::from(hierarchy)).filter(|_| is_in).map(|dir| dir.join(&group.name))
    }

    /// Moves a process into all of its groups.
    pub(super) fn enter(&self, group: &Group, pid: i32) -> Result<(), Failure> {
        for &hierarchy in &group.hierarchies {
            let Some(path) = self.path(group, hierarchy) else { continue };
            let path = path.join("cgroup.procs");
            step(format!("move the sandbox into {}", path.display()), write(&path, &pid.to_string()))?;
        }
        Ok(())
    }

    /// Writes limits, in their order.
    pub(super) fn limit(&self, group: &Group, limits: &[GroupLimit]) -> Result<(), Failure> {
        for limit in limits {
            let what = || format!("set {} to {}", limit.file.name, limit.value);
            let Some(path) = self.path(group, limit.file.hierarchy) else { return Err(failure(what(), Errno::NOENT)) };
            match write(&path.join(&limit.file.name), &limit.value) {
                Err(Errno::NOENT) if limit.may_be_missing => {}
                result => step(what(), result)?,
            }
        }
        Ok(())
    }

    /// What stands in the files that the engine wants to know, at the end of a sandbox.
    pub(super) fn read(&self, group: &Group) -> Vec<Option<String>> {
        let read = |file: &GroupFile| {
            let path = self.path(group, file.hierarchy)?.join(&file.name);
            std::fs::read_to_string(path).ok()
        };
        self.readings.iter().map(read).collect()
    }

    /// Removes a sandbox's groups, whose processes are all reaped.
    pub(super) fn remove(&mut self, group: &Group) {
        for &hierarchy in &group.hierarchies {
            let Some(path) = self.path(group, hierarchy) else { continue };
            if !remove_tree(&path) {
                self.busy.push(path);
                self.tries = 0;
            }
        }
    }

    fn remove_busy(&mut self) {
        self.tries += 1;
        self.busy.retain(|path| !remove_tree(path));
    }

    /// Removes everything, the engine's own groups included; false if something is still busy.
    pub(super) fn remove_all(&mut self) -> bool {
        if let Some(spare) = self.spare.take() {
            self.remove(&spare);
        }
        let deadline = Instant::now() + FREED_WITHIN;
        loop {
            self.remove_busy();
            if self.busy.is_empty() || Instant::now() > deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.dirs.iter().fold(true, |gone, dir| remove_tree(dir) && gone)
    }

    /// Kills what is in a group below one of a sandbox's.
    pub(super) fn kill(&self, group: &Group, hierarchy: u8, name: &str) {
        if name.is_empty() || name.contains('/') {
            return;
        }
        let Some(path) = self.path(group, hierarchy).map(|path| path.join(name)) else { return };
        // Linux 5.14, version 2: all at once.
        if write(&path.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        // Version 1: nothing in it can fork any more, so one pass reaches everything that is not just being forked.
        let _ = write(&path.join("pids.max"), "0");
        let targets: Vec<_> = members(&path)
            .into_iter()
            .filter_map(|pid| Some((pid, pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?)))
            .collect();
        // A number may have become another process's between the two: only what is in the group *after* the handle was
        // opened is signalled.
        let still = members(&path);
        for (_, pidfd) in targets.iter().filter(|(pid, _)| still.contains(pid)) {
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }
}

fn members(group: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Removes a group and those in it; false if it is busy.
fn remove_tree(path: &Path) -> bool {
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => return true,
        Err(_) => {}
    }
    if let Ok(entries) = std::fs::read_dir(path) {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove_tree(&entry.path());
        }
    }
    matches!(rustix::fs::rmdir(path), Ok(()) | Err(Errno::NOENT))
}

fn write(path: &Path, content: &str) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    // One write: the kernel takes these files whole or not at all.
    rustix::io::write(&file, content.as_bytes()).map(drop)
}
