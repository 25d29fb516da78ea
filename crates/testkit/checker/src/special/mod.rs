//! The checks that are written out one by one. What each tries stands in `checks.txt`.

mod files;
mod gateway;
mod ipc;
mod kernel;
mod mounts;
mod neighbours;
mod netlink;
mod network;
mod processes;
mod start;

use crate::{Facts, Verdict};

pub(crate) use ipc::new_terminal;
pub(crate) use netlink::rtnetlink;
pub(crate) use start::open_descriptors;

/// A verdict, or one that says why there is none.
type Done = Result<Verdict, Verdict>;

pub(crate) fn run(name: &str, facts: &Facts, descriptors: &[u64]) -> Verdict {
    let done = files::run(name, facts)
        .or_else(|| mounts::run(name, facts))
        .or_else(|| processes::run(name, facts))
        .or_else(|| start::run(name, facts, descriptors))
        .or_else(|| network::run(name, facts))
        .or_else(|| netlink::run(name, facts))
        .or_else(|| gateway::run(name, facts))
        .or_else(|| neighbours::run(name, facts))
        .or_else(|| ipc::run(name, facts))
        .or_else(|| kernel::run(name, facts));
    match done {
        Some(done) => done.unwrap_or_else(|verdict| verdict),
        None => Verdict::NotHeld(format!("no check is called {name}")),
    }
}

/// Directories in which a mark is left, for `outside` to look whether any of them is the host's.
pub(crate) const MARKED: &[&str] = &[
    "/",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/etc",
    "/bin",
    "/lib",
    "/root",
    "/home",
    "/opt",
    "/srv",
    "/mnt",
    "/var",
    "/var/lib",
    "/var/tmp",
    "/tmp",
    "/run",
    "/dev",
    "/dev/shm",
    "/sys",
    "/proc",
];

/// Leaves a mark wherever this process may make a file.
pub(crate) fn leave_marks(facts: &Facts) {
    if let Ok(token) = facts.get("canary.token") {
        for dir in MARKED {
            let _ = std::fs::write(format!("{dir}/computesdk-mark-{token}"), "");
        }
    }
}
