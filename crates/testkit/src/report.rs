//! The JSON report of a run, for tables and dashboards.
//!
//! ```json
//! { "provider": "local", "capabilities": {…}, "passed": 1, "failed": 0, "skipped": 1,
//!   "trials": [ { "group": "pty", "name": "resize_is_seen", "outcome": "skipped", "reason": "…", "ms": 0 } ] }
//! ```

use crate::trial::Trial;
use computesdk_core::Capabilities;
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How one trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Passed,
    Failed,
    Skipped,
}

impl Ended {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What is collected while the trials run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    trials: Mutex<Vec<(Ended, Value)>>,
}

impl Report {
    /// Notes how a trial ended; `reason` is the failure's message or why it was skipped.
    pub(crate) fn add(&self, trial: &Trial, ended: Ended, reason: Option<&str>, took: Duration) {
        let mut entry = json!({
            "group": trial.group,
            "name": trial.name,
            "outcome": ended.as_str(),
            "ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
        if let Some(reason) = reason {
            entry["reason"] = reason.into();
        }
        self.trials.lock().unwrap_or_else(PoisonError::into_inner).push((ended, entry));
    }

    /// The whole report, trials in the order of their names.
    pub(crate) fn to_json(&self, provider: &str, capabilities: Option<&Capabilities>) -> Value {
        let mut trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner).clone();
        trials.sort_by_key(|(_, entry)| (entry["group"].to_string(), entry["name"].to_string()));
        let count = |ended| trials.iter().filter(|(how, _)| *how == ended).count();
        json!({
            "provider": provider,
            "capabilities": capabilities,
            "passed": count(Ended::Passed),
            "failed": count(Ended::Failed),
            "skipped": count(Ended::Skipped),
            "trials": trials.into_iter().map(|(_, entry)| entry).collect::<Vec<_>>(),
        })
    }
}
