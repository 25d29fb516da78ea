//! `compute run` in real sandboxes.

mod common;

use common::{compute, expect, json, parts, run, run_with_input};
use std::time::{Duration, Instant};

fn sh(code: &str) -> [&str; 5] {
    ["run", "--lang", "sh", "-c", code]
}

fn file(name: &str, content: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(name);
    std::fs::write(&path, content).expect("a file");
    let path = path.to_str().expect("UTF-8").to_owned();
    (dir, path)
}

#[test]
fn a_line_of_each_language() {
    expect(&["run", "-c", "print(6*7)"], 0, "42\n");
    expect(&["run", "-c", "console.log(6*7)"], 0, "42\n");
    expect(&["run", "--lang", "node", "-c", "import fs from 'fs'; console.log(typeof fs)"], 0, "object\n");
    expect(&sh("echo $((6*7))"), 0, "42\n");
}

#[test]
fn a_file_of_each_language() {
    for (name, content) in [
        ("a.py", "print(42)"),
        ("a.js", "console.log(42)"),
        ("a.mjs", "import fs from 'fs'; console.log(fs ? 42 : 0)"),
        ("a.cjs", "console.log(require('fs') ? 42 : 0)"),
        ("a.sh", "echo 42"),
        ("b.sh", "#!/bin/bash\n[[ 1 == 1 ]] && echo 42"),
        ("with space", "#!/usr/bin/env node\nconsole.log(42)"),
        ("-x", "print(42)"),
    ] {
        let (_dir, path) = file(name, content);
        expect(&["run", &path], 0, "42\n");
    }
    let (_dir, path) = file("a.py", "console.log(42)");
    expect(&["run", "--lang", "node", &path], 0, "42\n");
}

