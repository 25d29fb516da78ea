//! To come.

mod args;
mod check;
mod command;
mod compute;
mod detect;
mod filesystem;
mod guard;
mod params;
mod program;
mod request;
mod result;
mod run;
mod run_code;
mod run_command;
mod sandbox;
mod sandboxes;
mod syntax;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use args::IntoArgs;
pub use command::Command;
pub use compute::{Compute, ComputeConfig, compute};
#[doc(inline)]
pub use computesdk_core as core;
pub use computesdk_core::{
    BoxRead, BoxWrite, Capabilities, CreateOptions, DirEntry, EndCause, Error, ErrorKind, ExecOptions, ExitCause,
    ExitStatus, File, FileKind, FileStat, FileUpload, FilesystemSupport, IntoProvider, Isolation, Limits, ListFilter,
    Network, NetworkModes, OpenMode, ProcessId, Provider, PtySize, Reconnect, Resources, Result, Runtime, SandboxId,
    SandboxInfo, SandboxStatus, Signal, StartFailure, Stdio, WatchEvent, WatchKind,
};
#[cfg(feature = "local")]
pub use computesdk_local as local;
#[cfg(feature = "local")]
pub use computesdk_local::local;
pub use detect::detect_runtime;
pub use filesystem::{FileEntry, Filesystem, Watcher};
pub use guard::SandboxGuard;
pub use params::CreateParams;
pub use result::ExecutionResult;
pub use run_code::RunCode;
pub use run_command::RunCommand;
pub use sandbox::Sandbox;
pub use sandboxes::Sandboxes;
pub use syntax::SyntaxErrorDetails;
