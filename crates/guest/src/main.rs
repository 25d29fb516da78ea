//! The launcher: makes sandboxes, outside of them. Its counterpart, the first process inside, is another program: the
//! agent, in `agent/`.
//!
//! ```text
//! engine's process ──spawn──► launcher (outside) ──clone3──► child: mounts, limits, filters ──execveat──► agent (pid 1)
//! ```
//!
//! * The launcher is trusted. It is single-threaded and small, so that its clones are safe and cheap, owns every sandbox's
//!   first process, and ends when its control socket does: no sandbox outlives its engine.
//! * The agent is **not** trusted: code in the sandbox may be root there. It holds no secret of the host, starts programs
//!   and opens files on request, and everything it says is checked by the engine.
//! * [`sys`] is the only place with `unsafe`.

// Rust's own start-up reads /proc/self/maps and sets up stacks for signal handlers that this program does not have.
// `sys::start` has the C entry point and calls `run`.
#![no_main]

mod launcher;
mod sys;

/// Returns the exit code.
fn run() -> u8 {
    match std::env::args().next().as_deref() {
        Some(computesdk_guest_protocol::LAUNCHER_ARG0) => launcher::main(),
        _ => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "this program is started by ComputeSDK's engine");
            2
        }
    }
}
