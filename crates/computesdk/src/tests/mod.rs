//! Tests of the facade over a provider that has no isolation: what is tested is this crate alone.

mod code;
mod commands;
mod config;
mod files;
mod network;
#[cfg(feature = "share")]
mod share;

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

/// The `sleep` with this argument on this machine, by process id.
fn sleeps(argument: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten().filter(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.starts_with("sleep") && line.contains(argument)
    });
    processes.map(|process| process.file_name().to_string_lossy().into_owned()).collect()
}

/// Whether that `sleep` runs.
fn runs(argument: &str) -> bool {
    !sleeps(argument).is_empty()
}

/// Ends that `sleep`, which a test left running on purpose.
fn end(argument: &str) {
    let status = std::process::Command::new("kill").args(sleeps(argument)).status().unwrap();
    assert!(status.success());
}
