//! Removing groups whose launcher is gone. (A launcher that lives removes its own.)

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the kernel may take to let go of killed processes.
const GONE_WITHIN: Duration = Duration::from_secs(1);

/// Ends what is left in a group and those below it, and removes them. False if they are still there after a second.
pub(crate) fn clear(group: &Path) -> bool {
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        if remove(group) {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        kill(group);
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn below(group: &Path) -> impl Iterator<Item = std::fs::DirEntry> {
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
}

fn remove(group: &Path) -> bool {
    let gone = |group: &Path| match std::fs::remove_dir(group) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    gone(group) || {
        for entry in below(group) {
            remove(&entry.path());
        }
        gone(group)
    }
}

fn kill(group: &Path) {
    below(group).for_each(|entry| kill(&entry.path()));
    for pid in members(group) {
        // The number may have become another process's: a handle is opened first, and then the group looked at again.
        if let Some(pidfd) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            && members(group).contains(&pid)
        {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
}

fn members(group: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}
