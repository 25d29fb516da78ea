//! The engine's journal, and what is done about engines that died.
//!
//! ```text
//! STATE/engines/ID/journal     locked (flock) as long as the engine lives; one line a fact, written before the thing is made
//! ```
//!
//! When everything goes down at once (`kill -9` of the engine), the launcher and the agents end by themselves: their
//! sockets end. The journal is the second line of defence: the next engine to start takes every journal whose lock is
//! free, ends the processes in it that still are what the journal says (same boot, same start time), and removes it.

use crate::{EngineError, cgroup};
use rustix::fs::FlockOperation;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fmt::Display;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// How the names of the engine's control groups begin.
const GROUP_PREFIX: &str = "computesdk-";

/// This engine's journal. Dropping it leaves it on disk; [`Journal::remove`] is the orderly end.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens a journal for a new engine.
    pub(crate) fn create(state_dir: &Path, boot_id: &str) -> Result<Self, EngineError> {
        let fail = |source| EngineError::Host { what: format!("make a journal in {}", state_dir.display()), source };
        let engines = state_dir.join("engines");
        match std::fs::DirBuilder::new().mode(0o700).create(&engines) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(fail(error)),
            _ => {}
        }
        // Whoever clears away after dead engines takes the same lock: none of them meets a journal without its own.
        let _starting = lock(&engines).map_err(fail)?;
        let dir = engines.join(crate::engine::random_name());
        std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(fail)?;
        let path = dir.join("journal");
        let file = File::options().create_new(true).append(true).open(&path).map_err(fail)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| fail(errno.into()))?;
        let journal = Self { dir, path, file };
        journal.write(format_args!("computesdk-journal 1\nboot {boot_id}\nengine {}", process(std::process::id())))?;
        Ok(journal)
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its directory, in which the engine may put what belongs to it.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the engine's control groups are called.
    pub(crate) fn group_name(&self) -> String {
        let name = self.dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        format!("{GROUP_PREFIX}{name}")
    }

    /// Notes that a control group is about to be made.
    pub(crate) fn will_make(&self, group: &Path) -> Result<(), EngineError> {
        self.write(format_args!("group {}", group.display()))
    }

    /// Notes that a sandbox is about to be made.
    pub(crate) fn will_create(&self, sandbox: u64) -> Result<(), EngineError> {
        self.write(format_args!("create {sandbox}"))
    }

    /// Notes a process that belongs to the engine.
    pub(crate) fn process(&self, pid: u32) -> Result<(), EngineError> {
        self.write(format_args!("process {}", process(pid)))
    }

    /// Notes that a sandbox is gone.
    pub(crate) fn ended(&self, sandbox: u64) {
        // A journal that cannot be written any more only means that the next engine looks for a process in vain.
        let _ = self.write(format_args!("ended {sandbox}"));
    }

    /// The orderly end: nothing is left.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_dir(&self.dir);
    }

    fn write(&self, line: impl Display) -> Result<(), EngineError> {
        // One write, so that lines of two threads never mix.
        (&self.file)
            .write_all(format!("{line}\n").as_bytes())
            .map_err(EngineError::host(format!("write the journal in {}", self.dir.display())))
    }
}

/// A process as a journal names it: its id, and when it started, because ids are used again.
fn process(pid: u32) -> String {
    format!("{pid} {}", start_time(pid).unwrap_or(0))
}

/// Clock ticks from boot to the start of a process: field 22 of `/proc/PID/stat` (`proc_pid_stat(5)`).
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Holds off every other engine that starts or clears away, until it is dropped.
fn lock(engines: &Path) -> std::io::Result<File> {
    let dir = File::open(engines)?;
    loop {
        match rustix::fs::flock(&dir, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(dir),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Clears away what dead engines left. Returns how many journals were removed.
pub(crate) fn reap(state_dir: &Path, boot_id: &str) -> usize {
    let engines = state_dir.join("engines");
    let Ok(entries) = std::fs::read_dir(&engines) else { return 0 };
    entries.flatten().filter(|entry| reap_one(&engines, &entry.path(), boot_id)).count()
}

/// Takes the lock of a dead engine's journal. `None` if the engine lives, or there is no more to do.
fn take_over(engines: &Path, dir: &Path) -> Option<File> {
    let _starting = lock(engines).ok()?;
    let Ok(file) = File::open(dir.join("journal")) else {
        // Made by an engine that died before it had a journal.
        let _ = std::fs::remove_dir(dir);
        return None;
    };
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(file)
}

fn reap_one(engines: &Path, dir: &Path, boot_id: &str) -> bool {
    let path = dir.join("journal");
    let Some(_file) = take_over(engines, dir) else { return false };
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    if text.lines().any(|line| line.strip_prefix("boot ") == Some(boot_id)) {
        for line in text.lines().filter_map(|line| line.strip_prefix("process ")) {
            if let Some((Ok(pid), Ok(started))) = line.split_once(' ').map(|(pid, at)| (pid.parse(), at.parse())) {
                end(pid, started);
            }
        }
    }
    let groups = text.lines().filter_map(|line| line.strip_prefix("group ")).map(Path::new);
    // Processes that the kernel has not let go of yet keep a group: the journal then stays, for the next engine.
    let mut gone = true;
    for group in groups.filter(|group| is_ours(group)) {
        gone &= cgroup::clear(group);
    }
    if !gone {
        return false;
    }
    tracing::debug!(dir = %dir.display(), "removing the journal of an engine that died");
    std::fs::remove_file(&path).is_ok() && std::fs::remove_dir(dir).is_ok()
}

/// Whether a journal's path can be a control group of an engine.
fn is_ours(group: &Path) -> bool {
    let plain = group.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    let named = group.file_name().is_some_and(|name| name.to_string_lossy().starts_with(GROUP_PREFIX));
    group.is_absolute() && plain && named
}

/// Ends a process if it is still the one that started then.
fn end(pid: u32, started: u64) {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    // The pidfd is opened first: from then on it means this very process, whatever the id is used for later.
    if let Ok(pidfd) = pidfd_open(id, PidfdFlags::empty())
        && started != 0
        && start_time(pid) == Some(started)
    {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_engines_processes_are_ended_and_a_live_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut theirs = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut ours = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let dead = Journal::create(dir.path(), "boot-1").unwrap();
        dead.process(theirs.id()).unwrap();
        let alive = Journal::create(dir.path(), "boot-1").unwrap();
        alive.process(ours.id()).unwrap();
        drop(dead);
        assert_eq!(reap(dir.path(), "boot-1"), 1);
        assert!(!theirs.wait().unwrap().success());
        assert!(ours.try_wait().unwrap().is_none());
        ours.kill().unwrap();
        ours.wait().unwrap();
        alive.remove();
        assert_eq!(std::fs::read_dir(dir.path().join("engines")).unwrap().count(), 0);
    }

    #[test]
    fn a_process_id_that_is_used_again_is_left_alone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        end(child.id(), start_time(child.id()).unwrap() + 1);
        assert!(child.try_wait().unwrap().is_none());
        end(child.id(), start_time(child.id()).unwrap());
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn processes_of_another_boot_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let dead = Journal::create(dir.path(), "boot-1").unwrap();
        dead.process(child.id()).unwrap();
        drop(dead);
        assert_eq!(reap(dir.path(), "boot-2"), 1);
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
