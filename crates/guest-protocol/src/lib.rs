//! What the engine says to the launcher and to the agents, and what they answer.
//!
//! ```text
//! engine ──ToLauncher──► launcher        one SEQPACKET socket, made when the launcher is spawned
//!        ◄─FromLauncher─
//! engine ──ToAgent────► agent (pid 1)    one SEQPACKET socket per sandbox, handed over in `FromLauncher::Created`
//!        ◄─FromAgent──
//! ```
//!
//! * One packet is one message in [postcard](https://docs.rs/postcard) encoding. A message larger than
//!   [`MAX_INLINE`] travels in a memfd and its packet is [`Envelope::Spilled`]; the memfd is the packet's last
//!   descriptor.
//! * **The agent is untrusted.** [`decode`] is total: any bytes give a message or a [`DecodeError`], and never allocate
//!   more than a small multiple of the input. Descriptors that come with a message are checked by the engine.
//! * Both ends are built from the same sources and started by each other, so there is no version negotiation;
//!   [`PROTOCOL`] is still compared, because a stale program is otherwise a riddle.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod agent;
pub mod launcher;
pub mod outlet;
pub mod packet;
pub mod wire;

pub use wire::{Bytes, DecodeError, Envelope, MAX_INLINE, MAX_SPILLED, decode, encode};

/// Compared when the launcher starts.
pub const PROTOCOL: u32 = 3;

/// The descriptor on which the launcher finds its control socket (its standard input).
pub const LAUNCHER_FD: i32 = 0;

/// The descriptor on which the agent finds its control socket.
pub const AGENT_FD: i32 = 3;

/// `argv[0]` of the launcher.
pub const LAUNCHER_ARG0: &str = "computesdk-launcher";

/// `argv[1]` of a launcher that may make a network namespace before its first message: it needs no more privilege.
pub const LAUNCHER_AHEAD: &str = "ahead";
