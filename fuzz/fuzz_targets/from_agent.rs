//! What an agent says, as bytes. What must hold is in `checks.rs`, which a test of the protocol's crate shares.

#![no_main]

#[allow(dead_code, reason = "each target uses one of the checks")]
#[path = "../../crates/guest-protocol/tests/hostile/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::from_agent(bytes));
