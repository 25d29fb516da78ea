//! One static program with two modes, told apart by `argv[0]`.
//!
//! ```text
//! engine's process ──spawn──► launcher (outside) ──clone3──► child: mounts, limits, filters ──execveat──► agent (pid 1)
//! ```
//!
//! * [`launcher`] is trusted. It is single-threaded and small, so that its clones are safe and cheap, owns every
//!   sandbox's first process, and ends when its control socket does: no sandbox outlives its engine.
//! * [`agent`] is **not** trusted: code in the sandbox may be root there. It holds no secret of the host, starts
//!   programs and opens files on request, and everything it says is checked by the engine.
//! * [`sys`] is the only place with `unsafe`.

mod agent;
mod launcher;
mod sys;

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().next().as_deref() {
        Some(computesdk_guest_protocol::LAUNCHER_ARG0) => launcher::main(),
        Some(computesdk_guest_protocol::AGENT_ARG0) => agent::main(),
        _ => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "this program is started by ComputeSDK's engine");
            ExitCode::from(2)
        }
    }
}
