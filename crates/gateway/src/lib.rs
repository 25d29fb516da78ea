//! What a sandbox may reach over the network, decided and carried out outside of it.
//!
//! ```text
//!  in the sandbox's network namespace        │  in this process, on one thread
//!                                            │
//!  program ─ SYN ─► filter ── told ──────────┼─► log ─► Connections ─ Policy? ─ dial ──► 203.0.113.5:443
//!             ▲                ┌── again ◄───┼───────── inject ◄──────────────── yes
//!             │                ▼             │
//!             └── TCP ────► listener ────────┼─► accepted ─► relay ◄──────────────────► 203.0.113.5:443
//!                                            │
//!  program ─ UDP ─► filter ── told ──────────┼─► Flows ─ Policy? ─► a socket for each pair of ends
//!                                            │     └─ to the name server ─► names ─► this machine's resolvers
//! ```
//!
//! The sandbox has no device that leads anywhere, whoever runs in it: what leaves, leaves as a connection of this process. So
//! nothing of the host's network is changed: no interface, no route, no rule, no forwarding. It is the same for root and
//! for everybody.
//!
//! What holds: nothing that is private, this machine's own, or a cloud's metadata service is reached unless it is
//! named ([`special`]); names are looked up here, and what they lead to is judged after that, for each
//! connection; everything that comes from a sandbox is bounded and parsed as hostile. Each decision is told to a [`Sink`].
//!
//! This crate knows no engine: it gets the ends that a launcher has made ([`Hooks`]; how they work is written down in
//! `computesdk_guest_protocol::outlet`).

mod address;
mod dial;
mod dns;
mod domain;
mod event;
mod gateway;
mod hello;
mod host;
mod http;
mod inject;
mod known;
mod ledger;
mod log;
mod names;
mod packet;
mod policy;
mod port;
#[cfg(test)]
mod prng;
mod proxied;
mod proxy;
mod relay;
mod resolve;
mod resolver_config;
mod shared;
mod target;
mod tcp;
mod udp;

pub use address::{special, special_range};
pub use domain::{Names, normal_name};
pub use event::{Decision, Protocol, Sink, Verdict};
pub use gateway::{Gateway, Hooks, Port};
pub use policy::{Policy, PolicyError, Refusal};
