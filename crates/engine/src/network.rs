//! What sandboxes may reach: which way out there is here, and who serves it.
//!
//! ```text
//! launcher ──hooks: listener, log, raw sockets──► Networks::attach ──► gateway's thread: decides, dials, relays
//!                                                     policy ┘  └ decisions: the sandbox's events
//! ```
//!
//! The way is the same for root and for everybody: the launcher owns the network namespaces of its sandboxes. Where the kernel
//! has no packet filter for it, programs reach an HTTP proxy instead, by the usual variables; every policy holds there too,
//! because there is no other way out at all.

use crate::events::EventLog;
use crate::{EngineError, sys};
use computesdk_gateway::{Gateway, Hooks, Policy, Port};
use computesdk_guest_protocol::launcher::Failure;
use computesdk_guest_protocol::outlet::{self, Outlet, PROXY_PORT};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::runtime::Handle;

/// How sandboxes get out, if they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WayOut {
    /// By the gateway if the kernel has what it needs, else by the proxy.
    #[default]
    Best,
    /// By the proxy: only programs that use `HTTP_PROXY` and its kind reach anything.
    Proxy,
}

/// The ways out of an engine's sandboxes.
#[derive(Debug)]
pub(crate) struct Networks {
    outlet: Outlet,
    /// Why there is no better one.
    lack: Option<String>,
    gateway: OnceLock<Gateway>,
    starting: Mutex<()>,
}

/// What the launcher is asked for: the best one, or what was chosen.
pub(crate) fn wanted(way: WayOut) -> Outlet {
    match way {
        WayOut::Best => Outlet::Gateway { ipv6: has_ipv6() },
        WayOut::Proxy => Outlet::Proxy,
    }
}

/// Whether this machine has an address of the sixth version that others could answer to. Without, sandboxes have none either, and
/// their programs do not try.
fn has_ipv6() -> bool {
    // proc_net(5): address, index, prefix length, scope, flags, name. Scopes 0x10 and 0x20 are host and link.
    let table = std::fs::read_to_string("/proc/self/net/if_inet6").unwrap_or_default();
    table.lines().filter_map(|line| line.split_ascii_whitespace().nth(3)).any(|scope| !matches!(scope, "10" | "20"))
}

impl Networks {
    /// After the launcher was asked for this outlet, and said whether it can be had.
    pub(crate) fn new(asked: Outlet, failure: Option<&Failure>) -> Self {
        let lack = failure.map(crate::error::describe);
        let outlet = if lack.is_some() { Outlet::Proxy } else { asked };
        Self { outlet, lack, gateway: OnceLock::new(), starting: Mutex::default() }
    }

    /// The way out under this policy.
    pub(crate) fn outlet(&self, policy: &Policy) -> Outlet {
        match policy {
            Policy::Nothing => Outlet::Closed,
            _ => self.outlet,
        }
    }

    /// What whoever looks should know.
    pub(crate) fn notice(&self) -> Option<String> {
        let why = match (&self.lack, self.outlet) {
            (Some(lack), _) => format!("this kernel has no packet filter for sandboxes ({lack})"),
            (None, Outlet::Proxy) => String::from("it was chosen so"),
            _ => return None,
        };
        Some(format!("only programs that use HTTP_PROXY and HTTPS_PROXY reach the network: {why}"))
    }

    /// What reaches the network, if it may.
    pub(crate) fn reach(&self) -> &'static str {
        match self.outlet {
            Outlet::Gateway { .. } => "every program",
            _ => "programs that use an HTTP proxy",
        }
    }

    /// What to do for a better way out.
    pub(crate) fn hint(&self) -> Option<String> {
        self.lack.as_ref().map(|lack| {
            format!(
                "{lack}: the gateway needs the kernel's nf_tables with tproxy and nfnetlink_log (`modprobe nft_tproxy \
                 nfnetlink_log`, or a kernel that has them)"
            )
        })
    }

    /// Serves a sandbox that came with these hooks.
    pub(crate) fn attach(
        &self,
        outlet: Outlet,
        hooks: Vec<OwnedFd>,
        policy: Policy,
        events: &Arc<EventLog>,
    ) -> Result<Port, EngineError> {
        if hooks.len() != outlet.hooks().len() {
            return Err(EngineError::no_room("take the sandbox's network"));
        }
        let attached = self.gateway().and_then(|gateway| {
            let hooks = {
                let _guard = gateway.enter();
                by_name(outlet, hooks)?
            };
            let sink: Arc<EventLog> = Arc::clone(events);
            gateway.attach(hooks, policy, sink)
        });
        attached.map_err(EngineError::host("serve the sandbox's network"))
    }

    /// The runtime of the gateway's thread.
    pub(crate) fn runtime(&self) -> io::Result<Handle> {
        self.gateway().map(|gateway| gateway.runtime().clone())
    }

    fn gateway(&self) -> io::Result<&Gateway> {
        if let Some(gateway) = self.gateway.get() {
            return Ok(gateway);
        }
        let _one_only = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        match self.gateway.get() {
            Some(gateway) => Ok(gateway),
            None => {
                let gateway = Gateway::start()?;
                Ok(self.gateway.get_or_init(|| gateway))
            }
        }
    }
}

/// The hooks by their names. The caller is in the gateway's runtime.
fn by_name(outlet: Outlet, fds: Vec<OwnedFd>) -> io::Result<Hooks> {
    let (mut listener, mut log, mut raw4, mut raw6) = (None, None, None, None);
    for (hook, fd) in outlet.hooks().iter().zip(fds) {
        let place = match hook {
            outlet::Hooks::Listener => &mut listener,
            outlet::Hooks::Log => &mut log,
            outlet::Hooks::Raw4 => &mut raw4,
            outlet::Hooks::Raw6 => &mut raw6,
        };
        *place = Some(fd);
    }
    match (listener, log, raw4) {
        (Some(listener), Some(log), Some(raw4)) => {
            Ok(Hooks::Gateway { listener, log: sys::register(log)?, raw4, raw6 })
        }
        (Some(listener), None, None) => Ok(Hooks::Proxy { listener }),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Variables by which programs find the proxy.
pub(crate) fn proxy_variables() -> impl Iterator<Item = (&'static str, String)> {
    let proxy = format!("http://127.0.0.1:{PROXY_PORT}");
    let own = String::from("localhost,127.0.0.1,::1");
    let both = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    both.into_iter()
        .map(move |name| (name, proxy.clone()))
        .chain(["no_proxy", "NO_PROXY"].map(|name| (name, own.clone())))
        // Node.js, from 22.21 and 24 on, for its `fetch`.
        .chain([("NODE_USE_ENV_PROXY", String::from("1"))])
}
