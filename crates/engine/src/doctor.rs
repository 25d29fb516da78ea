//! What this host offers, and what to do about what it does not.

use crate::host::{Host, failed};
use crate::{EngineError, EngineOptions, Rung, rung};
use serde::Serialize;
use std::path::PathBuf;

/// One rung of the ladder on this host.
#[derive(Debug, Clone, Serialize)]
pub struct RungReport {
    /// `A (root)` and so on.
    pub name: String,
    /// Whether a sandbox came up on it.
    pub works: bool,
    /// Why not.
    pub why: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// One interpreter of the image.
#[derive(Debug, Clone, Serialize)]
pub struct InterpreterReport {
    /// `python` or `node`.
    pub language: &'static str,
    /// Its path in the sandbox.
    pub executable: String,
    /// Its version.
    pub version: String,
    /// How it was found.
    pub found_by: String,
}

/// One interpreter that was not taken.
#[derive(Debug, Clone, Serialize)]
pub struct RejectedReport {
    /// Its path on the host.
    pub path: PathBuf,
    /// Why not.
    pub why: String,
}

/// The findings.
#[derive(Debug, Clone, Serialize)]
pub struct Doctor {
    /// The rung that will be used, if there is one.
    pub rung: Option<String>,
    /// Every rung that was tried, best first.
    pub rungs: Vec<RungReport>,
    /// The kernel's release.
    pub kernel: String,
    /// The interpreters in the image.
    pub interpreters: Vec<InterpreterReport>,
    /// Interpreters that were not taken.
    pub rejected: Vec<RejectedReport>,
    /// Generated files.
    pub cache_dir: PathBuf,
    /// Journals.
    pub state_dir: PathBuf,
    /// Limits that can be kept, in the words of the command line.
    pub limits: Vec<&'static str>,
    /// What to do about those that cannot.
    pub limits_hint: Option<String>,
    /// What reaches the network from sandboxes that may: `every program`, or `programs that use an HTTP proxy`.
    pub network: Option<&'static str>,
    /// What to do about it, if it could be better.
    pub network_hint: Option<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

impl Doctor {
    /// Tries every rung by making a sandbox on it. Nothing is left behind.
    ///
    /// # Errors
    /// If the directories cannot be used or the host image cannot be made.
    pub async fn examine(options: EngineOptions) -> Result<Self, EngineError> {
        let degraded = options.degraded;
        let host = Host::new(options)?;
        let (attempts, failures) = rung::attempts(degraded);
        let mut rungs: Vec<RungReport> = failures.into_iter().map(report).collect();
        let (mut best, mut network, mut network_hint) = (None, None, None);
        for attempt in &attempts {
            let name = attempt.rung().label().to_owned();
            match host.start(attempt, true).await {
                Ok(engine) => {
                    if best.is_none() {
                        let networks = &engine.inner.networks;
                        network = Some(networks.reach());
                        network_hint = networks.hint();
                    }
                    engine.shut_down().await;
                    best = best.or(Some(attempt.clone()));
                    rungs.retain(|rung| rung.name != name);
                    rungs.push(RungReport { name, works: true, why: None, hint: None });
                }
                Err(EngineError::Image(error)) if error.is_everywhere() => return Err(EngineError::Image(error)),
                // Two ways to the same rung: one that works is enough.
                Err(_) if rungs.iter().any(|rung| rung.name == name && rung.works) => {}
                Err(error) => rungs.push(report(failed(attempt, &error))),
            }
        }
        rungs.sort_by(|a, b| a.name.cmp(&b.name));
        let image = host.image(best.as_ref().is_some_and(|attempt| attempt.idmapped))?;
        let mut notes = Vec::new();
        if best.as_ref().is_some_and(|attempt| attempt.rung() == Rung::A && !attempt.idmapped) {
            notes.push(String::from(
                "this file system does not take idmapped mounts: the image's files belong to nobody in a sandbox, \
                 and cannot be changed in place",
            ));
        }
        notes.push(cgroups());
        let kept = host.kept_limits();
        let limits = [("memory", kept.memory), ("cpu", kept.cpus), ("pids", kept.pids)];
        let limits = limits.into_iter().chain([("disk", true), ("max-open-files", true)]);
        Ok(Self {
            rung: best.map(|attempt| attempt.rung().label().to_owned()),
            rungs,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            interpreters: [("python", &image.python), ("node", &image.node)]
                .into_iter()
                .filter_map(|(language, found)| {
                    let found = found.clone()?;
                    let (executable, version, found_by) = (found.executable, found.version, found.found_by);
                    Some(InterpreterReport { language, executable, version, found_by })
                })
                .collect(),
            rejected: image
                .rejected
                .iter()
                .map(|rejected| RejectedReport { path: PathBuf::from(&rejected.path), why: rejected.why.clone() })
                .collect(),
            cache_dir: host.cache_dir.clone(),
            state_dir: host.state_dir().to_path_buf(),
            limits: limits.filter(|(_, kept)| *kept).map(|(name, _)| name).collect(),
            limits_hint: kept.advice,
            network,
            network_hint,
            notes,
        })
    }
}

fn report(failure: crate::RungFailure) -> RungReport {
    RungReport { name: failure.rung.to_owned(), works: false, why: Some(failure.why), hint: failure.hint }
}

fn cgroups() -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let kind = |kind: &str| mounts.lines().filter(|line| line.split(' ').nth(2) == Some(kind)).count();
    match (kind("cgroup2"), kind("cgroup")) {
        (0, 0) => String::from("cgroups: none mounted"),
        (_, 0) => String::from("cgroups: version 2"),
        (0, n) => format!("cgroups: version 1, {n} hierarchies"),
        (_, n) => format!("cgroups: version 1, {n} hierarchies, and version 2 beside them"),
    }
}
