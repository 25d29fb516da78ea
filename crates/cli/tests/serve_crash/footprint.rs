//! What a server has on this machine: processes, networks, control groups, mounts.

use crate::common::PATIENCE;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A process, by what stays the same when its number is given to another.
pub(crate) type Process = (u32, u64);

pub(crate) fn stat(pid: u32) -> Option<(u32, char, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc_pid_stat(5): the name is in parentheses; state, parent and, nineteenth, the start follow.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(1)?.parse().ok()?, fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

/// What a server has on this machine, found from its process down.
pub(crate) struct Footprint {
    pub(crate) processes: BTreeSet<Process>,
    networks: BTreeSet<u64>,
    cgroups: BTreeSet<PathBuf>,
    mounts: BTreeSet<String>,
}

impl Footprint {
    pub(crate) fn of(server: u32) -> Self {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for pid in pids() {
            if let Some((parent, ..)) = stat(pid) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut found = BTreeSet::new();
        let mut look = vec![server];
        while let Some(pid) = look.pop() {
            for child in children.remove(&pid).unwrap_or_default() {
                look.push(child);
                found.extend(stat(child).map(|(_, _, start)| (child, start)));
            }
        }
        let own = network(std::process::id());
        let networks = found.iter().filter_map(|(pid, _)| network(*pid)).filter(|net| Some(*net) != own).collect();
        let cgroups = found.iter().flat_map(|(pid, _)| cgroups(*pid)).collect();
        Self { processes: found, networks, cgroups, mounts: mounts() }
    }

    /// What is still there of it.
    pub(crate) fn left(&self) -> Result<(), String> {
        let runs = |(pid, start): &&Process| stat(*pid).is_some_and(|(_, state, now)| now == *start && state != 'Z');
        let running: Vec<_> = self.processes.iter().filter(runs).collect();
        let in_use: BTreeSet<u64> = pids().into_iter().filter_map(network).collect();
        let networks: Vec<_> = self.networks.intersection(&in_use).collect();
        let cgroups: Vec<_> = self.cgroups.iter().filter(|dir| dir.is_dir()).collect();
        let mounts: Vec<_> =
            mounts().difference(&self.mounts).filter(|mount| mount.contains("computesdk")).cloned().collect();
        if running.is_empty() && networks.is_empty() && cgroups.is_empty() && mounts.is_empty() {
            return Ok(());
        }
        Err(format!("processes {running:?}, networks {networks:?}, control groups {cgroups:?}, mounts {mounts:?}"))
    }

    #[track_caller]
    pub(crate) fn nothing_is_left(&self) {
        let mut why = String::new();
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match self.left() {
                Ok(()) => return,
                Err(left) => why = left,
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("not within {PATIENCE:?}: nothing is left: {why}");
    }
}

pub(crate) fn pids() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

pub(crate) fn network(pid: u32) -> Option<u64> {
    std::fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|namespace| namespace.ino())
}

pub(crate) fn mounts() -> BTreeSet<String> {
    std::fs::read_to_string("/proc/self/mountinfo").expect("mounts").lines().map(str::to_owned).collect()
}

/// The groups of a process that are not those of the test.
pub(crate) fn cgroups(pid: u32) -> Vec<PathBuf> {
    let read = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let own = read("self");
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let roots: Vec<&str> = table
        .lines()
        .filter_map(|line| {
            // proc_pid_mountinfo(5): the mount point is the fifth field; the type follows a lone dash.
            let (fields, rest) = line.split_once(" - ")?;
            if rest.starts_with("cgroup") { fields.split(' ').nth(4) } else { None }
        })
        .collect();
    let others = read(&pid.to_string());
    let others = others.lines().filter(|line| !own.lines().any(|known| known == *line));
    let paths = others.filter_map(|line| line.splitn(3, ':').nth(2)).filter(|path| path.contains("computesdk"));
    paths.flat_map(|path| roots.iter().map(move |root| PathBuf::from(format!("{root}{path}")))).collect()
}
