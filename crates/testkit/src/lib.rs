//! The conformance suite that every provider runs.
//!
//! One set of trials says what a ComputeSDK sandbox is: they are written against the facade and the traits of
//! [`computesdk_core`], never against one provider. A provider's whole test is a program with `harness = false`:
//!
//! ```no_run
//! # fn example<P: computesdk_core::Provider + 'static>(provider: P) -> std::process::ExitCode {
//! // The whole of its `main`:
//! computesdk_testkit::run("local", computesdk_testkit::Suite::new(|| async { Ok(provider) }))
//! # }
//! ```
//!
//! * Which trials apply follows from [`Capabilities`](computesdk_core::Capabilities) alone. A capability that is
//!   declared cannot skip its trials: no trial can skip itself, and [`Suite`] has no list of exceptions. A capability
//!   that is not declared turns its trials into `ignored (reason)`, and the option it stands for must then be refused.
//! * Three outcomes: passed, failed, skipped. The skipped ones are listed with their reasons before the run and stand
//!   last in it, so that the log ends with them and with libtest's usual `test result:` line.
//! * Every trial has a deadline and removes the sandboxes that it made, also when it fails or panics.
//!
//! [`containment`] is beside the suite: what code in a sandbox gets at, found out from inside.
//!
//! The program takes libtest's arguments (a filter, `--list`, `--exact`, `--skip`, `--test-threads`) and reads
//! `COMPUTESDK_TRIAL_TIMEOUT` (seconds) and `COMPUTESDK_CONFORMANCE_REPORT` (where to write a JSON report).

// The trials are tests: their failures are told by panics as well as by values.
#![allow(clippy::missing_panics_doc)]

#[macro_use]
mod check;
#[macro_use]
mod trial;
pub mod containment;
mod context;
mod harness;
mod need;
mod probe;
mod report;
mod server;
mod suite;
mod trials;

pub use harness::run;
pub use suite::Suite;
