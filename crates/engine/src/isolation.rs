//! What every sandbox is held to: the tables of [`crate::policy`], as the launcher wants them.

use crate::EngineError;
use crate::policy::{capabilities, defaults, proc};
use computesdk_guest_protocol::launcher::Policy;

/// The policy of this engine. The same for every sandbox, on every rung.
pub(crate) fn policy() -> Result<Policy, EngineError> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>()
    };
    Ok(Policy {
        filters: Vec::new(),
        capabilities: capabilities::KEPT,
        proc_masked_files: names(proc::MASKED_FILES),
        proc_masked_dirs: names(proc::MASKED_DIRECTORIES),
        proc_read_only: names(proc::READ_ONLY),
        devices: names(defaults::DEVICES),
        device_links: pairs(defaults::DEVICE_LINKS),
        sysctls: pairs(defaults::NETWORK_SETTINGS),
        rlimits: defaults::LIMITS.iter().map(|limit| (limit.resource, limit.soft, limit.hard)).collect(),
    })
}
