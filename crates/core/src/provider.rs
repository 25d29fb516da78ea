//! The traits a provider implements.
//!
//! ```text
//! Provider ──create/get/list──► Sandbox ──exec──► Process (stdin, stdout, stderr, wait)
//!                                  └────files───► Files ──open──► File
//! ```
//!
//! They are object-safe and held as `Arc<dyn …>`, so handles are shared freely between tasks. No method has a default
//! body: a wrapper that forgets one would silently lose it. Dropping any handle leaves what it stands for alone;
//! only `terminate` (or a timeout, or the end of the process that owns the engine) ends a sandbox.

use crate::{
    Capabilities, CreateOptions, DirEntry, EndCause, EventStream, ExecOptions, ExitStatus, FileStat, ListFilter,
    Network, OpenMode, ProcessId, PtySize, Result, SandboxId, SandboxInfo, Signal, Tunnel, Usage, WatchEvent,
};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite};

/// A stream that is read.
pub type BoxRead = Box<dyn AsyncRead + Send + Unpin>;
/// A connection: both directions, each with an end of its own. Shutting it down is the other side's end of file.
pub type BoxStream = Box<dyn ByteStream>;
/// A stream that is written; shutting it down is the reader's end of file.
pub type BoxWrite = Box<dyn AsyncWrite + Send + Unpin>;

/// Makes sandboxes.
#[async_trait]
pub trait Provider: Send + Sync + fmt::Debug {
    /// The lower-case name: `local`, `modal`.
    fn name(&self) -> &str;

    /// What it can keep. Constant for the life of the provider.
    fn capabilities(&self) -> Capabilities;

    /// Makes a sandbox that is ready to exec, or connects to `options.sandbox_id`.
    ///
    /// # Errors
    /// `Unsupported` or `InvalidArgument` before anything is made; otherwise what went wrong, with nothing left behind
    /// (what could not be removed is in [`Error::cleanup_error`](crate::Error::cleanup_error)).
    async fn create(&self, options: CreateOptions) -> Result<Arc<dyn Sandbox>>;

    /// The sandbox with this id, running or ended; `None` if there was never one or it is forgotten.
    ///
    /// # Errors
    /// If the provider could not be asked.
    async fn get(&self, id: &SandboxId) -> Result<Option<Arc<dyn Sandbox>>>;

    /// The running sandbox with this name.
    ///
    /// # Errors
    /// If the provider could not be asked.
    async fn find(&self, name: &str) -> Result<Option<Arc<dyn Sandbox>>>;

    /// The running sandboxes, oldest first.
    ///
    /// # Errors
    /// If the provider could not be asked.
    async fn list(&self, filter: &ListFilter) -> Result<Vec<Arc<dyn Sandbox>>>;
}

/// One isolated, disposable machine.
#[async_trait]
pub trait Sandbox: Send + Sync + fmt::Debug {
    /// Its id.
    fn id(&self) -> &SandboxId;

    /// The name of the provider that made it.
    fn provider(&self) -> &str;

    /// What is known of it, also after its end.
    ///
    /// # Errors
    /// If the provider could not be asked.
    async fn info(&self) -> Result<SandboxInfo>;

    /// The process of [`CreateOptions::command`], if there is one.
    fn main_process(&self) -> Option<Arc<dyn Process>>;

    /// Starts a process. A program that cannot be started is a [`Process`] that has already ended, with code 126 or
    /// 127 and the reason on its standard error.
    ///
    /// # Errors
    /// `InvalidArgument` for an unusable argument, unknown user or missing working directory; `NotFound` if the
    /// sandbox has ended.
    async fn exec(&self, options: ExecOptions) -> Result<Arc<dyn Process>>;

    /// Its files.
    fn files(&self) -> Arc<dyn Files>;

    /// Returns when the sandbox has ended.
    ///
    /// # Errors
    /// If the provider could not be asked.
    async fn wait(&self) -> Result<EndCause>;

    /// What it has used so far, or in all.
    ///
    /// # Errors
    /// If the provider could not be asked.
    async fn usage(&self) -> Result<Usage>;

    /// Ends it and everything in it, and returns when nothing of it runs any more. Doing so twice is fine.
    ///
    /// # Errors
    /// If the provider could not be asked.
    async fn terminate(&self) -> Result<()>;

    /// Publishes a port: opens a tunnel to it, or returns the one there is. Nothing has to listen there yet.
    ///
    /// # Errors
    /// `Unsupported` if the provider publishes none, or none after create; `InvalidArgument` for port 0; `NotFound` if the
    /// sandbox has ended.
    async fn publish(&self, port: u16) -> Result<Tunnel>;

    /// The published ports, in ascending order; none once it has ended.
    ///
    /// # Errors
    /// If the provider could not be asked.
    async fn tunnels(&self) -> Result<Vec<Tunnel>>;

    /// Connects to a TCP port on the sandbox's own loopback, published or not.
    ///
    /// # Errors
    /// `Unavailable` if nothing listens there; `Unsupported` if the provider has no such way; `NotFound` if the sandbox has
    /// ended.
    async fn connect(&self, port: u16) -> Result<BoxStream>;

