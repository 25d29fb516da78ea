//! `compute`: run code in a sandbox from a terminal.
//!
//! ```text
//! args ──► commands/{run,shell,doctor,bench,ca,completions}
//!             │ program: what to run, in which language      session: provider, sandbox, signals
//!             └► attach: streams, signals and the terminal, until the end ──► exit: the code to pass on
//!                └ network_log: what is decided meanwhile
//! ```
//!
//! `bench` stands apart: it measures a provider, and has a folder of its own.
//!
//! Start-up time counts: one thread, nothing parsed or built that the command does not need.

mod args;
mod attach;
mod bench;
mod commands;
mod duration;
mod exit;
mod network_log;
mod printer;
mod program;
mod session;
mod signals;
mod size;
mod stdio;
mod terminal;
mod values;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match args::Cli::try_parse() {
        Ok(cli) => commands::dispatch(cli).into(),
        Err(refusal) => {
            // A closed stream is no reason to say more.
            let _ = refusal.print();
            if refusal.use_stderr() { exit::Exit::OURS.into() } else { ExitCode::SUCCESS }
        }
    }
}
