//! Limits as a user of the command line meets them: kept, and the last line says which one ended the program.
//!
//! Needs user namespaces, and control groups for memory and processes; without the latter the refusal is tested instead.

#![allow(missing_docs, clippy::print_stderr)]

mod common;

use common::{json, parts, run};

/// Whether this user can keep limits here. If not, asking for one must be refused with advice.
fn limits_are_kept() -> bool {
    let (code, _, stderr) = parts(&run(&["run", "--memory", "64MiB", "--pids", "50", "--lang", "sh", "-c", "true"]));
    if code == Some(125) && stderr.contains("cannot keep it") {
        assert!(stderr.contains("COMPUTESDK_CGROUP"), "a refusal without advice: {stderr}");
        eprintln!("skipped: this user can make no control groups: {stderr}");
        return false;
    }
    assert_eq!(code, Some(0), "{stderr}");
    true
}

fn shell(options: &[&str], script: &str) -> (Option<i32>, String, String) {
    let args = [&["run", "--timeout", "60s", "--lang", "sh"], options, &["-c", script]].concat();
    parts(&run(&args))
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().last().unwrap_or_default()
}

#[test]
fn a_memory_bomb_is_killed_and_named() {
    if !limits_are_kept() {
        return;
    }
    let (code, stdout, stderr) =
        parts(&run(&["run", "--memory", "64MiB", "-c", "x = bytearray(1 << 30); print(len(x))"]));
    assert_eq!((code, stdout.as_str()), (Some(137), ""), "{stderr}");
    assert!(last_line(&stderr).starts_with("killed: out of memory at 64 MiB (peak "), "{stderr}");
    // A child of the program, which then fails by itself; and one that the program does not mind.
    let bomb = "head -c 400000000 /dev/zero | tail -c 300000000 >/dev/null";
    let (code, _, stderr) = shell(&["--memory", "64MiB"], &format!("{bomb} || exit 3"));
    assert_eq!(code, Some(3), "{stderr}");
    assert!(last_line(&stderr).starts_with("failed: out of memory at 64 MiB"), "{stderr}");
    let (code, stdout, stderr) = shell(&["--memory", "64MiB"], &format!("{bomb}; echo still here"));
    assert_eq!((code, stdout.as_str()), (Some(0), "still here\n"), "{stderr}");
    assert!(last_line(&stderr).starts_with("note: 1 process was killed"), "{stderr}");
}

#[test]
fn a_bomb_of_many_processes_is_ended_and_named() {
    if !limits_are_kept() {
        return;
    }
    let many = "import os\nfor _ in range(40):\n  if os.fork() == 0:\n    x = bytearray(32 << 20)\n    os.pause() if hasattr(os, 'pause') else __import__('signal').pause()\n\
                ended = [os.wait()[1] for _ in range(5)]\nraise SystemExit(max(ended) and 9)";
    let (code, _, stderr) = parts(&run(&["run", "--memory", "128MiB", "--timeout", "60s", "-c", many]));
    assert!(matches!(code, Some(9 | 137)), "{code:?} {stderr}");
    assert!(last_line(&stderr).contains(": out of memory at 128 MiB"), "{stderr}");
}

#[test]
fn a_fork_bomb_ends_with_its_limit_named() {
    if !limits_are_kept() {
        return;
    }
    let (code, _, stderr) = shell(&["--pids", "50"], "for i in $(seq 100); do sleep 1000 >/dev/null 2>&1 & done");
    assert_eq!(code, Some(2), "{stderr}");
    assert!(last_line(&stderr).starts_with("failed: the limit of 50 processes was reached"), "{stderr}");
    // One that goes on for ever: its time limit ends all of it.
    // The program itself forks once, and then only waits.
    let bomb = "(b() { b | b & }; b) 2>/dev/null & while :; do :; done";
    let (code, _, stderr) = parts(&run(&["run", "--pids", "50", "--timeout", "1s", "--lang", "sh", "-c", bomb]));
    assert_eq!(code, Some(124), "{}", last_line(&stderr));
    assert!(last_line(&stderr).contains("killed: timed out after 1s"), "{}", last_line(&stderr));
}

#[test]
fn a_full_disk_is_named() {
    let (code, _, stderr) = shell(&["--disk", "16MiB"], "head -c 100000000 /dev/zero > /root/large");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(last_line(&stderr).starts_with("failed: the disk is full at 16 MiB"), "{stderr}");
}

#[test]
fn open_files_are_limited() {
    let (code, stdout, stderr) =
        shell(&["--max-open-files", "64"], "ulimit -Hn; ulimit -n 65 2>/dev/null && echo raised");
    assert_eq!((code, stdout.as_str()), (Some(2), "64\n"), "{stderr}");
}

#[test]
fn json_tells_cause_and_usage() {
    if !limits_are_kept() {
        return;
    }
    let result =
        json(&run(&["-o", "json", "run", "--memory", "64MiB", "-c", "print('x', flush=True); bytearray(1 << 30)"]));
    assert_eq!((&result["cause"], &result["exitCode"]), (&"outOfMemory".into(), &137.into()), "{result}");
    let usage = &result["usage"];
    let peak = usage["peakMemoryBytes"].as_u64().unwrap_or(0);
    assert!((32 << 20..=64 << 20).contains(&peak), "{result}");
    assert!(usage["cpuSeconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{result}");
    assert_eq!((&usage["outputBytes"], &usage["oomKills"]), (&2.into(), &1.into()), "{result}");
}

#[test]
fn a_group_that_is_none_is_refused_by_name() {
    let mut command = common::compute(&["run", "--lang", "sh", "-c", "true"]);
    let output = command.env("COMPUTESDK_CGROUP", "/there/is/none").output().expect("compute starts");
    let (code, _, stderr) = parts(&output);
    assert_eq!(code, Some(125), "{stderr}");
    assert!(stderr.contains("invalid `COMPUTESDK_CGROUP`: /there/is/none is no control group"), "{stderr}");
}

#[test]
fn what_detaches_itself_ends_with_its_time() {
    if !limits_are_kept() {
        return;
    }
    let script = "setsid sh -c 'exec setsid sleep 86511' >/dev/null 2>&1 & sleep 1000";
    let (code, ..) = parts(&run(&["run", "--timeout", "500ms", "--lang", "sh", "-c", script]));
    assert_eq!(code, Some(124));
    let still = std::process::Command::new("pgrep").args(["-f", "sleep 86511"]).output();
    assert!(still.is_ok_and(|output| output.stdout.is_empty()), "it outlived its time");
}
