//! What a trial needs of a provider: a pure function of its [`Capabilities`], so that no trial can skip itself.

use computesdk_core::{Capabilities, FilesystemSupport, Reconnect, Runtime};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// One condition for a trial to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Python for `run_code`.
    Python,
    /// Node for `run_code`.
    Node,
    /// Files, at least the common operations.
    Files,
    /// Every file operation, with full metadata.
    AllFiles,
    /// Watching files.
    Watch,
    /// Listing.
    List,
    /// Reaching a sandbox again by its id.
    Reconnect,
    /// Unique names.
    Names,
    /// A main process.
    Command,
    /// Output while a process runs.
    Streaming,
    /// Terminals.
    Pty,
    /// Other users.
    Users,
    /// No network at all.
    NetworkNone,
    /// The internet, and nothing private.
    NetworkEgress,
    /// A list of address ranges.
    NetworkCidr,
    /// A list of host names.
    NetworkDomain,
    /// Published ports.
    Ports,
    /// A list of who may use them.
    Inbound,
    /// An address of this machine that its own sandboxes can be allowed to reach: they are on this machine, as those that
    /// only this process reaches again are, and it has an address beyond loopback.
    OwnAddress,
    /// A lifetime.
    Timeout,
    /// An idle lifetime.
    IdleTimeout,
    /// A limit for one process.
    ExecTimeout,
    /// A memory limit.
    Memory,
    /// A CPU limit.
    Cpus,
    /// A limit of processes.
    Pids,
    /// A disk limit.
    Disk,
    /// A limit of open files.
    OpenFiles,
    /// The provider does **not** keep this option of `create`, and must refuse it.
    Lacks(&'static str),
    /// A program of the default image that no capability promises; looked up once before the run.
    Program(&'static str),
}

impl Need {
    /// Why the provider does not meet this need; `None` if it does. `programs` are those that were found.
    pub(crate) fn missing(self, has: &Capabilities, programs: &BTreeSet<&'static str>) -> Option<String> {
        let (met, what) = match self {
            Self::Python => (has.runtimes.contains(&Runtime::Python), "the runtime `python`"),
            Self::Node => (has.runtimes.contains(&Runtime::Node), "the runtime `node`"),
            Self::Files => (has.filesystem != FilesystemSupport::None, "`filesystem`"),
            Self::AllFiles => (has.filesystem == FilesystemSupport::Full, "`filesystem` in full"),
            Self::Watch => (has.watch, "`watch`"),
            Self::List => (has.list, "`list`"),
            Self::Reconnect => (has.reconnect != Reconnect::No, "`reconnect`"),
            Self::Names => (has.names, "`names`"),
            Self::Command => (has.command, "`command`"),
            Self::Streaming => (has.streaming, "`streaming`"),
            Self::Pty => (has.pty, "`pty`"),
            Self::Users => (has.users, "`users`"),
            Self::NetworkNone => (has.network.none, "`network=none`"),
            Self::NetworkEgress => (has.network.egress, "`network=egress`"),
            Self::NetworkCidr => (has.network.cidr, "`network=cidr`"),
            Self::NetworkDomain => (has.network.domain, "`network=domain`"),
            Self::Ports => (has.ports, "`ports`"),
            Self::Inbound => (has.inbound, "`inbound`"),
            Self::OwnAddress if has.reconnect == Reconnect::SameProcess => {
                let lacks = "this machine has no address beyond loopback that a sandbox could be allowed to reach";
                return own_addresses().is_empty().then(|| lacks.to_owned());
            }
            Self::OwnAddress => (false, "that its sandboxes are on this machine"),
            Self::Timeout => (has.limits.timeout, "the limit `timeout`"),
            Self::IdleTimeout => (has.limits.idle_timeout, "the limit `idle_timeout`"),
            Self::ExecTimeout => (has.limits.exec_timeout, "the limit `exec_timeout`"),
            Self::Memory => (has.limits.memory, "the limit `memory`"),
            Self::Cpus => (has.limits.cpus, "the limit `cpu`"),
            Self::Pids => (has.limits.pids, "the limit `pids`"),
            Self::Disk => (has.limits.disk, "the limit `disk`"),
            Self::OpenFiles => (has.limits.open_files, "the limit `max_open_files`"),
            Self::Lacks(option) => {
                return keeps(has, option)
                    .then(|| format!("the {} provider keeps `{option}`, so there is nothing to refuse", has.provider));
            }
            Self::Program(program) => {
                return (!programs.contains(program))
                    .then(|| format!("the default image of {} has no `{program}`", has.provider));
            }
        };
        (!met).then(|| format!("the {} provider does not declare {what}", has.provider))
    }
}

/// Whether the provider declares that it keeps this option of `create`.
fn keeps(has: &Capabilities, option: &str) -> bool {
    match option {
        "name" => has.names,
        "command" => has.command,
        "image" => has.images,
        "snapshot" => has.snapshots,
        "ports" => has.ports,
        "inbound" => has.inbound,
        "files" => has.filesystem != FilesystemSupport::None,
        "timeout" => has.limits.timeout,
        "idle_timeout" => has.limits.idle_timeout,
        "memory" => has.limits.memory,
        "cpu" => has.limits.cpus,
        "pids" => has.limits.pids,
        "disk" => has.limits.disk,
        "max_open_files" => has.limits.open_files,
        "gpu" => has.gpu,
        "network=none" => has.network.none,
        "network=egress" => has.network.egress,
        "network=cidr" => has.network.cidr,
        "network=domain" => has.network.domain,
        "sandbox_id" => has.reconnect != Reconnect::No,
        "runtime" => [Runtime::Python, Runtime::Node].iter().all(|runtime| has.runtimes.contains(runtime)),
        "isolation=degraded" => has.degraded_isolation,
        other => unreachable!("`{other}` is no option of create"),
    }
}

/// The addresses that this machine has towards others; nothing is sent to find out.
pub(crate) fn own_addresses() -> Vec<IpAddr> {
    let towards = [
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1))),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))),
    ];
    let own = towards.into_iter().filter_map(|(from, to)| {
        let socket = UdpSocket::bind((from, 0)).ok()?;
        socket.connect((to, 9)).ok()?;
        socket.local_addr().ok()
    });
    own.map(|address| address.ip()).filter(|address| !address.is_loopback() && !address.is_unspecified()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_capability_is_never_missing() {
        let mut has = Capabilities::none("test");
        let programs = BTreeSet::new();
        let reason = Need::Pty.missing(&has, &programs).expect("not declared");
        assert_eq!(reason, "the test provider does not declare `pty`");
        assert_eq!(Need::Lacks("gpu").missing(&has, &programs), None, "must refuse gpu");
        has.pty = true;
        has.gpu = true;
        assert_eq!(Need::Pty.missing(&has, &programs), None);
        assert!(Need::Lacks("gpu").missing(&has, &programs).is_some());
    }
}
