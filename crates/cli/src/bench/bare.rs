//! The machine without a sandbox: what everything is compared to.

use super::pipe::{self, Times};
use super::scratch::Scratch;
use super::{ANSWER, ECHO};
use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs the program.
pub(crate) fn echo() -> io::Result<Times> {
    pipe::run(&mut pipe::command(&ECHO), ANSWER)
}

/// Starts the program and reaps it, as an exec is waited for. Its output stays in the pipe.
pub(crate) fn echo_reaped() -> io::Result<Duration> {
    let mut command = pipe::command(&ECHO);
    let started = Instant::now();
    let mut child = command.spawn()?;
    let status = child.wait()?;
    let time = started.elapsed();
    if status.success() { Ok(time) } else { Err(io::Error::other(format!("{} ended with {status}", ECHO[0]))) }
}

/// Writes a file that was not there.
pub(crate) fn write(scratch: &Scratch, content: &[u8]) -> io::Result<Duration> {
    let path = scratch.path("written");
    let started = Instant::now();
    fs::write(&path, content)?;
    let time = started.elapsed();
    fs::remove_file(path)?;
    Ok(time)
}

/// `cp` of a file that is in memory, to one that was not there.
pub(crate) fn copy(scratch: &Scratch, source: &str) -> io::Result<Duration> {
    let (from, to) = (scratch.path(source), scratch.path("copied"));
    let mut command = Command::new("cp");
    command.args([&from, &to]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status()?;
    let time = started.elapsed();
    if !status.success() || fs::metadata(&to)?.len() != fs::metadata(&from)?.len() {
        return Err(io::Error::other(format!("cp ended with {status}")));
    }
    fs::remove_file(to)?;
    Ok(time)
}
