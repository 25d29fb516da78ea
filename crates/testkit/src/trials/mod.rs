//! The trials, one file a resource.

use crate::trial::Trial;

mod bad_input;
mod bad_options;
mod code;
mod code_errors;
mod commands;
mod concurrency;
mod exec;
mod files_contents;
mod files_hostile;
mod files_metadata;
mod filesystem;
mod idle;
mod isolation;
mod lifecycle;
mod limits;
mod lookup;
mod main_process;
mod network;
mod output;
mod ports;
mod pty;
mod readiness;
mod sandbox;
mod signals;
mod stdin;
mod timeouts;
mod watch;

/// Every trial of the suite, whether or not it applies to a provider.
pub(crate) fn all() -> impl Iterator<Item = &'static Trial> {
    [
        sandbox::TRIALS,
        lookup::TRIALS,
        lifecycle::TRIALS,
        main_process::TRIALS,
        commands::TRIALS,
        exec::TRIALS,
        output::TRIALS,
        stdin::TRIALS,
        signals::TRIALS,
        bad_input::TRIALS,
        bad_options::TRIALS,
        code::TRIALS,
        code_errors::TRIALS,
        filesystem::TRIALS,
        files_contents::TRIALS,
        files_metadata::TRIALS,
        files_hostile::TRIALS,
        watch::TRIALS,
        pty::TRIALS,
        timeouts::TRIALS,
        idle::TRIALS,
        limits::TRIALS,
        network::TRIALS,
        ports::TRIALS,
        readiness::TRIALS,
        isolation::TRIALS,
        concurrency::TRIALS,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let names: Vec<_> = super::all().map(crate::trial::Trial::full_name).collect();
        let distinct: BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
