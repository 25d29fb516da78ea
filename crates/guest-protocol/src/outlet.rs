//! The way out of a sandbox's network namespace: what launcher and engine must agree on.
//!
//! ```text
//! program ── connect ──► SYN to 203.0.113.5:443 ──► filter: told to the engine (log), dropped
//!                                                       engine decides, dials, and says:
//!                                          yes: the same SYN again, marked ──► filter: to the listener ──► relayed
//!                                          no:  a reset or an "unreachable" from 203.0.113.5
//! ```
//!
//! Every address is local in there, so that nothing leaves by itself: the namespace has no device but its loopback. What is
//! meant for elsewhere meets the filter; what a filter does not know is dropped.

use core::net::{Ipv4Addr, Ipv6Addr};
use serde::{Deserialize, Serialize};

/// The sandbox's own address, next to `127.0.0.1`. The same in all: they do not see each other. RFC 7335 keeps this range
/// for the inner side of translators, so that nothing real has it.
pub const SANDBOX_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 2);

/// The name server of sandboxes, as it stands in their `/etc/resolv.conf`.
pub const NAMESERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 1);

/// The sandbox's own address of the sixth version: from a unique local prefix (RFC 4193), so that programs prefer the fourth.
pub const SANDBOX_V6: Ipv6Addr = Ipv6Addr::new(0xfdc0, 0xc0de, 0x5db0, 0, 0, 0, 0, 2);

/// Where the listener of a gateway stands. Chosen because nobody else wants it.
pub const GATEWAY_PORT: u16 = 1;

/// Where the listener of a proxy stands, on the sandbox's loopback.
pub const PROXY_PORT: u16 = 3128;

/// The group of the packet filter's log.
pub const LOG_GROUP: u16 = 1;

/// The mark of a SYN that the engine has let go.
pub const RELEASED: u32 = 1;

/// How a sandbox gets out of its network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outlet {
    /// Not at all.
    Closed,
    /// Every packet for elsewhere is told to the engine, which holds it until it has decided. The descriptors of its
    /// [`Hooks`].
    Gateway {
        /// Whether addresses of the sixth version lead out as well.
        ipv6: bool,
    },
    /// One listening socket on its loopback, at [`PROXY_PORT`].
    Proxy,
}

/// The descriptors that come with an outlet, in this order after the agent's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hooks {
    /// A listening TCP socket, which takes whatever the filter sends it.
    Listener,
    /// The filter's log: a netlink socket.
    Log,
    /// A raw socket for packets of the fourth version, marked [`RELEASED`].
    Raw4,
    /// The same for the sixth, if it leads out.
    Raw6,
}

impl Outlet {
    /// What comes with it.
    #[must_use]
    pub const fn hooks(self) -> &'static [Hooks] {
        match self {
            Self::Closed => &[],
            Self::Proxy => &[Hooks::Listener],
            Self::Gateway { ipv6: false } => &[Hooks::Listener, Hooks::Log, Hooks::Raw4],
            Self::Gateway { ipv6: true } => &[Hooks::Listener, Hooks::Log, Hooks::Raw4, Hooks::Raw6],
        }
    }
}
