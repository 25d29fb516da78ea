//! What is left on the machine.
//!
//! This program makes itself the one that adopts orphans (`PR_SET_CHILD_SUBREAPER`), so that whatever a killed victim
//! leaves running is a descendant of this process, and another engine on the same machine is not taken for ours. Network
//! namespaces live in processes, descriptors and mounts alone: with no process and no mount left, none is.

use crate::support::{Place, eventually};
use rustix::process::WaitOptions;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub(crate) fn adopt() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
}

/// What was there before.
pub(crate) struct Before {
    mounts: BTreeSet<String>,
    cgroups: BTreeSet<PathBuf>,
    loops: BTreeSet<String>,
    cache: BTreeSet<PathBuf>,
}

impl Before {
    pub(crate) fn look() -> Self {
        Self { mounts: mounts(), cgroups: cgroups(), loops: loops(), cache: files_below(&Place::cache()) }
    }

    /// Everything that ran for us has ended by itself.
    pub(crate) fn nothing_runs(&self) {
        eventually("what a dead engine started ends by itself", || {
            // Adopted, ended, and not asked for by anybody.
            while matches!(rustix::process::wait(WaitOptions::NOHANG), Ok(Some(_))) {}
            none(descendants())
        });
    }

    /// And nothing lies around either.
    pub(crate) fn nothing_is_left(&self, place: &Place) {
        self.nothing_runs();
        eventually("nothing is left", || {
            none(mounts().difference(&self.mounts))?;
            // Another engine's, which has processes in it, is not ours: ours are gone.
            none(cgroups().difference(&self.cgroups).filter(|dir| !is_populated(dir)))?;
            none(loops().difference(&self.loops))?;
            none(files_below(&place.tmp()))?;
            let state = files_below(&place.state());
            none(state.iter().filter(|path| **path != place.state().join("engines")))?;
            none(files_below(&Place::cache()).difference(&self.cache))
        });
    }
}

fn none(left: impl IntoIterator<Item = impl std::fmt::Debug>) -> Result<(), String> {
    let left: Vec<_> = left.into_iter().collect();
    if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
}

/// Every process below this one: number and name.
pub(crate) fn descendants() -> Vec<(u32, String)> {
    let mut children: BTreeMap<u32, Vec<(u32, String)>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // proc_pid_stat(5): the name is in parentheses, the state and the parent follow.
        let Some((head, tail)) = stat.rsplit_once(')') else { continue };
        let name = head.split_once('(').map_or("", |(_, name)| name);
        let mut fields = tail.split_whitespace();
        let (Some(state), Some(parent)) = (fields.next(), fields.next().and_then(|parent| parent.parse().ok())) else {
            continue;
        };
        children.entry(parent).or_default().push((pid, format!("{name} {state}")));
    }
    let mut found = Vec::new();
    let mut look = vec![std::process::id()];
    while let Some(pid) = look.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            look.push(child.0);
            found.push(child);
        }
    }
    found
}

/// Mounts of the host's namespace, without the numbers that change by themselves.
fn mounts() -> BTreeSet<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned()).collect()
}

/// Directories of ours in any cgroup hierarchy.
fn cgroups() -> BTreeSet<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let roots = table.lines().filter_map(|line| {
        // proc_pid_mountinfo(5): the mount point is the fifth field; the type follows a lone dash.
        let (fields, rest) = line.split_once(" - ")?;
        rest.starts_with("cgroup").then(|| PathBuf::from(fields.split(' ').nth(4).unwrap_or_default()))
    });
    let mut found = BTreeSet::new();
    roots.for_each(|root| named_below(&root, &mut found));
    found
}

fn named_below(dir: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name().to_string_lossy().starts_with("computesdk") {
                found.insert(entry.path());
            }
            named_below(&entry.path(), found);
        }
    }
}

fn is_populated(dir: &Path) -> bool {
    // One that is gone meanwhile is not left.
    let Ok(processes) = std::fs::read_to_string(dir.join("cgroup.procs")) else { return !dir.is_dir() };
    let below = std::fs::read_dir(dir).into_iter().flatten().flatten();
    !processes.trim().is_empty()
        || below
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .any(|entry| is_populated(&entry.path()))
}

/// Loop devices and what is behind them.
fn loops() -> BTreeSet<String> {
    let devices = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    devices
        .filter_map(|entry| {
            let file = std::fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
            Some(format!("{} {file}", entry.file_name().to_string_lossy()))
        })
        .collect()
}

/// Files and directories below one, not deeper than two: what an image holds is its own matter.
fn files_below(dir: &Path) -> BTreeSet<PathBuf> {
    let list = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let top: Vec<PathBuf> = list(dir).collect();
    let below: Vec<PathBuf> = top.iter().flat_map(|path| list(path)).collect();
    top.into_iter().chain(below).collect()
}
