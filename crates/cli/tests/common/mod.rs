//! Running the built `compute` from the outside.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod session;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Long enough for a busy machine; whoever waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// `compute` with these arguments, no input, and nothing of the caller's terminal.
pub(crate) fn compute(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compute"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES"] {
        command.env_remove(name);
    }
    command
}

/// Runs `compute` to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    compute(args).output().expect("compute starts")
}

/// Runs `compute` to its end with this input.
pub(crate) fn run_with_input(args: &[&str], input: &[u8]) -> Output {
    let mut child = compute(args).stdin(Stdio::piped()).spawn().expect("compute starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // In a thread of its own, because nobody reads the output yet.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("compute ends");
    // A program that does not read its input is no failure.
    let _ = writer.join();
    output
}

/// The exit code and what was written, as text.
pub(crate) fn parts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Asserts the exit code and standard output.
#[track_caller]
pub(crate) fn expect(args: &[&str], code: i32, stdout: &str) -> Output {
    let output = run(args);
    let (actual, out, err) = parts(&output);
    assert_eq!((actual, out.as_str()), (Some(code), stdout), "{args:?}; standard error:\n{err}");
    output
}

/// The JSON object on standard output, which holds nothing else.
#[track_caller]
pub(crate) fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A text that no other test's processes have in their arguments.
pub(crate) fn marker(name: &str) -> String {
    format!("marker-{name}-{}", std::process::id())
}

/// The processes of this machine, in whatever sandbox, with this text in their arguments. Not the `compute` that was
/// given it.
pub(crate) fn processes(marker: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    let lines = entries.flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = String::from_utf8_lossy(&std::fs::read(entry.path().join("cmdline")).ok()?).replace('\0', " ");
        let own = std::fs::read_link(entry.path().join("exe"))
            .is_ok_and(|exe| exe == Path::new(env!("CARGO_BIN_EXE_compute")));
        (!own && line.contains(marker)).then(|| format!("{pid}: {line}"))
    });
    lines.collect()
}

/// Waits until this holds.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
