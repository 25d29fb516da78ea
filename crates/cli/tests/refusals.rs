//! On hosts that cannot keep what a sandbox promises: a refusal that says what to do, and never a weaker sandbox.
//!
//! Such hosts are made here, in namespaces of the test's own, with `unshare(1)`.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use std::process::{Command, Output};

/// Runs a script in namespaces in which it is root, with caches of its own. `None` where that cannot be had.
fn host(flags: &[&str], script: &str) -> Option<Output> {
    let possible = Command::new("unshare").args(flags).arg("true").output().is_ok_and(|output| output.status.success());
    if !possible {
        eprintln!("skipped: `unshare {}` does not work here", flags.join(" "));
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(flags)
        .args(["sh", "-c", script, "sh", env!("CARGO_BIN_EXE_compute")])
        .env("XDG_CACHE_HOME", dir.path().join("cache"))
        .env("XDG_STATE_HOME", dir.path().join("state"))
        .output();
    Some(output.unwrap())
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn without_user_namespaces() {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && \"$1\" run --lang sh -c 'echo ran'";
    let Some(output) = host(&["--user", "--map-root-user"], script) else { return };
    let (code, stdout, stderr) = said(&output);
    assert_eq!((code, stdout.as_str()), (Some(125), ""), "{stderr}");
    assert!(stderr.contains("hint: user namespaces are off"), "{stderr}");
}

#[test]
fn with_a_covered_proc_only_on_request() {
    let covered = "mount --bind /dev/null /proc/kallsyms && \"$1\" run --lang sh -c 'echo ran; ls /proc | wc -l'";
    let flags = ["--user", "--map-root-user", "--mount"];
    let Some(output) = host(&flags, covered) else { return };
    let (code, stdout, stderr) = said(&output);
    assert_eq!((code, stdout.as_str()), (Some(125), ""), "{stderr}");
    assert!(stderr.contains("systempaths=unconfined") && stderr.contains("--isolation degraded"), "{stderr}");

    let degraded = format!("{covered} --isolation degraded");
    let Some(output) = host(&flags, &degraded) else { return };
    assert_eq!(said(&output), (Some(0), String::from("ran\n0\n"), String::new()));
}

#[test]
fn inside_another_namespace_as_its_root() {
    // Root by name, without power over the host's file systems: the next rung that works is taken.
    let flags = ["--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"];
    let Some(output) = host(&flags, "\"$1\" run --lang sh -c 'id -u'") else { return };
    assert_eq!(said(&output), (Some(0), String::from("0\n"), String::new()));
}
