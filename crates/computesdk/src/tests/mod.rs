//! Tests of the facade over a provider that has no isolation: what is tested is this crate alone.

mod code;
mod commands;
mod config;
mod files;

use crate::testing::Host;
use crate::{Compute, Sandbox};
use std::time::{Duration, Instant};

/// A new sandbox of a new provider.
async fn sandbox() -> Sandbox {
    Compute::with_provider(Host::new("host")).sandbox().create(()).await.unwrap()
}

/// Waits until something that happens by itself has happened.
async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(20), "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A number that is in no other process's command line: how a test finds its own `sleep` again.
fn unique_seconds() -> String {
    use std::hash::BuildHasher as _;
    let number = std::hash::RandomState::new().hash_one(Instant::now());
    format!("1000.{number:020}")
}

/// Whether a process with this argument runs on this machine.
fn runs(argument: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.starts_with("sleep") && line.contains(argument)
    })
}
