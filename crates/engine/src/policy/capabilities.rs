//! The capabilities that stay in the bounding set of sandbox commands.
//!
//! They count inside the sandbox's own user namespace only. The set is what package managers, `su`, `sudo`-like
//! tools and daemons that drop privileges need; whatever configures the kernel, the network or other processes is
//! left out although the namespace would confine it: code that is reachable only with a capability is where most
//! namespace escapes were found.

/// Bit numbers of `linux/capability.h`, the kept ones.
pub(crate) mod bit {
    /// Give files to another user: `tar`, `dpkg`, `pip` as root.
    pub(crate) const CHOWN: u32 = 0;
    /// Root reads and writes files of others.
    pub(crate) const DAC_OVERRIDE: u32 = 1;
    /// Change mode and times of files of others.
    pub(crate) const FOWNER: u32 = 3;
    /// Keep set-user-id and set-group-id bits when a file changes; they do nothing here (nosuid), but `tar` checks.
    pub(crate) const FSETID: u32 = 4;
    /// Signal processes of other users in the sandbox.
    pub(crate) const KILL: u32 = 5;
    /// Change group ids: daemons that drop privileges, `su`, `newgrp`.
    pub(crate) const SETGID: u32 = 6;
    /// Change user ids: the same programs.
    pub(crate) const SETUID: u32 = 7;
    /// Drop capabilities from the own sets: daemons that reduce themselves.
    pub(crate) const SETPCAP: u32 = 8;
    /// Listen below port 1024 (`ip_unprivileged_port_start` covers it where the network namespace is ours).
    pub(crate) const NET_BIND_SERVICE: u32 = 10;
    /// `chroot`: `debootstrap`, `sshd`. It gives no way out: the root is a pivoted one.
    pub(crate) const SYS_CHROOT: u32 = 18;
    /// Store file capabilities: packages such as `iputils-ping` set them while they install.
    pub(crate) const SETFCAP: u32 = 31;
}

/// The kept set as a mask, bit n for capability n.
///
/// Left out on purpose: `SYS_PTRACE` (tracing the own children needs none), `SYS_ADMIN`, `NET_ADMIN`, `NET_RAW`
/// (datagram ICMP sockets do `ping`), `MKNOD`, `AUDIT_*`, `SYS_RESOURCE`, `SYS_NICE`, `SYS_TIME`, `SYS_MODULE`, `BPF`.
pub(crate) const KEPT: u64 = 1 << bit::CHOWN
    | 1 << bit::DAC_OVERRIDE
    | 1 << bit::FOWNER
    | 1 << bit::FSETID
    | 1 << bit::KILL
    | 1 << bit::SETGID
    | 1 << bit::SETUID
    | 1 << bit::SETPCAP
    | 1 << bit::NET_BIND_SERVICE
    | 1 << bit::SYS_CHROOT
    | 1 << bit::SETFCAP;
