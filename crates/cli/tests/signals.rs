//! However `compute` ends, nothing of the sandbox is left.

mod common;

use common::{compute, marker, parts, processes, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Child;

/// A `compute run` of this script, whose first line has come, and which has processes with the marker.
fn start(name: &str, script: &str) -> (Child, BufReader<std::process::ChildStdout>, String) {
    let marker = marker(name);
    // The marker is an argument of a descendant in a session of its own, the one that is easiest to lose.
    let script = format!("setsid sh -c 'while :; do sleep 1000; done' {marker} & {script}");
    let mut child = compute(&["run", "--lang", "sh", "-c", &script]).spawn().expect("compute starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    wait_for("the descendant", || !processes(&marker).is_empty());
    (child, stdout, marker)
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a pid");
    kill_process(pid, signal).expect("it runs");
}

#[test]
fn a_signal_ends_everything() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129), (Signal::QUIT, 131)] {
        let (child, _stdout, marker) = start(&format!("end-{code}"), "echo ready; sleep 1000");
        send(&child, signal);
        let (actual, _, stderr) = parts(&child.wait_with_output().expect("compute ends"));
        assert_eq!((actual, stderr.as_str()), (Some(code), ""));
        assert_eq!(processes(&marker), Vec::<String>::new());
    }
}

#[test]
fn the_program_is_told_and_may_say_goodbye() {
    let script = "trap 'echo bye; exit 0' INT; echo ready; while :; do sleep 0.01; done";
    let (mut child, mut stdout, marker) = start("goodbye", script);
    send(&child, Signal::INT);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("text");
    assert_eq!(rest, "bye\n");
    assert_eq!(child.wait().expect("compute ends").code(), Some(130));
    assert_eq!(processes(&marker), Vec::<String>::new());
}

#[test]
fn a_program_that_does_not_listen_is_ended_too() {
    let (mut child, _stdout, marker) = start("deaf", "trap '' INT TERM HUP; echo ready; while :; do sleep 0.01; done");
    send(&child, Signal::INT);
    assert_eq!(child.wait().expect("compute ends").code(), Some(130));
    assert_eq!(processes(&marker), Vec::<String>::new());
}

#[test]
fn nothing_is_left_when_we_are_killed() {
    let (mut child, _stdout, marker) = start("killed", "echo ready; sleep 1000");
    child.kill().expect("it runs");
    child.wait().expect("it has ended");
    wait_for("the end of the sandbox", || processes(&marker).is_empty());
}

#[test]
fn a_closed_standard_output_ends_the_program_as_it_would_without_us() {
    let (mut child, stdout, marker) = start("pipe", "echo ready; while :; do echo y; done");
    drop(stdout);
    // The shell's own write fails: it is told by SIGPIPE.
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
    assert_eq!((child.wait().expect("compute ends").code(), stderr.as_str()), (Some(141), ""));
    assert_eq!(processes(&marker), Vec::<String>::new());
}
