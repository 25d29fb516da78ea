//! What a caller may ask for.
//!
//! Every field is optional and means "the provider's default" when absent. An option that a provider cannot keep is
//! refused by [`Capabilities::check`](crate::Capabilities::check) before anything is made; none is ever dropped in
//! silence.

use crate::{Network, ProcessId, Runtime, SandboxId};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How much isolation the caller insists on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Isolation {
    /// The provider's full isolation, or an error.
    #[default]
    Full,
    /// Accept less where the host allows no more. Never chosen by itself.
    Degraded,
}

/// Limits and devices. `None` asks for nothing. What has limits ends, or is refused, with the cause named
/// ([`ExitCause::OutOfMemory`](crate::ExitCause::OutOfMemory) and its kind).
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Resources {
    /// Memory limit in bytes: processes, files in memory, and the kernel's memory on their behalf. On `local`, whose disk
    /// is memory, at least 8 MiB.
    pub memory_bytes: Option<u64>,
    /// CPU limit in cores; 0.5 is half of one.
    pub cpus: Option<f64>,
    /// Most processes and threads at a time. Default: the provider's, 4096 on `local` where that can be kept.
    pub pids: Option<u64>,
    /// Disk limit in bytes: of what the sandbox writes, not of its image.
    pub disk_bytes: Option<u64>,
    /// Most open files of one process.
    pub open_files: Option<u64>,
    /// A GPU by the provider's name for it, such as `A100`.
    pub gpu: Option<String>,
}

/// One file that is put into a sandbox before anything runs.
#[derive(Clone, PartialEq, Eq)]
pub struct FileUpload {
    /// Absolute path in the sandbox; parents are made.
    pub path: String,
    /// The content.
    pub content: Vec<u8>,
    /// Permission bits; `None` is 0644.
    pub mode: Option<u32>,
}

impl FileUpload {
    /// A file with this content and mode 0644.
    #[must_use]
    pub fn new(path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), content: content.into(), mode: None }
    }
}

impl fmt::Debug for FileUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileUpload")
            .field("path", &self.path)
            .field("bytes", &self.content.len())
            .field("mode", &self.mode)
            .finish()
    }
}

/// What `create` may be asked for.
///
/// `Debug` prints the names of environment variables, never their values.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct CreateOptions {
    /// The language of later `run_code` calls that do not say; default: detected, else Python.
    pub runtime: Option<Runtime>,
    /// Lifetime of the sandbox and default limit of each execution. Default: the provider's, 300 s on `local`.
    /// [`Duration::MAX`] asks for no limit.
    pub timeout: Option<Duration>,
    /// Ends the sandbox when nothing used it for so long, with [`EndCause::IdleTimedOut`](crate::EndCause::IdleTimedOut).
    /// It is used while a process runs that `exec` started, which the main process is not, and while a connection over
    /// `connect` or one of its tunnels is open. Writing to a process's input, and asking for its files, begin the time again;
    /// looking at it does not. Default: none. One that is longer than `timeout` is never reached.
    pub idle_timeout: Option<Duration>,
    /// Connect to this sandbox instead of making one.
    pub sandbox_id: Option<SandboxId>,
    /// A name, unique among the provider's running sandboxes.
    pub name: Option<String>,
    /// The caller's own notes; returned by `get_info`, searchable by `list`.
    pub metadata: BTreeMap<String, String>,
    /// Environment of every process in the sandbox.
    pub env: BTreeMap<String, String>,
    /// Working directory of processes that do not say; made if missing. Default: the image's, `/root` on `local`.
    pub cwd: Option<String>,
    /// Files to put in place first.
    pub files: Vec<FileUpload>,
    /// The main process; its end ends the sandbox. Default: none, the sandbox lives until it is destroyed.
    pub command: Option<Vec<String>>,
    /// An image by reference. Default: the provider's own.
    pub image: Option<String>,
    /// A snapshot to start from.
    pub snapshot: Option<String>,
    /// What it may reach. Default: the provider's own, [`Network::Egress`] on `local`.
    pub network: Option<Network>,
    /// Ports to publish: each gets a [`Tunnel`](crate::Tunnel).
    pub ports: Vec<u16>,
    /// Of [`ports`](Self::ports), those whose servers speak HTTP/2: their TLS side offers it to clients. Servers on the others
    /// may speak it without TLS.
    pub h2_ports: Vec<u16>,
    /// Who may use the published ports, as address ranges in CIDR notation. Default: everybody who reaches them, which is
    /// this machine alone on `local` unless its configuration says otherwise.
    pub inbound: Option<Vec<String>>,
    /// Limits and devices.
    pub resources: Resources,
    /// How much isolation to insist on.
    pub isolation: Isolation,
}

