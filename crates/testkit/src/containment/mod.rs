//! Containment: what code in a sandbox gets at, found out from inside.
//!
//! ```text
//! host     checker outside ── plants a file, sockets, keys, …, and prints facts ──┐
//! another  checker neighbour ── a server and a socket, to be looked for ─────────┤
//! sandbox  checker check FACTS ── one JSON line for each check ──► Answer ┴─► compared, recorded, put in a table
//! ```
//!
//! The checker is a program of its own (`crates/testkit/checker`), in two forms: static, so that it runs in anything, and
//! a Python script. [`run`] runs both over a provider, by every way into a sandbox, without a network and with one, and beside
//! them the static one under `runc` and `bwrap` where those are installed. A check that is not held fails the run unless it stands in
//! `exceptions`; an exception that is held fails it too.
//!
//! With `COMPUTESDK_CONTAINMENT_RECORD=DIR` every answer is also written there; [`table`] makes the table in SECURITY.md
//! from it.

mod answer;
mod exceptions;
mod neighbours;
mod outside;
mod peers;
mod suite;
pub mod table;

pub use suite::{Providers, run};

/// The static form.
static PROGRAM: &[u8] = include_bytes!(env!("COMPUTESDK_CHECKER"));
/// The Python form.
static SCRIPT: &str = include_str!("../../checker/checker.py");
/// What both of them check.
static CHECKS: &str = include_str!("../../checker/checks.txt");
