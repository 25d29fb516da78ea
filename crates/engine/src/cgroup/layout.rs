//! Names and formats of the files of a group, for both versions.
//!
//! Version 1: `Documentation/admin-guide/cgroup-v1/` of the kernel; version 2: `admin-guide/cgroup-v2.rst`.

use super::{Controller, Hierarchy, Version};
use crate::Limits;
use std::time::Duration;

/// Processes and threads of a sandbox that was given no limit: what keeps a fork bomb in one sandbox from taking the
/// machine's process table. Podman's default is 2048; builds on large machines come near to that.
pub(crate) const DEFAULT_PIDS: u64 = 4096;

/// The agent itself, which nobody asked for.
const OWN_PIDS: u64 = 1;

/// Length of a CPU period in microseconds: the kernel's default, and that of every container runtime.
const PERIOD: u64 = 100_000;

/// Shortest quota that the kernel takes, in microseconds (`min_cfs_quota_period`).
const SHORTEST_QUOTA: u64 = 1000;

/// What a sandbox used, and what was refused to it. `None` is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Most memory at a time, in bytes: of processes, of files in memory, and of the kernel on their behalf.
    pub(crate) peak_memory_bytes: Option<u64>,
    /// CPU time of everything in it.
    pub(crate) cpu_time: Option<Duration>,
    /// Processes that the kernel killed because memory ran out.
    pub(crate) oom_kills: Option<u64>,
    /// Processes and threads that could not be made because of the limit.
    pub(crate) refused_forks: Option<u64>,
}

/// A file that tells something.
pub(super) struct Source {
    version: Version,
    controller: Controller,
    pub(super) file: &'static str,
    /// Whether it tells of a limit that was met.
    pub(super) is_trouble: bool,
    pub(super) take: fn(&mut Account, &str),
}

const SOURCES: &[Source] = &[
    Source {
        version: Version::One,
        controller: Controller::Memory,
        file: "memory.max_usage_in_bytes",
        is_trouble: false,
        take: |account, text| account.peak_memory_bytes = number(text),
    },
    Source {
        version: Version::Two,
        controller: Controller::Memory,
        // Linux 5.19; before that the peak is not known.
        file: "memory.peak",
        is_trouble: false,
        take: |account, text| account.peak_memory_bytes = number(text),
    },
    Source {
        version: Version::One,
        controller: Controller::Memory,
        file: "memory.oom_control",
        is_trouble: true,
        take: |account, text| account.oom_kills = field(text, "oom_kill"),
    },
    Source {
        version: Version::Two,
        controller: Controller::Memory,
        file: "memory.events",
        is_trouble: true,
        take: |account, text| account.oom_kills = field(text, "oom_kill"),
    },
    Source {
        version: Version::One,
        controller: Controller::CpuAccounting,
        file: "cpuacct.usage",
        is_trouble: false,
        take: |account, text| account.cpu_time = number(text).map(Duration::from_nanos),
    },
    Source {
        version: Version::Two,
        controller: Controller::CpuAccounting,
        file: "cpu.stat",
        is_trouble: false,
        take: |account, text| account.cpu_time = field(text, "usage_usec").map(Duration::from_micros),
    },
    Source {
        version: Version::One,
        controller: Controller::Pids,
        file: PIDS_EVENTS,
        is_trouble: true,
        take: |account, text| account.refused_forks = refused_forks(text),
    },
    Source {
        version: Version::Two,
        controller: Controller::Pids,
        file: PIDS_EVENTS,
        is_trouble: true,
        take: |account, text| account.refused_forks = refused_forks(text),
    },
];

pub(super) const PIDS_EVENTS: &str = "pids.events";

/// How many forks were refused, from a `pids.events`.
pub(super) fn refused_forks(text: &str) -> Option<u64> {
    field(text, "max")
}

/// The files that tell something in this hierarchy.
pub(super) fn sources(hierarchy: &Hierarchy) -> impl Iterator<Item = &'static Source> {
    SOURCES
        .iter()
        .filter(|source| source.version == hierarchy.version && hierarchy.controllers.contains(&source.controller))
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The value of `name` in lines of `name value`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// One limit that was asked for.
pub(super) struct Wanted {
    /// As the user calls it.
    pub(super) option: &'static str,
    pub(super) controller: Controller,
    value: Value,
}

enum Value {
    Memory(u64),
    Pids(u64),
    /// Microseconds in each [`PERIOD`].
    Cpu(u64),
}

/// The limits that need a controller.
pub(super) fn limits(limits: &Limits) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    if let Some(bytes) = limits.memory_bytes {
        wanted.push(Wanted { option: "memory", controller: Controller::Memory, value: Value::Memory(bytes) });
    }
    if let Some(pids) = limits.pids {
        wanted.push(Wanted { option: "pids", controller: Controller::Pids, value: Value::Pids(pids) });
    }
    if let Some(cpus) = limits.cpus {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a sensible number")]
        let quota = ((cpus * PERIOD as f64).round() as u64).max(SHORTEST_QUOTA);
        wanted.push(Wanted { option: "cpu", controller: Controller::Cpu, value: Value::Cpu(quota) });
    }
    wanted
}

pub(super) fn default_pids() -> Wanted {
    Wanted { option: "pids", controller: Controller::Pids, value: Value::Pids(DEFAULT_PIDS) }
}

impl Wanted {
    /// Files and values, in the order in which they must be written; and whether the file may be missing.
    pub(super) fn writes(&self, version: Version) -> Vec<(&'static str, String, bool)> {
        match (version, &self.value) {
            // Swap counts in `memsw`, which must not be below the other one, and is missing where swap is not counted.
            (Version::One, Value::Memory(bytes)) => vec![
                ("memory.limit_in_bytes", bytes.to_string(), false),
                ("memory.memsw.limit_in_bytes", bytes.to_string(), true),
            ],
            (Version::Two, Value::Memory(bytes)) => {
                vec![("memory.max", bytes.to_string(), false), ("memory.swap.max", String::from("0"), true)]
            }
            (_, Value::Pids(pids)) => vec![("pids.max", pids.saturating_add(OWN_PIDS).to_string(), false)],
            (Version::One, Value::Cpu(quota)) => {
                vec![("cpu.cfs_period_us", PERIOD.to_string(), false), ("cpu.cfs_quota_us", quota.to_string(), false)]
            }
            (Version::Two, Value::Cpu(quota)) => vec![("cpu.max", format!("{quota} {PERIOD}"), false)],
        }
    }
}
