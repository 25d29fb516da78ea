//! Running a program with its output in a pipe, without a sandbox, and timing it.
//!
//! `std` starts programs by `posix_spawn` where nothing speaks against it; nothing does here.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Nothing that is run here takes so long.
const HUNG: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// The times of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// From before the start to the first byte.
    pub(crate) first: Duration,
    /// To the moment it was reaped.
    pub(crate) whole: Duration,
}

/// A command with its output in a pipe, and nothing else of ours.
pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(argv: &[S]) -> Command {
    let mut words = argv.iter();
    let mut command = Command::new(words.next().map_or("".as_ref(), AsRef::as_ref));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Runs it, reads its output, and reaps it. Anything but this answer and exit code 0 is an error.
pub(crate) fn run(command: &mut Command, answer: &[u8]) -> io::Result<Times> {
    let mut said = Vec::with_capacity(64);
    let started = Instant::now();
    let mut child = command.spawn()?;
    let mut first = None;
    let mut buffer = [0; 4096];
    if let Some(mut stdout) = child.stdout.take() {
        loop {
            if poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&HUNG))? == 0 {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it neither spoke nor ended within 30 s"));
            }
            let n = stdout.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            first.get_or_insert_with(|| started.elapsed());
            said.extend_from_slice(&buffer[..n]);
        }
    }
    // Whoever held the other end of the pipe has ended, the program with them.
    let status = child.wait()?;
    let whole = started.elapsed();
    if !status.success() || said != answer {
        let text = String::from_utf8_lossy(&said);
        return Err(io::Error::other(format!("it ended with {status} and said {:?}", text.trim_end())));
    }
    Ok(Times { first: first.unwrap_or(whole), whole })
}

/// Runs it and reads all of its output, so many bytes at a time at most. Returns how many there were.
pub(crate) fn drain(command: &mut Command, buffer: &mut [u8]) -> io::Result<usize> {
    let mut child = command.spawn()?;
    let mut total = 0;
    if let Some(mut stdout) = child.stdout.take() {
        loop {
            match stdout.read(buffer)? {
                0 => break,
                n => total += n,
            }
        }
    }
    let status = child.wait()?;
    if status.success() { Ok(total) } else { Err(io::Error::other(format!("it ended with {status}"))) }
}

/// Many runs of one command.
#[derive(Debug)]
pub(crate) struct Many {
    pub(crate) times: Vec<Times>,
    /// From before the first start to the last end.
    pub(crate) wall: Duration,
}

/// Stands for a number that no other run has, in an argument.
pub(crate) const NUMBER: &str = "{}";

/// Runs a command so often, so many at a time. Stops early, with what there is, when `stop` is set.
pub(crate) fn many<S: AsRef<str> + Sync>(
    argv: &[S],
    answer: &[u8],
    count: usize,
    in_flight: usize,
    stop: &AtomicBool,
) -> io::Result<Many> {
    let begun = AtomicUsize::new(0);
    let worker = || {
        let mut times = Vec::new();
        while begun.fetch_add(1, Ordering::Relaxed) < count && !stop.load(Ordering::Relaxed) {
            let number = RUNS.fetch_add(1, Ordering::Relaxed).to_string();
            let words: Vec<String> = argv.iter().map(|word| word.as_ref().replace(NUMBER, &number)).collect();
            times.push(run(&mut command(&words), answer)?);
        }
        Ok(times)
    };
    let started = Instant::now();
    let done = if in_flight == 1 {
        vec![worker()]
    } else {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..in_flight).map(|_| scope.spawn(worker)).collect();
            let panicked = |_| Err(io::Error::other("a thread panicked"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
        })
    };
    let wall = started.elapsed();
    let times = done.into_iter().collect::<io::Result<Vec<_>>>()?.concat();
    Ok(Many { times, wall })
}

/// How many runs were begun in this process.
static RUNS: AtomicUsize = AtomicUsize::new(0);
