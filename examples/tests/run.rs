//! Every example is run, and must print what it says it does.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a helper of tests is not a test to clippy")]

use std::process::{Command, Output};

/// Runs one example without the variable for the wheel unless it is `with_numpy`.
fn run(program: &str, with_numpy: bool) -> String {
    let mut command = Command::new(program);
    if !with_numpy {
        command.env_remove(computesdk_examples::NUMPY_WHEEL);
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8_lossy(&stderr).into_owned());
    assert!(status.success(), "{program}: {status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
    stdout
}

fn has(output: &str, lines: &[&str]) {
    for line in lines {
        assert!(output.contains(line), "no {line:?} in:\n{output}");
    }
}

/// Whether the tests with numpy can run; prints the reason if not.
fn wheel() -> bool {
    let set = std::env::var_os(computesdk_examples::NUMPY_WHEEL).is_some();
    assert!(set || std::env::var_os("CI").is_none(), "in CI every test must run: .ci/run fetches the wheel");
    if !set {
        println!("skipped: {} is not set to the path of a numpy wheel", computesdk_examples::NUMPY_WHEEL);
    }
    set
}

#[test]
fn readme() {
    let program = include_str!("../src/bin/readme.rs");
    let (_header, program) = program.split_once("\n\n").unwrap();
    assert!(include_str!("../../README.md").contains(&format!("```rust\n{program}```")), "the README has another one");
    // It asserts for itself.
    run(env!("CARGO_BIN_EXE_readme"), false);
}

#[test]
fn usage() {
    has(&run(env!("CARGO_BIN_EXE_usage"), false), &["plain Python computes", "Result shape: (100, 100)", "Mean: "]);
}

#[test]
fn usage_with_numpy() {
    if wheel() {
        has(&run(env!("CARGO_BIN_EXE_usage"), true), &["numpy ", "Result shape: (1000, 1000)", "Mean: "]);
    }
}

#[test]
fn direct_usage() {
    has(&run(env!("CARGO_BIN_EXE_direct_usage"), false), &["local lives for 600 s"]);
}

#[test]
fn code_execution() {
    let output = run(env!("CARGO_BIN_EXE_code_execution"), false);
    has(&output, &["stdout: Python 3.", "stderr: to standard error", "exit code: 3", "Hello from a real sandbox!"]);
    has(&output, &["Hello from Node v", "\"exitCode\":0", "\"executionTime\":", "\"provider\":\"local\""]);
}

#[test]
fn commands() {
    let output = run(env!("CARGO_BIN_EXE_commands"), false);
    has(&output, &["train.py", "10 lines, the last one: Epoch 10", "nvidia-smi: exit code ", "IT'S; RM -RF /"]);
}

#[test]
fn filesystem() {
    let output = run(env!("CARGO_BIN_EXE_filesystem"), false);
    has(
        &output,
        &["Model created successfully!", "\"name\":\"train.py\"", "\"isDirectory\":true", "\"lastModified\":\"2"],
    );
    has(&output, &["File exists: true", "File exists: false", "NotFound: Failed to read file /app/train.py: "]);
}

#[test]
fn management() {
    let output = run(env!("CARGO_BIN_EXE_management"), false);
    has(&output, &[" local running\n", "1 listed\n", "found: true\nfound: false\nstopped\n"]);
}

#[test]
fn error_handling() {
    let output = run(env!("CARGO_BIN_EXE_error_handling"), false);
    has(&output, &["NoDefaultProvider: No default provider configured.", "Code has syntax errors, first in line 1"]);
    has(&output, &["exit code 1: NameError: name 'model' is not defined", "timed out: true, exit code 124"]);
    has(&output, &["after: working", "NotFound: "]);
}

#[test]
fn ml_pipeline() {
    has(&run(env!("CARGO_BIN_EXE_ml_pipeline"), false), &["Epoch 1, Loss: ", "Epoch 10, Loss: ", "Model saved: true"]);
}

#[test]
fn ml_pipeline_with_numpy() {
    if wheel() {
        let output = run(env!("CARGO_BIN_EXE_ml_pipeline"), true);
        has(&output, &["Epoch 10, Loss: 0.0", "Model saved!", "Model saved: true"]);
        assert!(!output.contains("Errors:") && !output.contains("plain Python"), "{output}");
    }
}

#[test]
fn distributed() {
    let output = run(env!("CARGO_BIN_EXE_distributed"), false);
    has(&output, &["Task task1_data.json: mean=2.50 std=1.12 count=4", "task2_data.json: mean=30.00", "3 sandboxes"]);
    has(&output, &["Task task3's \"data\".json: mean=0.00 std=1.50 count=2"]);
}

#[test]
fn network() {
    let output = run(env!("CARGO_BIN_EXE_network"), false);
    has(&output, &["the page: Hello from a sandbox!", "No tunnel found for port 9000. Available ports: 8000"]);
    has(&output, &["example.com not reached: ", "169.254.169.254 not reached: "]);
    has(&output, &["Refused example.com: the name is not on the list", "Refused 169.254.169.254: "]);
}

#[test]
fn parallel() {
    has(&run(env!("CARGO_BIN_EXE_parallel"), false), &["task 1\ntask 2\ntask 3\n", "together"]);
}
