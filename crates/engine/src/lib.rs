//! Sandboxes on Linux, embedded in the calling process: no daemon, no account, nothing downloaded.
//!
//! ```text
//! this process ── Engine ──SEQPACKET──► launcher ──clone3──► sandbox A: pid 1 = agent
//!        │                                         └───────► sandbox B: pid 1 = agent
//!        └─ Sandbox ──direct SEQPACKET──► agent: starts programs on pipes made here, opens files and passes them out
//! ```
//!
//! * [`Engine`]: one launcher process and the sandboxes it makes. Everything ends with it.
//! * [`Sandbox`]: exec, files, its end. [`Exec`]: one program with its streams.
//! * [`Rung`]: how strong the isolation is on this host, found out by doing.
//! * [`NetworkPolicy`]: what a sandbox may reach, decided outside of it. [`Event`]: what happened to it.
//!
//! What holds whoever runs inside: the sandbox has a user namespace of its own in which no id of the host's root is
//! mapped; deadlines and kills act from outside; whatever comes out of a sandbox, messages and descriptors alike, is
//! taken as hostile. `unsafe` lives in `sys` alone.
//!
//! This crate speaks no gRPC and no HTTP and knows none of the traits of `computesdk-core`.

mod agent;
mod cgroup;
mod descriptor;
mod directories;
mod doctor;
mod engine;
mod error;
mod events;
mod exec;
mod files;
mod guest;
mod host;
mod idle;
mod ids;
mod image;
mod journal;
mod launcher;
mod limits;
mod network;
mod policy;
mod record;
mod rung;
mod sandbox;
mod socket;
mod stream;
mod sys;

pub use computesdk_gateway::{Decision, Policy as NetworkPolicy, PolicyError, Protocol, Verdict};
pub use computesdk_guest_protocol::agent::Refusal;
pub use doctor::{Doctor, InterpreterReport, RejectedReport, RungReport};
pub use engine::{Engine, EngineOptions, random_name};
pub use error::{EngineError, Refused, RungFailure};
pub use events::{Event, EventKind, Events};
pub use exec::{Exec, ExecEnd, ExecSpec, ExecUsage, Stdio};
pub use files::{Change, ChangeKind, FileKind, Open, Stat, Watch};
pub use idle::{Active, Activity};
pub use image::{HostImage, ImageError, Interpreter, Rejected};
pub use limits::{KeptLimits, Limits};
pub use network::WayOut;
pub use rung::Rung;
pub use sandbox::{End, Sandbox, SandboxSpec, SandboxUsage};
pub use stream::{ReadStream, WriteStream};
