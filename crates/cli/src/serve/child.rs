//! The command that a server runs for.

use crate::exit::{Exit, Failure};
use crate::signals::Signals;
use computesdk::{Error, ErrorKind, Signal};
use std::os::unix::process::ExitStatusExt as _;
use tokio::process::Command;

/// Runs it to its end with these variables, and passes on how it ended. Signals that are for us are passed on to it; what a terminal
/// sends, it gets itself.
pub(crate) async fn run(
    command: &[String],
    variables: Vec<(&'static str, String)>,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    let Some((program, arguments)) = command.split_first() else { return Ok(Exit::OK) };
    let started = Command::new(program).args(arguments).envs(variables).kill_on_drop(true).spawn();
    let mut child = started.map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NOT_FOUND,
            _ => Exit::NOT_EXECUTABLE,
        };
        let text = format!("`{program}` cannot be started");
        Failure::Error(Error::new(ErrorKind::NotFound, "serve", text).with_source(error), exit)
    })?;
    let pid = child.id();
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(|error| {
                    Error::new(ErrorKind::Unexpected, "serve", "how the command ended cannot be told").with_source(error)
                })?;
                return Ok(match (status.code(), status.signal()) {
                    (Some(code), _) => Exit::passed_on(code),
                    (None, Some(signal)) => Exit::signal(Signal(signal)),
                    (None, None) => Exit::OURS,
                });
            }
            signal = signals.next() => pass_on(signal, pid),
        }
    }
}

fn pass_on(signal: Signal, pid: Option<u32>) {
    // Ctrl-C and Ctrl-\ reach the whole group of the terminal.
    if [Signal::INT, Signal::QUIT].contains(&signal) {
        return;
    }
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    let signal = rustix::process::Signal::from_named_raw(signal.0);
    if let (Some(pid), Some(signal)) = (pid, signal) {
        // It may have ended just now.
        let _ = rustix::process::kill_process(pid, signal);
    }
}
