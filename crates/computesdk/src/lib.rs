//! Run other people's code in sandboxes: one API over an embedded engine and cloud providers.
//!
//! ```no_run
//! # #[cfg(feature = "local")]
//! # async fn example() -> computesdk::Result<()> {
//! use computesdk::local::LocalConfig;
//! use computesdk::{ComputeConfig, compute, local};
//!
//! compute().set_config(ComputeConfig::new(local(LocalConfig::default())));
//!
//! let sandbox = compute().sandbox().create(()).await?;
//! let result = sandbox.run_code("print(6 * 7)").await?;
//! println!("{}", result.stdout); // 42
//! compute().sandbox().destroy(sandbox.sandbox_id()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A **provider** makes **sandboxes**; a sandbox runs **code** and **commands**, has **files**, and a **network**. Only the first two
//! lines name a provider: the rest of a program is the same on every one. Everything is async and needs a Tokio
//! runtime with its timer enabled (`#[tokio::main]` has that).
//!
//! # Choose a provider
//!
//! The process-wide [`compute()`] holds the default one; [`Compute::with_provider`] makes an independent value for a
//! library or a test; and every call has a form that names a provider for itself, which wins:
//!
//! ```no_run
//! # #[cfg(feature = "local")]
//! # async fn example() -> computesdk::Result<()> {
//! use computesdk::local::LocalConfig;
//! use computesdk::{Compute, CreateParams, compute, local};
//!
//! let provider = local(LocalConfig::default());
//! let mine = Compute::with_provider(&provider);
//! let one = mine.sandbox().create(()).await?;
//! let two = compute().sandbox().create(CreateParams::with_provider(&provider)).await?;
//! let found = compute().sandbox().get_by_id_with(&provider, one.sandbox_id()).await?;
//! assert!(found.is_some());
//! for sandbox in compute().sandbox().list_with(&provider).await? {
//!     println!("{} {}", sandbox.sandbox_id(), sandbox.get_info().await?.status);
//! }
//! two.destroy().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Providers are features of this crate: `local` (on by default) runs sandboxes on this machine. [`catalog`] tells what
//! the others are like.
//!
//! # Create a sandbox
//!
//! [`CreateParams`] takes what the sandbox should be: language, lifetime, environment, files, network, limits. What
//! the provider cannot keep is refused before anything is created, never dropped in silence.
//!
//! ```no_run
//! # async fn example(compute: computesdk::Compute) -> computesdk::Result<()> {
//! use computesdk::{CreateParams, Network};
//! use std::time::Duration;
//!
//! let sandbox = compute
//!     .sandbox()
//!     .create(
//!         CreateParams::new()
//!             .timeout(Duration::from_secs(60))
//!             .env("STAGE", "test")
//!             .file("/data/task.json", r#"{"values": [1, 2, 3]}"#)
//!             .network(Network::None),
//!     )
//!     .await?
//!     .into_guard(); // destroyed when it goes out of scope
//! println!("{}", sandbox.shell("cat /data/task.json").await?.stdout);
//! sandbox.destroy().await // waits for it, and reports
//! # }
//! ```
//!
//! A sandbox lives until it is destroyed, its lifetime ends, or nobody has used it for its
//! [`idle_timeout`](CreateParams::idle_timeout) if it has one. **Dropping a [`Sandbox`] does nothing**; a [`SandboxGuard`]
//! destroys its sandbox when it is dropped.
//!
//! # Run code
//!
//! [`Sandbox::run_code`] takes source text of any size. Await it, or set options first. Values go in with
//! [`RunCode::inputs`], never by pasting them into the text, and come out with [`ExecutionResult::json`]:
//!
//! ```no_run
//! # async fn example(sandbox: computesdk::Sandbox) -> computesdk::Result<()> {
//! use computesdk::Runtime;
//! use std::time::Duration;
//!
//! let result = sandbox
//!     .run_code(
//!         r#"
//! import json, os
//! inputs = json.load(open(os.environ["COMPUTESDK_INPUTS"]))
//! print(json.dumps({"sum": sum(inputs["values"])}))
//! "#,
//!     )
//!     .runtime(Runtime::Python)
//!     .inputs(&serde_json::json!({ "values": [1, 2, 3] }))
//!     .timeout(Duration::from_secs(10))
//!     .await?;
//! let told: serde_json::Value = result.json()?;
//! assert_eq!(told["sum"], 6);
//! # Ok(())
//! # }
//! ```
//!
//! Any number of runs may be under way in one sandbox: `futures::join!` them.
//!
//! # Run commands
//!
//! [`Sandbox::run_command`] runs a program with arguments and no shell between; [`Sandbox::shell`] runs a line for
//! the shell. Watch the output live with callbacks, or take the process into your own hands with
//! [`RunCommand::spawn`]:
//!
//! ```no_run
//! # async fn example(sandbox: computesdk::Sandbox) -> computesdk::Result<()> {
//! sandbox.run_command("pip", ["install", "requests"]).await?;
//! sandbox.run_command("nvidia-smi", ()).await?; // not there: a result with exit code 127
//!
//! let mut bytes = 0;
//! sandbox.shell("make 2>&1 | tail").cwd("/src").on_stdout(|chunk| bytes += chunk.len()).await?;
//!
//! let mut command = sandbox.run_command("python3", ["-i"]).spawn().await?;
//! command.write_stdin("print(1)\n").await?;
//! let result = command.wait_with_output().await?;
//! println!("{}", result.stdout);
//! # Ok(())
//! # }
//! ```
//!
//! Dropping the future of a call that is awaited (a `select!`, a timeout of yours) kills what it had started.
//!
//! # Read and write files
//!
//! ```no_run
//! # async fn example(sandbox: computesdk::Sandbox) -> computesdk::Result<()> {
//! let files = sandbox.filesystem();
//! files.write_file("/app/train.py", "print('trained')\n").await?; // makes /app
//! for entry in files.readdir("/app").await? {
//!     println!("{} {} bytes", entry.path, entry.size);
//! }
//! let raw: Vec<u8> = files.read_bytes("/app/train.py").await?;
//! files.remove("/app").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Network and ports
//!
//! A sandbox reaches what [`CreateParams::network`] says: by default (on `local`) the internet and nothing private, or
//! nothing, or these address ranges or host names alone. What was decided about each connection is among its
//! [`Sandbox::events`]. Its own servers are reached by **published ports**, each with a URL on this machine:
//!
//! ```no_run
//! # async fn example(compute: computesdk::Compute) -> computesdk::Result<()> {
//! use computesdk::{CreateParams, EventKind, Network, Probe, UrlProtocol, Verdict};
//! use std::time::Duration;
//!
//! let packages = Network::Domain(vec!["pypi.org".into(), "*.pythonhosted.org".into()]);
//! let sandbox = compute.sandbox().create(CreateParams::new().network(packages).port(8080)).await?;
//! sandbox.run_command("pip", ["install", "flask"]).await?;
//! sandbox.set_network(Network::None).await?; // and nothing else
//!
//! sandbox.run_command("python3", ["-m", "http.server", "8080"]).background().await?;
//! sandbox.wait_until_ready(Probe::tcp(8080).deadline(Duration::from_secs(10))).await?;
//! println!("{}", sandbox.get_url(8080).await?); // http://127.0.0.1:40123
//! println!("{}", sandbox.get_url_with(8080, UrlProtocol::Wss).await?); // TLS, which ends before the sandbox
//! let raw = sandbox.connect(5432).await?; // any TCP port, published or not
//! # drop(raw);
//!
//! let mut events = sandbox.events().await?;
//! while let Some(event) = events.next().await {
//!     if let EventKind::Network(network) = event.kind
//!         && network.verdict == Verdict::Refused
//!     {
//!         eprintln!("refused: {:?} port {}: {:?}", network.address, network.port, network.reason);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Handle failures
//!
//! Two kinds of failure never mix. **What the code in the sandbox does is data**: an exception, a non-zero exit, a
//! time limit, an unknown command are in the [`ExecutionResult`]. **What we or the provider cannot do is an
//! [`Error`]**, with an [`ErrorKind`] for programs and a message for people. The one exception is a program that does
//! not compile: none of it ran, so there is no result.
//!
//! ```no_run
//! # async fn example(sandbox: computesdk::Sandbox) -> computesdk::Result<()> {
//! use computesdk::{ErrorKind, SyntaxErrorDetails};
//!
//! match sandbox.run_code("invalid python code").await {
//!     Ok(result) if result.success() => println!("{}", result.stdout),
//!     Ok(result) if result.timed_out() => eprintln!("too slow; until then: {}", result.stdout),
//!     Ok(result) => eprintln!("exit code {}: {}", result.exit_code, result.stderr),
//!     Err(error) => match error.kind() {
//!         ErrorKind::SyntaxError => eprintln!("line {:?}: {error}", SyntaxErrorDetails::of(&error)),
//!         ErrorKind::MissingCredentials | ErrorKind::AuthenticationFailed => eprintln!("check the credentials"),
//!         ErrorKind::QuotaExceeded => eprintln!("usage limits reached"),
//!         _ => eprintln!("{}", error.report()), // causes and a hint
//!     },
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! * `local` (default): the function `local` and the module of the same name, sandboxes on this machine (Linux).
//! * `modal`: the function `modal` and the module of the same name, sandboxes at a server that speaks Modal's protocol.
//! * `share` (part of `local`): [`Sandbox::share`], ports for those who show a token.

