//! `compute serve` at its worst moments: killed with everything it has alive, told to stop in the middle of it, started over a state
//! that is broken. What is left on the machine is looked at from outside.
//!
//! Needs user namespaces; without them the tests with sandboxes say so and pass, unless `COMPUTESDK_EXPECT_RUNG` is set.

#![cfg(feature = "serve")]
#![allow(clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;

mod client;
mod footprint;
mod home;
mod killed;
mod state;
