//! What a trial needs of a provider: a pure function of its [`Capabilities`], so that no trial can skip itself.

use computesdk_core::{Capabilities, FilesystemSupport, Reconnect, Runtime};
use std::collections::BTreeSet;

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
