//! `compute`: run code in a sandbox from a terminal.
//!
//! ```text
//! args ──► commands/{run,shell,doctor,bench,ca,completions}
//!             │ program: what to run, in which language      session: provider, sandbox, signals
//!             └► attach: streams, signals and the terminal, until the end ──► exit: the code to pass on
//!                └ network_log: what is decided meanwhile
//! ```
//!
//! `commands/{create,exec,ps,logs,cp,stop,tags}` are for sandboxes that outlive one `compute`: they talk to a server, see `remote`.
//! `bench` and `serve` stand apart: one measures a provider, the other puts Modal's API in front of one; each has a folder of its own.
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
#[cfg(feature = "serve")]
mod remote;
#[cfg(feature = "serve")]
mod serve;
mod session;
mod signals;
mod size;
mod stdio;
mod terminal;
mod values;

use clap::Parser as _;
use std::process::ExitCode;

/// Lets this process have as many open files as it may: each connection of a sandbox is two. What sandboxes may have does not follow
/// from it.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If it is refused, fewer will do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn main() -> ExitCode {
    match args::Cli::try_parse() {
        Ok(cli) => {
            raise_open_files();
            commands::dispatch(cli).into()
        }
        Err(refusal) => {
            // A closed stream is no reason to say more.
            let _ = refusal.print();
            if refusal.use_stderr() { exit::Exit::OURS.into() } else { ExitCode::SUCCESS }
        }
    }
}
