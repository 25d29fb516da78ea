//! What a provider can keep, as data.
//!
//! One struct of plain values, so that it can be printed, compared, turned into a table and tested. The naming rule:
//! a noun for what can be asked (`pty`, `users`), a type where yes and no are not enough.

use crate::{CreateOptions, Error, Network, Result, Runtime};
use serde::Serialize;

/// How well the files of a sandbox can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FilesystemSupport {
    /// Not at all.
    None,
    /// Some operations.
    Limited,
    /// Every operation.
    Full,
}

/// From where a sandbox can be reached again by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Reconnect {
    /// Not at all.
    No,
    /// From the process that made it.
    SameProcess,
    /// From any process with the same credentials.
    AnyProcess,
}

/// Which network policies can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NetworkModes {
    /// No network at all.
    pub none: bool,
    /// The internet.
    pub egress: bool,
    /// A list of address ranges.
    pub cidr: bool,
    /// A list of host names.
    pub domain: bool,
}

/// Which limits can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Memory of a sandbox.
    pub memory: bool,
    /// CPU of a sandbox.
    pub cpus: bool,
    /// Processes of a sandbox.
    pub pids: bool,
    /// Disk of a sandbox.
    pub disk: bool,
    /// Open files of a process.
    pub open_files: bool,
    /// Lifetime of a sandbox.
    pub timeout: bool,
    /// Unused time of a sandbox, see [`CreateOptions::idle_timeout`].
    pub idle_timeout: bool,
    /// Run time of one process.
    pub exec_timeout: bool,
}

/// What a provider can do and keep.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Capabilities {
    /// The provider's name.
    pub provider: &'static str,
    /// Languages of `run_code`, the primary one first.
    pub runtimes: Vec<Runtime>,
    /// Files.
    pub filesystem: FilesystemSupport,
    /// Watching files.
    pub watch: bool,
    /// Listing sandboxes.
    pub list: bool,
    /// Reaching a sandbox again.
    pub reconnect: Reconnect,
    /// Unique names.
    pub names: bool,
    /// A main process at create.
    pub command: bool,
    /// Output while a process runs.
    pub streaming: bool,
    /// Terminals.
    pub pty: bool,
    /// Running as other users of the sandbox.
    pub users: bool,
    /// Images other than the default.
    pub images: bool,
    /// Snapshots.
    pub snapshots: bool,
    /// Published ports.
    pub ports: bool,
    /// Lists of who may use published ports.
    pub inbound: bool,
    /// GPUs.
    pub gpu: bool,
    /// Network policies.
    pub network: NetworkModes,
    /// Limits.
    pub limits: Limits,
    /// What to do about a limit that cannot be kept, if something can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits_hint: Option<String>,
    /// Less isolation when the caller asks for it.
    pub degraded_isolation: bool,
}

impl Capabilities {
    /// A provider that can do nothing yet: the start of a literal, so that a new field is "no" until somebody decides.
    #[must_use]
    pub fn none(provider: &'static str) -> Self {
        Self {
            provider,
            runtimes: Vec::new(),
            filesystem: FilesystemSupport::None,
            watch: false,
            list: false,
            reconnect: Reconnect::No,
            names: false,
            command: false,
            streaming: false,
            pty: false,
            users: false,
            images: false,
            snapshots: false,
            ports: false,
            inbound: false,
            gpu: false,
            network: NetworkModes { none: false, egress: false, cidr: false, domain: false },
            limits: Limits {
                memory: false,
                cpus: false,
                pids: false,
                disk: false,
                open_files: false,
                timeout: false,
                idle_timeout: false,
                exec_timeout: false,
            },
            limits_hint: None,
            degraded_isolation: false,
        }
    }

    /// Refuses what this provider cannot keep, naming the first such option. Call it before anything is made.
    ///
    /// # Errors
    /// `Unsupported`, with the option's name in the message and in the context under `option`.
    pub fn check(&self, options: &CreateOptions) -> Result<()> {
        let resources = &options.resources;
        let network = options.network.as_ref();
        let asked = [
            ("name", options.name.is_some(), self.names),
            ("command", options.command.is_some(), self.command),
            ("image", options.image.is_some(), self.images),
            ("snapshot", options.snapshot.is_some(), self.snapshots),
            ("inbound", options.inbound.is_some(), self.inbound),
            ("ports", !options.ports.is_empty(), self.ports),
            ("files", !options.files.is_empty(), self.filesystem != FilesystemSupport::None),
            ("timeout", options.timeout.is_some(), self.limits.timeout),
            ("idle_timeout", options.idle_timeout.is_some(), self.limits.idle_timeout),
            ("memory", resources.memory_bytes.is_some(), self.limits.memory),
            ("cpu", resources.cpus.is_some(), self.limits.cpus),
            ("pids", resources.pids.is_some(), self.limits.pids),
            ("disk", resources.disk_bytes.is_some(), self.limits.disk),
            ("max_open_files", resources.open_files.is_some(), self.limits.open_files),
            ("gpu", resources.gpu.is_some(), self.gpu),
            ("network=none", matches!(network, Some(Network::None)), self.network.none),
            ("network=egress", matches!(network, Some(Network::Egress)), self.network.egress),
            ("network=cidr", matches!(network, Some(Network::Cidr(_))), self.network.cidr),
            ("network=domain", matches!(network, Some(Network::Domain(_))), self.network.domain),
            ("sandbox_id", options.sandbox_id.is_some(), self.reconnect != Reconnect::No),
            ("runtime", options.runtime.is_some_and(|runtime| !self.runtimes.contains(&runtime)), false),
            ("isolation=degraded", options.isolation == crate::Isolation::Degraded, self.degraded_isolation),
        ];
        match asked.into_iter().find(|(_, wanted, kept)| *wanted && !*kept) {
            None => Ok(()),
            Some((option, ..)) => {
                let why = format_args!("the {} provider cannot keep it; nothing was created", self.provider);
                let error = Error::unsupported("sandbox.create", option, why).with_provider(self.provider);
                let is_limit = ["memory", "cpu", "pids", "disk", "max_open_files"].contains(&option);
                Err(match &self.limits_hint {
                    Some(hint) if is_limit => error.with_hint(hint),
                    _ => error,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unkept_option_is_refused_by_name() {
        let nothing = Capabilities::none("test");
        let mut options = CreateOptions::default();
        nothing.check(&options).expect("nothing asked");
        options.resources.memory_bytes = Some(1 << 20);
        let error = nothing.check(&options).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Unsupported);
        assert_eq!((error.context_value("option"), error.hint()), (Some("memory"), None));
        let hinting = Capabilities { limits_hint: Some("ask for a group".into()), ..nothing.clone() };
        assert_eq!(hinting.check(&options).unwrap_err().hint(), Some("ask for a group"));

        let options = CreateOptions { network: Some(Network::Egress), ..Default::default() };
        assert!(nothing.check(&options).unwrap_err().to_string().contains("network=egress"));
    }
}