impl fmt::Debug for CreateOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateOptions")
            .field("runtime", &self.runtime)
            .field("timeout", &self.timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("sandbox_id", &self.sandbox_id)
            .field("name", &self.name)
            .field("metadata", &self.metadata)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("cwd", &self.cwd)
            .field("files", &self.files)
            .field("command", &self.command)
            .field("image", &self.image)
            .field("snapshot", &self.snapshot)
            .field("network", &self.network)
            .field("ports", &self.ports)
            .field("h2_ports", &self.h2_ports)
            .field("inbound", &self.inbound)
            .field("resources", &self.resources)
            .field("isolation", &self.isolation)
            .finish()
    }
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PtySize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

impl Default for PtySize {
    fn default() -> Self {
        Self { rows: 24, cols: 80 }
    }
}

/// Where one standard stream of a process goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stdio {
    /// A pipe that the caller reads or writes.
    #[default]
    Piped,
    /// `/dev/null`.
    Null,
    /// Standard error only: into standard output.
    Merged,
}

/// What `exec` may be asked for.
///
/// `Debug` prints the names of environment variables, never their values.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct ExecOptions {
    /// Id of the process, for idempotent starts. Default: a fresh one.
    pub id: Option<ProcessId>,
    /// Program and arguments; no shell is involved. Must not be empty.
    pub argv: Vec<String>,
    /// Added to the sandbox's environment; wins over it.
    pub env: BTreeMap<String, String>,
    /// Working directory; must exist. Default: the sandbox's.
    pub cwd: Option<String>,
    /// User by name or number. Default: the sandbox's root.
    pub user: Option<String>,
    /// Kills the process and its group after so long; the result then says that it timed out.
    /// Default: the sandbox's timeout. [`Duration::MAX`] is no limit.
    pub timeout: Option<Duration>,
    /// Gives it a terminal of this size instead of pipes; output then comes on standard output alone.
    pub pty: Option<PtySize>,
    /// Standard input.
    pub stdin: Stdio,
    /// Standard output.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
}

impl ExecOptions {
    /// Runs `argv` with the defaults of every other option.
    #[must_use]
    pub fn new<I>(argv: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self { argv: argv.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

impl fmt::Debug for ExecOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecOptions")
            .field("id", &self.id)
            .field("argv", &self.argv)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("cwd", &self.cwd)
            .field("user", &self.user)
            .field("timeout", &self.timeout)
            .field("pty", &self.pty)
            .field("stdin", &self.stdin)
            .field("stdout", &self.stdout)
            .field("stderr", &self.stderr)
            .finish()
    }
}

/// Which sandboxes `list` returns; the default is every running one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListFilter {
    /// Only those that carry all of this metadata.
    pub metadata: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_prints_a_value_of_the_environment() {
        let create = CreateOptions {
            env: BTreeMap::from([("TOKEN".into(), "s3cret".into())]),
            files: vec![FileUpload::new("/x", "s3cret")],
            ..Default::default()
        };
        let exec = ExecOptions { env: create.env.clone(), ..ExecOptions::new(["env"]) };
        for text in [format!("{create:?}"), format!("{exec:?}")] {
            assert!(text.contains("TOKEN") && !text.contains("s3cret"), "{text}");
        }
    }
}
