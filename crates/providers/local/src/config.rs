//! What the provider can be told.

use computesdk_core::Runtime;
use computesdk_engine::{EngineOptions, WayOut};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the `local` provider. `Default` is right for most.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LocalConfig {
    /// Language of code whose language neither the call, the sandbox nor the code tells. Default: Python.
    pub runtime: Option<Runtime>,
    /// Lifetime of a sandbox and limit of each execution, unless `create` says otherwise. Default: 300 s, as the
    /// JavaScript SDK reports it. [`Duration::MAX`] is no limit.
    pub timeout: Duration,
    /// The Python to offer inside. Default: the first on `PATH`, looked through virtual environments and shims.
    pub python: Option<PathBuf>,
    /// The Node.js to offer inside. Default: the first on `PATH`.
    pub node: Option<PathBuf>,
    /// Where journals are kept. Default: `$XDG_STATE_HOME/computesdk`.
    pub state_dir: Option<PathBuf>,
    /// Where the generated part of the host image is kept. Default: `$XDG_CACHE_HOME/computesdk`.
    pub cache_dir: Option<PathBuf>,
    /// The control group below which those of the sandboxes are made, as it stands in `/proc/PID/cgroup`; for ordinary
    /// users, one that was delegated to them. Default: `COMPUTESDK_CGROUP`, else the own one where that can be written.
    pub cgroup: Option<PathBuf>,
    /// Most bytes of one stream of a process that are set aside while nobody reads it: 1 MiB in memory, the rest in a
    /// nameless file below `state_dir`. A process that writes more then waits. Default: 1 GiB; at least 1 MiB.
    pub unread_output_bytes: Option<u64>,
    /// Where published ports listen. Default: `127.0.0.1`, this machine alone. With an address beyond it, whoever reaches this
    /// machine reaches the servers in the sandboxes; see [`CreateOptions::inbound`](computesdk_core::CreateOptions::inbound).
    pub listen: IpAddr,
    /// Where the local certificate authority is kept that signs for published ports. Default: [`authority_dir`].
    pub authority_dir: Option<PathBuf>,
    /// Sandboxes reach the network by an HTTP proxy alone, as they do by themselves where the kernel has no packet filter for
    /// them. Default: no.
    pub proxy_only: bool,
}

/// Where the local certificate authority is kept unless [`LocalConfig::authority_dir`] says otherwise:
/// `$XDG_DATA_HOME/computesdk/ca`, else `~/.local/share/computesdk/ca`, else a directory of this user's below the system's
/// temporary one.
#[must_use]
pub fn authority_dir() -> PathBuf {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    match base {
        Some(base) => base.join("computesdk/ca"),
        None => std::env::temp_dir().join(format!("computesdk-{}", rustix::process::geteuid().as_raw())).join("ca"),
    }
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            runtime: None,
            timeout: Duration::from_secs(300),
            python: None,
            node: None,
            state_dir: None,
            cache_dir: None,
            cgroup: None,
            unread_output_bytes: None,
            listen: Ipv4Addr::LOCALHOST.into(),
            authority_dir: None,
            proxy_only: false,
        }
    }
}

impl LocalConfig {
    pub(crate) fn engine_options(&self, degraded: bool) -> EngineOptions {
        let mut options = EngineOptions::default();
        options.state_dir.clone_from(&self.state_dir);
        options.cache_dir.clone_from(&self.cache_dir);
        options.python.clone_from(&self.python);
        options.node.clone_from(&self.node);
        options.cgroup.clone_from(&self.cgroup);
        options.unread_output_bytes = self.unread_output_bytes;
        options.way_out = if self.proxy_only { WayOut::Proxy } else { WayOut::Best };
        options.degraded = degraded;
        options
    }
}
