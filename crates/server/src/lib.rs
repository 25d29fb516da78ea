//! `compute serve`: Modal's API in front of any sandbox provider.
//!
//! ```text
//!            front            auth, fault              wire                    live                     core
//!  socket ──► sniffed: TLS? ──► tower layers ──► control, router ──► sandboxes, execs, output ──► dyn Provider
//!                 └► http: health, fault rules         │   └ files: the helper program, the old file calls
//!                                                      ├ image: lines of a Dockerfile
//!                                                      └ state: SQLite, secrets sealed
//! ```
//!
//! Modal's own SDKs run against it unmodified. It knows no engine: it sees [`Provider`](computesdk_core::Provider) alone, and what clients
//! are promised beyond that (names, tags, output by offset, readiness, tokens, idempotency) is kept here. What it does
//! not serve is refused in one sentence that names the feature.
//!
//! # Example
//! ```no_run
//! use computesdk_server::{Server, ServerOptions};
//! # use std::sync::Arc;
//! # async fn example(provider: Arc<dyn computesdk_core::Provider>) -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::open(provider, ServerOptions::new("/var/lib/computesdk/server")).await?;
//! let token = server.issue_token().await?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! println!("export MODAL_SERVER_URL=http://{}", listener.local_addr()?);
//! println!("export MODAL_TOKEN_ID={}", token.token_id);
//! server.serve(listener, async { let _ = tokio::signal::ctrl_c().await; }).await;
//! # Ok(())
//! # }
//! ```

mod auth;
pub mod fault;
mod files;
pub mod front;
pub mod http;
mod ids;
mod image;
mod live;
mod options;
mod server;
mod state;
mod unserved;
mod wire;

pub use options::ServerOptions;
pub use server::{Credentials, Server, ServerError};
