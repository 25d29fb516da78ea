//! Modal's sandboxes from Rust, over Modal's own gRPC protocol: Modal's cloud, or `compute serve` on this machine.
//!
//! ```text
//! Modal (Provider) ──► ModalSandbox ──► ModalProcess, MainProcess ──► Output, Input      files: a helper program in the sandbox
//!        │                   │                       │                     │
//!        └──────── wire::Control ◄────── wire::Router ◄────────────────────┘
//!             control plane, token pair      one per sandbox, a token of its own
//! ```
//!
//! * [`Modal`] makes and finds sandboxes; [`ModalConfig`] says where and as whom. Nothing is connected before the first call.
//! * `wire` keeps the protocol's rules for every call: headers, idempotency keys, retries, the server's own delays, tokens and their
//!   renewal, deadlines. A call that was answered late or twice still has one effect.
//! * Output is read by byte offset: a stream that breaks goes on where it was. Input is sent by offset, too.
//! * An id tells by its shape which generation of calls its sandbox belongs to; both are spoken, new sandboxes are of the second.
//!
//! What Modal has no way for is refused, never emulated badly: another user than the image's for one command, signals, a new
//! size of a terminal, ports published later, connections to ports that are not published. Times are whole seconds on the wire and are
//! rounded up.

mod check;
mod config;
mod create;
mod end;
mod error;
mod events;
mod files;
mod find;
mod input;
mod log;
mod main_process;
mod network;
mod output;
mod process;
mod provider;
mod sandbox;
mod wire;

pub use config::ModalConfig;
pub use log::{LogLine, LogStream};
pub use provider::{Modal, modal};
