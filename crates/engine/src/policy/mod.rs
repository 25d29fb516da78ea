//! What a sandboxed process may do to the kernel, as data.
//!
//! The parts: [`syscalls`] lists the system calls, [`seccomp`] turns the lists into two filter programs,
//! [`capabilities`] is what sandbox root keeps, [`proc`] says which parts of `/proc` are hidden or read-only, and
//! [`defaults`] holds devices, resource limits and network settings. [`policy`] puts them together for the launcher.
//!
//! Nothing here acts: the launcher and the guest apply it. All of it holds for every process of a sandbox, the agent
//! (its process 1) included, on every rung; none of it depends on what the sandbox was asked to do.

mod capabilities;
mod defaults;
mod proc;
mod seccomp;
mod syscalls;
#[cfg(test)]
mod tests;

use crate::EngineError;
use computesdk_guest_protocol::launcher::Policy;

/// The policy of this engine. The same for every sandbox, on every rung.
pub(crate) fn policy() -> Result<Policy, EngineError> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let pairs =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
    let filters = seccomp::filters()
        .map_err(|error| EngineError::host("compile the system call filters")(std::io::Error::other(error)))?;
    // One that cannot be read might be any.
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_else(|_| String::from("|"));
    Ok(Policy {
        filters: vec![filters.calls.clone(), filters.arguments.clone()],
        capabilities: capabilities::KEPT,
        proc_masked_files: names(proc::MASKED_FILES),
        proc_masked_dirs: names(proc::MASKED_DIRECTORIES),
        proc_read_only: names(proc::READ_ONLY),
        devices: names(defaults::DEVICES),
        device_links: pairs(defaults::DEVICE_LINKS),
        sysctls: pairs(defaults::NETWORK_SETTINGS),
        rlimits: [defaults::core_limit(&pattern)]
            .iter()
            .chain(defaults::LIMITS)
            .map(|limit| (limit.resource, limit.soft, limit.hard))
            .collect(),
    })
}