#[test]
fn code_from_standard_input() {
    let output = run_with_input(&["run", "-"], b"import sys\nprint(42, repr(sys.stdin.read()))");
    assert_eq!(parts(&output), (Some(0), "42 ''\n".into(), String::new()));
    let output = run_with_input(&["run", "-"], b"print('\xff')");
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn code_of_any_size() {
    let comment = "#".repeat(3 << 20);
    for (lang, code) in [("python", "print(42)"), ("sh", "echo 42")] {
        let output = run_with_input(&["run", "--lang", lang, "-"], format!("{code}\n{comment}\n").as_bytes());
        assert_eq!(parts(&output).1, "42\n", "{lang}");
    }
}

#[test]
fn exit_codes_are_passed_on() {
    for code in [0, 1, 2, 42, 124, 125, 126, 127, 255] {
        expect(&sh(&format!("exit {code}")), code, "");
    }
    expect(&["run", "-c", "raise SystemExit(7)"], 7, "");
    expect(&sh("kill -9 $$"), 137, "");
    expect(&sh("kill -TERM $$"), 143, "");
    expect(&sh("nonexistent-program"), 127, "");
    expect(&sh("/etc"), 126, "");
}

#[test]
fn what_cannot_be_started_has_the_codes_of_a_shell() {
    let (_dir, path) = file("x", "#!/nonexistent/interpreter\n");
    let output = expect(&["run", &path], 126, "");
    assert!(parts(&output).2.contains("interpreter"), "{output:?}");
    expect(&["run", "--user", "nobody-knows", "-c", "1"], 125, "");
}

#[test]
fn a_syntax_error_is_the_interpreters_to_tell() {
    let (_dir, path) = file("bad.py", "x = 1\ndef\n");
    for args in [&["run", "-c", "x = 1\ndef\n"][..], &["run", &path]] {
        let (code, stdout, stderr) = parts(&run(args));
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        assert!(stderr.contains("line 2") && stderr.contains("SyntaxError: "), "{stderr}");
        assert!(!stderr.contains("error: "), "{stderr}");
    }
}

#[test]
fn input_is_passed_through_to_its_end() {
    assert_eq!(parts(&run_with_input(&sh("cat"), b"a\nb")).1, "a\nb");
    assert_eq!(parts(&run_with_input(&["run", "-c", "print(input() + '!')"], b"hello\n")).1, "hello!\n");
    let (_dir, path) = file("a.py", "import sys; print(len(sys.stdin.buffer.read()))");
    assert_eq!(parts(&run_with_input(&["run", &path], &vec![0xfe; 10 << 20])).1, format!("{}\n", 10 << 20));
    // One that does not read it.
    assert_eq!(parts(&run_with_input(&sh("echo done"), &vec![b'x'; 10 << 20])).1, "done\n");
}

#[test]
fn output_is_exact() {
    expect(&["run", "-c", "print('äöü €🎉', end='')"], 0, "äöü €🎉");
    let output = run(&sh(r"printf 'a\000\377\r\n\033[1mb'; printf 'e\376' >&2"));
    assert_eq!(output.stdout, b"a\0\xff\r\n\x1b[1mb");
    assert_eq!(output.stderr, b"e\xfe");
}

#[test]
fn big_output_on_both_streams() {
    let output = run(&sh("head -c 30000000 /dev/zero & head -c 30000000 /dev/zero >&2; wait"));
    assert_eq!((output.stdout.len(), output.stderr.len()), (30_000_000, 30_000_000));
}

#[test]
fn output_is_live() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let (_dir, path) = file("a.py", "print('first'); input(); print('second')");
    for args in [&["run", &path][..], &["run", "-c", "print('first'); input(); print('second')"]] {
        let mut child = compute(args).stdin(std::process::Stdio::piped()).spawn().expect("compute starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        // Its input stays open until its first line has been seen.
        assert_eq!(lines.next().expect("a line").expect("text"), "first");
        stdin.write_all(b"\n").expect("it reads");
        assert_eq!(lines.next().expect("a line").expect("text"), "second");
        assert!(child.wait().expect("compute ends").success());
    }
}

#[test]
fn environment_files_directory_and_arguments() {
    expect(
        &["run", "--env", "A=x=y", "--env", "B=", "-c", "import os; print(os.environ['A'], repr(os.environ['B']))"],
        0,
        "x=y ''\n",
    );
    expect(
        &["run", "-c", "import sys; print(sys.argv[1:])", "--", "--a", "", "b c", "ä"],
        0,
        "['--a', '', 'b c', 'ä']\n",
    );
    expect(&["run", "--lang", "sh", "-c", "echo \"$0 $1 $#\"", "--", "x", "y"], 0, "sh x 2\n");
    let (_dir, path) = file("data:1.txt", "content");
    let to = |remote: &str| format!("{path}:{remote}");
    expect(&["run", "--file", &to("/data/deep/x"), "--lang", "sh", "-c", "cat /data/deep/x"], 0, "content");
    expect(
        &["run", "--cwd", "/new/dir", "--file", &to("x"), "--lang", "sh", "-c", "pwd; cat x"],
        0,
        "/new/dir\ncontent",
    );
    let (_dir, helper) = file("helper.py", "value = 42");
    let (_dir, script) = file("main.py", "import helper, sys; print(helper.value, sys.argv)");
    let args = ["run", "--file", &format!("{helper}:helper.py"), &script, "--", "x"];
    expect(&args, 0, "42 ['/root/main.py', 'x']\n");
}

#[test]
fn nothing_of_the_callers_environment_goes_in() {
    let output = compute(&sh("env")).env("MY_SECRET", "s3cret").output().expect("compute starts");
    assert!(!parts(&output).1.contains("s3cret"), "{output:?}");
}

#[test]
fn a_time_limit_keeps_the_output_so_far() {
    let started = Instant::now();
    let args = ["run", "--timeout", "500ms", "-c", "print('so far'); import time; time.sleep(1000)"];
    let output = expect(&args, 124, "so far\n");
    assert!(parts(&output).2.starts_with("killed: timed out after 500ms"), "{output:?}");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_result_as_json() {
    let output =
        run(&["run", "-o", "json", "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"]);
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(3), &b""[..]));
    let result = json(&output);
    assert_eq!((&result["stdout"], &result["stderr"]), (&"out\n".into(), &"err\n".into()));
    assert!(result.get("network").is_none(), "it was not asked for: {result}");
    assert_eq!(
        (&result["exitCode"], &result["provider"], &result["cause"]),
        (&3.into(), &"local".into(), &"exited".into())
    );
    assert!(result["executionTime"].as_f64().is_some_and(|time| time > 0.0), "{result}");
    assert!(result["sandboxId"].as_str().is_some_and(|id| !id.is_empty()), "{result}");
    assert!(result["isolation"].is_string(), "{result}");

    let result = json(&run(&["run", "-o", "json", "--timeout", "300ms", "--lang", "sh", "-c", "sleep 1000"]));
    assert_eq!((&result["exitCode"], &result["cause"]), (&124.into(), &"timedOut".into()));
    let result = json(&run(&["run", "-o", "json", "--lang", "sh", "-c", "kill -9 $$"]));
    assert_eq!((&result["cause"], &result["signal"]), (&"signalled".into(), &9.into()));
}

#[test]
fn verbose_tells_on_standard_error() {
    let (code, stdout, stderr) = parts(&run(&["run", "-v", "-c", "print(42)"]));
    assert_eq!((code, stdout.as_str()), (Some(0), "42\n"));
    for word in ["sandbox sb-", "isolation ", "python3: /", " ms)"] {
        assert!(stderr.contains(word), "no {word:?} in {stderr}");
    }
}

#[test]
fn a_descendant_does_not_hold_us_up() {
    let started = Instant::now();
    expect(&sh("sleep 1000 & echo done"), 0, "done\n");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn doctor_as_json() {
    let output = run(&["doctor", "-o", "json"]);
    let doctor = json(&output);
    assert_eq!(output.status.code(), Some(if doctor["rung"].is_null() { 1 } else { 0 }));
    assert!(doctor["rungs"].as_array().is_some_and(|rungs| !rungs.is_empty()), "{doctor}");
    for key in ["kernel", "cache_dir", "state_dir"] {
        assert!(doctor[key].is_string(), "{key} of {doctor}");
    }
    let (_, text, _) = parts(&run(&["doctor"]));
    assert!(text.starts_with("isolation "), "{text}");
    if doctor["network"].is_string() {
        assert!(text.contains("\nnetwork     reached by "), "{text}");
    }
}

#[test]
fn an_interpreter_that_is_none_is_refused() {
    let output = run(&["run", "-o", "json", "--python", "/etc/hostname", "-c", "print(1)"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        json(&output)["error"]["message"].as_str().is_some_and(|text| text.contains("/etc/hostname")),
        "{output:?}"
    );
}
