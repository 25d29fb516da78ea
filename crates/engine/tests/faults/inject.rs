//! An error at every step of create: `strace` makes one system call after another fail, in the launcher and in the child
//! that becomes the agent. Each time: one error or none, no hang, nothing left, and the next create works.
//!
//! Counted for each process by itself, so a call of the child is reached only with a number that the launcher does not
//! come to first; the few others are reached by another call of the same step.

use crate::leftovers::{Before, descendants};
use crate::support::{Place, Victim, WITHIN};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// The launcher's own memory and conversation with the engine. Without them there is no launcher: `host lost`.
const VITAL: [&str; 11] =
    ["brk", "mmap", "mremap", "munmap", "mprotect", "madvise", "poll", "ppoll", "recvmsg", "sendmsg", "rt_sigprocmask"];

/// Do their work whatever they return, or are the ends of processes.
const NEVER: [&str; 9] =
    ["close", "exit", "exit_group", "rt_sigreturn", "restart_syscall", "gettid", "getpid", "kill", "wait4"];

pub(crate) fn every_step() {
    if !Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return println!("skipped: strace is not installed");
    }
    let place = Place::new();
    place.next_start();
    let before = Before::look();
    let log = place.tmp().join("calls");

    // Which calls are made at all, and how often by one process.
    let outcome = one_create(&place, &["-e", "trace=all", "-o", &log.display().to_string()]);
    let Some(outcome) = outcome else { return println!("skipped: strace may not attach to a process here") };
    assert_eq!(outcome.first, "created");
    let steps = steps(&log);
    std::fs::remove_file(&log).unwrap();
    assert!(steps.iter().any(|(call, _)| call == "clone3") && steps.iter().any(|(call, _)| call == "execveat"));
    before.nothing_is_left(&place);

    let (mut failed, mut unharmed, mut lost) = (0, 0, 0);
    for (call, number) in &steps {
        let inject = format!("inject={call}:error=ENOMEM:when={number}");
        let outcome = std::panic::catch_unwind(|| one_create(&place, &["-e", &inject, "-o", "/dev/null"]).unwrap());
        let Ok(outcome) = outcome else { panic!("{inject}: a hang") };
        match outcome.first.as_str() {
            "created" => unharmed += 1,
            said if said.starts_with("failed: host lost") => {
                assert!(VITAL.contains(&call.as_str()), "{inject}: {said}");
                lost += 1;
            }
            said => {
                // The agent's own calls: it has ended, and takes its sandbox with it.
                let is_clear = said.starts_with("failed: cannot ") || said.contains("host lost: its agent");
                assert!(is_clear, "{inject}: no clear error: {said}");
                failed += 1;
            }
        }
        let is_lost = outcome.first.starts_with("failed: host lost") || VITAL.contains(&call.as_str());
        assert!(outcome.recovered || is_lost, "{inject}: {}, and the next create does not work", outcome.first);
        place.next_start();
        before.nothing_is_left(&place);
    }
    println!(
        "{} steps of create were made to fail: {failed} errors, {unharmed} did without, {lost} lost the launcher",
        steps.len()
    );
    assert!(failed > steps.len() / 4, "hardly anything failed");
}

struct Outcome {
    /// What the create said that was tampered with.
    first: String,
    /// Whether the one after it worked.
    recovered: bool,
}

/// One create under strace, and one after it was let go. `None` if strace may not attach.
fn one_create(place: &Place, options: &[&str]) -> Option<Outcome> {
    let mut victim = place.victim("retry");
    assert_eq!(victim.line(), "ready");
    let launcher = descendants().into_iter().find(|(pid, _)| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"computesdk-launcher"))
    });
    let mut tracer = attach(launcher.unwrap().0, options)?;
    victim.go_on();
    let first = victim.line();
    // SIGINT lets go of what it traces.
    let id = rustix::process::Pid::from_raw(tracer.id().cast_signed()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    ended(&mut tracer);
    victim.go_on();
    let said = victim.until_closed();
    Some(Outcome { first, recovered: victim.wait().success() && said == "recovered\n" })
}

fn attach(launcher: u32, options: &[&str]) -> Option<Child> {
    let mut command = Command::new("strace");
    command.arg("-f").args(options).arg("-p").arg(launcher.to_string());
    let mut tracer = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (send, receive) = channel();
    let stderr = BufReader::new(tracer.stderr.take().unwrap());
    // Read to its end, or strace is stopped by a full pipe.
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    let line = receive.recv_timeout(WITHIN).unwrap();
    if line.contains("attached") {
        return Some(tracer);
    }
    let _ = tracer.kill();
    let _ = tracer.wait();
    assert!(line.contains("attach"), "{line}");
    None
}

fn ended(tracer: &mut Child) {
    let deadline = Instant::now() + WITHIN;
    while tracer.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "strace does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Each call with each number that one process comes to, from a log of `strace -f`.
fn steps(log: &Path) -> Vec<(String, usize)> {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in text.lines() {
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let name = rest.split('(').next().unwrap_or_default();
        let is_call = rest.contains('(') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if is_call && !name.is_empty() && !NEVER.contains(&name) {
            *counts.entry((process, name)).or_default() += 1;
        }
    }
    let mut most: BTreeMap<&str, usize> = BTreeMap::new();
    for ((_, name), count) in counts {
        let place = most.entry(name).or_default();
        *place = count.max(*place);
    }
    most.into_iter().flat_map(|(name, count)| (1..=count).map(move |number| (name.to_owned(), number))).collect()
}

impl Victim {
    /// Tells a victim that waits for a line.
    fn go_on(&mut self) {
        use std::io::Write as _;
        // One that was lost listens no more.
        let _ = self.stdin().map(|stdin| writeln!(stdin, "go"));
    }
}
