//! Devices, resource limits and network settings of every sandbox.

/// Device nodes of the host that are bound into the sandbox's `/dev`, by name. All are stateless.
pub(crate) const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Symbolic links in `/dev`: name and target.
pub(crate) const DEVICE_LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    // The sandbox has a devpts instance of its own, mounted with `newinstance,ptmxmode=0666`.
    ("ptmx", "pts/ptmx"),
];

/// One resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    /// The number that `setrlimit` takes.
    pub(crate) resource: u32,
    /// The soft limit.
    pub(crate) soft: u64,
    /// The hard limit. It is never raised: a lower inherited one stays, as the host's root may lack `SYS_RESOURCE`.
    pub(crate) hard: u64,
}

/// No limit.
pub(crate) const UNLIMITED: u64 = libc::RLIM_INFINITY;

/// The size of core dumps, for a machine with this core pattern (`core(5)`).
///
/// A pattern that starts with `|` runs a program of the host on what crashed, as root and outside of every namespace,
/// whatever the limit is; only a limit of exactly 1 stops it (fs/coredump.c). One byte is also too little for a file. The
/// filters keep a program from changing it. Anywhere else, 0 says what is meant.
pub(crate) fn core_limit(pattern: &str) -> Limit {
    let bytes = u64::from(pattern.starts_with('|'));
    Limit { resource: libc::RLIMIT_CORE, soft: bytes, hard: bytes }
}

/// Limits of every sandbox process, before those that the caller asks for.
///
/// What a cgroup bounds (memory, processes, CPU) is not repeated here.
pub(crate) const LIMITS: &[Limit] = &[
    // The soft limit that programs expect: select(2) breaks above 1024, and some close every possible descriptor.
    Limit { resource: libc::RLIMIT_NOFILE, soft: 1024, hard: 524_288 },
    // Kernel memory that belongs to a user, not to a cgroup.
    Limit { resource: libc::RLIMIT_MEMLOCK, soft: 8 << 20, hard: 8 << 20 },
    Limit { resource: libc::RLIMIT_MSGQUEUE, soft: 819_200, hard: 819_200 },
    // No real-time scheduling: one busy loop would starve the host.
    Limit { resource: libc::RLIMIT_RTPRIO, soft: 0, hard: 0 },
    Limit { resource: libc::RLIMIT_NICE, soft: 0, hard: 0 },
    Limit { resource: libc::RLIMIT_STACK, soft: 8 << 20, hard: UNLIMITED },
];

/// Settings under `/proc/sys` of each sandbox's network namespace, written by the launcher before the sandbox runs.
pub(crate) const NETWORK_SETTINGS: &[(&str, &str)] = &[
    // The namespace is not owned by the sandbox's user namespace: without this nobody in it could listen on port 80.
    ("net/ipv4/ip_unprivileged_port_start", "0"),
    // Everybody may open the datagram ICMP sockets that `ping` uses where raw sockets are refused.
    ("net/ipv4/ping_group_range", "0 2147483647"),
];