mod args;
mod attempt;
pub mod catalog;
mod check;
mod command;
mod compute;
mod detect;
mod events;
mod file_entry;
mod filesystem;
mod guard;
mod params;
mod probe;
mod program;
mod request;
mod result;
mod run;
mod run_code;
mod run_command;
mod sandbox;
mod sandboxes;
#[cfg(feature = "share")]
mod share;
mod syntax;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod url;

pub use args::IntoArgs;
pub use command::Command;
pub use compute::{Compute, ComputeConfig, compute};
#[doc(inline)]
pub use computesdk_core as core;
pub use computesdk_core::{
    BoxRead, BoxStream, BoxWrite, ByteStream, Capabilities, CreateOptions, DirEntry, EndCause, Error, ErrorKind, Event,
    EventKind, ExecOptions, ExitCause, ExitStatus, File, FileKind, FileStat, FileUpload, FilesystemSupport, HostPort,
    IntoProvider, Isolation, Limits, ListFilter, Network, NetworkEvent, NetworkModes, NetworkProtocol, OpenMode,
    ParseNetworkError, ProcessId, Provider, PtySize, Reconnect, Resources, Result, Runtime, SandboxId, SandboxInfo,
    SandboxStatus, Signal, StartFailure, Stdio, Tunnel, Usage, Verdict, WatchEvent, WatchKind,
};
/// The `local` provider: its configuration and its diagnosis.
#[cfg(feature = "local")]
#[doc(inline)]
pub use computesdk_local as local;
#[cfg(feature = "local")]
pub use computesdk_local::local;
/// The `modal` provider: its configuration, and what it offers beyond the common traits.
#[cfg(feature = "modal")]
#[doc(inline)]
pub use computesdk_modal as modal;
#[cfg(feature = "modal")]
pub use computesdk_modal::modal;
#[cfg(feature = "share")]
pub use computesdk_tunnel::ConnectToken;
pub use detect::detect_runtime;
pub use events::Events;
pub use file_entry::{FileEntry, Watcher};
pub use filesystem::Filesystem;
pub use guard::SandboxGuard;
pub use params::CreateParams;
pub use probe::Probe;
pub use result::ExecutionResult;
pub use run_code::RunCode;
pub use run_command::RunCommand;
pub use sandbox::Sandbox;
pub use sandboxes::Sandboxes;
#[cfg(feature = "share")]
pub use share::Share;
pub use syntax::SyntaxErrorDetails;
pub use url::UrlProtocol;
