//! Tries, from inside a sandbox, what it must not allow, and says what did not work.
//!
//! ```text
//! checker outside              on the host: plants files, sockets, keys and the like, prints facts about the host as
//!    │ facts                   KEY=VALUE lines, waits for its input to end, and removes what it planted
//!    ▼
//! checker check KEY=VALUE…     in the sandbox: one JSON line for each check
//!
//! checker neighbour PORT WORD NAME   in another sandbox: something to be reached, until its input ends
//! ```
//!
//! The checks are in `checks.txt`, and `checker.py` is another program that answers the same list. Nothing is taken on
//! trust: a check that has a harmless form is really made. A check that lacks its fact, or what it would try out, is
//! "not applicable", with the reason. Each runs in a process of its own, so that what it changes does not last.

mod banner;
mod generic;
mod list;
mod outside;
mod reach;
mod report;
mod special;
mod sys;

use std::collections::HashMap;
use std::io::Write as _;

/// What is known about the host.
pub(crate) struct Facts(HashMap<String, String>);

impl Facts {
    fn from_arguments(arguments: impl Iterator<Item = String>) -> Self {
        let pair = |argument: String| argument.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self(arguments.filter_map(pair).collect())
    }

    /// One fact; the error is what a check that needs it says.
    pub(crate) fn get(&self, name: &str) -> Result<&str, Verdict> {
        match self.0.get(name).map(String::as_str).filter(|value| !value.is_empty()) {
            Some(value) => Ok(value),
            None => Err(Verdict::NotApplicable(format!("the host has no {name}"))),
        }
    }
}

/// What came of a check, with the evidence.
pub(crate) enum Verdict {
    Held(String),
    NotHeld(String),
    NotApplicable(String),
}

impl Verdict {
    /// Held if it failed.
    pub(crate) fn refused<T: std::fmt::Debug, E: std::fmt::Display>(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::NotHeld(format!("it worked: {value:?}")),
            Err(error) => Self::Held(error.to_string()),
        }
    }

    /// Held if `holds`.
    pub(crate) fn when(holds: bool, evidence: impl Into<String>) -> Self {
        if holds { Self::Held(evidence.into()) } else { Self::NotHeld(evidence.into()) }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("outside") => outside::run(),
        Some("check") => check(&Facts::from_arguments(arguments)),
        Some("neighbour") => neighbour(arguments),
        _ => {
            let usage = "usage: computesdk-checker outside | check KEY=VALUE… | neighbour PORT WORD NAME";
            let _ = writeln!(std::io::stderr(), "{usage}");
            sys::exit(2);
        }
    }
}

fn neighbour(mut arguments: impl Iterator<Item = String>) {
    let port = arguments.next().and_then(|port| port.parse().ok()).unwrap_or(0);
    let mut word = || arguments.next().unwrap_or_default();
    if let Err(error) = banner::neighbour(port, &word(), &word()) {
        let _ = writeln!(std::io::stderr(), "{error}");
        sys::exit(1);
    }
}

fn check(facts: &Facts) {
    // Before anything else opens one.
    let descriptors = special::open_descriptors();
    for check in list::all() {
        let (said, status) = sys::in_child(|| {
            let verdict = if check.kind == "special" {
                special::run(check.name, facts, &descriptors)
            } else {
                generic::run(&check, facts)
            };
            report::encode(verdict)
        });
        // Line by line, so that what was found is kept if a check ends the sandbox.
        let line = report::line(&check, &report::decode(&said, status));
        let _ = std::io::stdout().write_all(line.as_bytes());
    }
    special::leave_marks(facts);
}
