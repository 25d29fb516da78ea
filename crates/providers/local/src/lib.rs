//! Sandboxes on this machine, made by the embedded engine: no daemon, no account, nothing downloaded.
//!
//! Translation only: `computesdk-core`'s traits on one side, `computesdk-engine` on the other. [`Local`] is the
//! provider, [`LocalConfig`] what it can be told; the engine starts with the first sandbox and ends with the last handle
//! of the provider and its sandboxes.
//!
//! ```no_run
//! use computesdk_core::{CreateOptions, Provider as _};
//! use computesdk_local::{LocalConfig, local};
//!
//! # async fn example() -> computesdk_core::Result<()> {
//! let provider = local(LocalConfig::default());
//! let sandbox = provider.create(CreateOptions::default()).await?;
//! println!("{}", sandbox.info().await?.isolation.unwrap_or_default());
//! sandbox.terminate().await
//! # }
//! ```

mod config;
mod error;
mod files;
mod network;
mod ports;
mod process;
mod provider;
mod sandbox;
mod used;

pub use computesdk_engine::{Doctor, InterpreterReport, RejectedReport, RungReport};
pub use config::{LocalConfig, authority_dir};
pub use provider::{Local, doctor, local};
