//! Which parts of `/proc` a sandbox does not see, or sees read-only.
//!
//! `/proc` is a fresh one of the sandbox's process namespace, but these files speak of the whole machine. The lists
//! are those of the OCI runtimes (`runc`, `containerd`, Docker: `oci/defaults_linux.go`) plus what sandbox root has no
//! business with. A path that this kernel does not have is skipped; a path that exists and cannot be covered is an
//! error.

/// Files under `/proc` that are covered by `/dev/null`.
pub(crate) const MASKED_FILES: &[&str] = &[
    // Physical memory, and what identifies keys, timers and page owners of other processes.
    "kcore",
    "keys",
    "key-users",
    "kmsg",
    "timer_list",
    "timer_stats",
    "sched_debug",
    "latency_stats",
    "kpagecount",
    "kpageflags",
    "kpagecgroup",
    "pagetypeinfo",
    "slabinfo",
    "vmallocinfo",
    // Addresses are zeroed for the unprivileged, but the list of modules and symbols still tells the exact kernel.
    "kallsyms",
    "modules",
    // Side channels: interrupt counts tell keystrokes and the load of neighbours.
    "interrupts",
    "softirqs",
    "schedstat",
    // Boot parameters may hold secrets, and mounts of the host by their uuid.
    "cmdline",
    "bootconfig",
    // Locks on open files have no process id to filter them by: those of the host are listed.
    "locks",
    // Partitions and swap of the host.
    "partitions",
    "diskstats",
    "swaps",
    "mdstat",
    // Addresses are zeroed, but the devices and consoles of the host are named.
    "iomem",
    "ioports",
    "consoles",
    // Free memory of the host by order and zone: how far an attack on its allocator has come.
    "buddyinfo",
    "zoneinfo",
    // Which program the host runs on a crash.
    "sys/kernel/core_pattern",
];

/// Directories under `/proc` that are covered by an empty, read-only one.
///
/// `pressure` tells the load of neighbours to the microsecond.
pub(crate) const MASKED_DIRECTORIES: &[&str] = &["acpi", "asound", "driver", "scsi", "dynamic_debug", "pressure"];

/// Paths under `/proc` that become read-only, in this order.
pub(crate) const READ_ONLY: &[&str] = &["bus", "fs", "irq", "mtrr", "sys", "sysrq-trigger"];