    /// Changes what it may reach, from now on. Connections that the new policy does not allow are cut.
    ///
    /// # Errors
    /// `Unsupported` if the provider cannot keep the policy, or not any more; `InvalidArgument` for one that makes no sense;
    /// `NotFound` if the sandbox has ended.
    async fn set_network(&self, network: Network) -> Result<()>;

    /// What happened to it, from its creation on as far as that is remembered, and what will happen.
    ///
    /// # Errors
    /// If the provider could not be asked.
    async fn events(&self) -> Result<Box<dyn EventStream>>;

    /// Replaces its metadata.
    ///
    /// # Errors
    /// If the provider could not be asked.
    async fn set_metadata(&self, metadata: BTreeMap<String, String>) -> Result<()>;
}

/// One running or ended process. Dropping it does not end the process.
#[async_trait]
pub trait Process: Send + Sync + fmt::Debug {
    /// Its id.
    fn id(&self) -> &ProcessId;

    /// Its standard input, once; `None` if taken, or not a pipe.
    fn take_stdin(&self) -> Option<BoxWrite>;

    /// Its standard output, once; `None` if taken, or not a pipe. With a terminal, all output.
    fn take_stdout(&self) -> Option<BoxRead>;

    /// Its standard error, once; `None` if taken, or not a pipe.
    fn take_stderr(&self) -> Option<BoxRead>;

    /// Changes the size of its terminal.
    ///
    /// # Errors
    /// `FailedPrecondition` if it has none.
    async fn resize(&self, size: PtySize) -> Result<()>;

    /// Sends a signal to its process group. One that has ended is not an error.
    ///
    /// # Errors
    /// `InvalidArgument` for a number that is no signal.
    async fn signal(&self, signal: Signal) -> Result<()>;

    /// Returns when it has ended; any number of callers, any number of times. Output may still be unread then.
    ///
    /// # Errors
    /// If the provider could not be asked.
    async fn wait(&self) -> Result<ExitStatus>;

    /// What it used; of a running one, what is known.
    ///
    /// # Errors
    /// If the provider could not be asked.
    async fn usage(&self) -> Result<Usage>;
}

/// What a [`BoxStream`] is made of.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// An open file; positions and lengths are bytes.
pub trait File: AsyncRead + AsyncWrite + AsyncSeek + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + AsyncSeek + Send + Unpin> File for T {}

/// Changes below a watched path, as they happen. Dropping it ends the watch.
#[async_trait]
pub trait WatchStream: Send {
    /// The next change; `None` once the sandbox has ended or the watched path is gone.
    async fn next(&mut self) -> Option<WatchEvent>;
}

/// The files of a sandbox. Paths are absolute and resolved inside the sandbox, by the sandbox.
///
/// Errors carry the kernel's number where the provider knows it ([`Error::errno`](crate::Error::errno)): `InvalidArgument` alone does not
/// tell a directory from a FIFO.
#[async_trait]
pub trait Files: Send + Sync + fmt::Debug {
    /// Opens a regular file. FIFOs, devices and sockets are refused, without blocking.
    ///
    /// `mode` (permission bits) is used when the file is made; `None` is 0644.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` (a directory, a FIFO, a path with NUL or not absolute).
    async fn open(&self, path: &str, how: OpenMode, mode: Option<u32>) -> Result<Box<dyn File>>;

    /// Metadata; with `follow`, of what a symbolic link points to.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument`.
    async fn stat(&self, path: &str, follow: bool) -> Result<FileStat>;

    /// The entries of a directory, sorted by name.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` (not a directory).
    async fn list(&self, path: &str) -> Result<Vec<DirEntry>>;

    /// Makes a directory and its parents; one that exists is fine.
    ///
    /// # Errors
    /// `AlreadyExists` if a file is in the way, `PermissionDenied`, `InvalidArgument`.
    async fn make_dir(&self, path: &str) -> Result<()>;

    /// Removes a file or a whole tree, never through symbolic links. What is missing is fine.
    ///
    /// # Errors
    /// `PermissionDenied`, `InvalidArgument` (the root directory).
    async fn remove(&self, path: &str) -> Result<()>;

    /// Renames, replacing a file that is in the way.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument`.
    async fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Changes to this file, or to the entries of this directory; with `recursive`, to the tree below it.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument`.
    async fn watch(&self, path: &str, recursive: bool) -> Result<Box<dyn WatchStream>>;
}

/// What can be given where a provider is wanted: a provider, an `Arc` of one, or a shared `Arc<dyn Provider>`.
pub trait IntoProvider {
    /// The provider, shared.
    fn into_provider(self) -> Arc<dyn Provider>;
}

impl<P: Provider + 'static> IntoProvider for P {
    fn into_provider(self) -> Arc<dyn Provider> {
        Arc::new(self)
    }
}

impl<P: Provider + 'static> IntoProvider for Arc<P> {
    fn into_provider(self) -> Arc<dyn Provider> {
        self
    }
}

impl IntoProvider for Arc<dyn Provider> {
    fn into_provider(self) -> Arc<dyn Provider> {
        self
    }
}

impl IntoProvider for &Arc<dyn Provider> {
    fn into_provider(self) -> Arc<dyn Provider> {
        Arc::clone(self)
    }
}
