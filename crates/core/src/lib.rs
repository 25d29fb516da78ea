//! The waist of ComputeSDK: what a provider must offer, and what its callers may rely on.
//!
//! A **provider** makes **sandboxes**; in a sandbox one **execs** processes and opens **files**. Those few traits
//! are all a provider implements. Everything comfortable (language detection, `run_code`, text files, guards) is
//! written once, on top of them, in the `computesdk` crate.
//!
//! * [`provider`]: the traits [`Provider`], [`Sandbox`], [`Process`], [`Files`].
//! * [`options`]: what a caller may ask for. [`capability`]: what a provider can keep, as data. Asking for more is
//!   refused by [`Capabilities::check`] *before* anything is created, naming the option.
//! * [`network`]: what a sandbox may reach, and how its ports are reached. [`event`]: what happened to it.
//! * [`usage`]: what they used. [`status`]: how processes and sandboxes end. A command's failure is data; only our own failures are errors.
//! * [`error`]: the one error type, with a kind, the operation, context and its cause.
//!
//! This crate does no I/O, starts no tasks and knows no other crate of the project.

pub mod capability;
pub mod error;
pub mod event;
pub mod files;
pub mod id;
pub mod network;
pub mod options;
pub mod provider;
pub mod runtime;
pub mod status;
pub mod time;
pub mod usage;

pub use async_trait::async_trait;
pub use capability::{Capabilities, FilesystemSupport, Limits, NetworkModes, Reconnect};
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, EventKind, EventStream, NetworkEvent, NetworkProtocol, Verdict};
pub use files::{DirEntry, FileKind, FileStat, OpenMode, WatchEvent, WatchKind};
pub use id::{ProcessId, SandboxId};
pub use network::{HostPort, Network, ParseNetworkError, Tunnel};
pub use options::{CreateOptions, ExecOptions, FileUpload, Isolation, ListFilter, PtySize, Resources, Stdio};
pub use provider::{
    BoxRead, BoxStream, BoxWrite, ByteStream, File, Files, IntoProvider, Process, Provider, Sandbox, WatchStream,
};
pub use runtime::Runtime;
pub use status::{EndCause, ExitCause, ExitStatus, SandboxInfo, SandboxStatus, Signal, StartFailure};
pub use usage::Usage;
