//! What `compute` says about itself, and about command lines that it refuses. Needs no sandbox.

mod common;

use common::{compute, expect, parts, run};

#[test]
fn help_texts() {
    for (name, args) in [
        ("main", &["--help"][..]),
        ("run", &["run", "--help"]),
        ("shell", &["shell", "--help"]),
        ("doctor", &["doctor", "--help"]),
        ("bench", &["bench", "--help"]),
        #[cfg(feature = "serve")]
        ("serve", &["serve", "--help"]),
        #[cfg(feature = "serve")]
        ("create", &["create", "--help"]),
        #[cfg(feature = "serve")]
        ("exec", &["exec", "--help"]),
        #[cfg(feature = "serve")]
        ("ps", &["ps", "--help"]),
        #[cfg(feature = "serve")]
        ("logs", &["logs", "--help"]),
        #[cfg(feature = "serve")]
        ("cp", &["cp", "--help"]),
        #[cfg(feature = "serve")]
        ("stop", &["stop", "--help"]),
        #[cfg(feature = "serve")]
        ("rm", &["rm", "--help"]),
        #[cfg(feature = "serve")]
        ("tags", &["tags", "--help"]),
        ("ca", &["ca", "--help"]),
        ("completions", &["completions", "--help"]),
    ] {
        let (code, stdout, stderr) = parts(&run(args));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}");
        insta::assert_snapshot!(format!("help_{name}"), stdout);
    }
}

#[test]
fn refusals() {
    let mut all = String::new();
    for line in [
        "",
        "run",
        "run a.py -c 1",
        "run -c 1 --lang perl",
        "run -c 1 --timeout soon",
        "run -c 1 --timeout 0s",
        "run -c 1 --env NAME",
        "run -c 1 --file here",
        "run -c 1 --network host",
        "run -c 1 --network cidr:",
        "run -c 1 --network cidr:10.0.0.1/8",
        "run -c 1 --network cidr:pypi.org",
        "run -c 1 --network domain:a.org,,b.org",
        "run -c 1 --network domain:https://pypi.org",
        "run -c 1 --network domain:10.0.0.1",
        "run -c 1 --port 0",
        "run -c 1 --port http",
        "run -c 1 --inbound 10.0.0.0/8",
        "run -c 1 --port 80 --inbound everybody",
        "run -c 1 --isolation some",
        "run -c 1 --memory lots",
        "run -c 1 --memory 64KiB",
        "run -c 1 --cpu 0",
        "run -c 1 --pids 0",
        "run -c 1 --disk 1",
        "run -c 1 --max-open-files many",
        "run -c 1 -t -o json",
        "run -c 1 -t",
        "run /nonexistent.py",
        "run /",
        "run -c 1 --file /nonexistent:/x",
        "shell",
        "bench -n 0",
        "bench --only speed",
        "bench --vs docker",
        "bench --provider modal",
        "ca",
        "ca trust",
        "completions tcsh",
    ] {
        let args: Vec<&str> = line.split_whitespace().collect();
        let (code, stdout, stderr) = parts(&run(&args));
        all += &format!("$ compute {line}\n{stdout}{stderr}exit code {}\n\n", code.unwrap_or(-1));
    }
    insta::assert_snapshot!(all);
}

#[cfg(feature = "serve")]
#[test]
fn refusals_of_what_talks_to_a_server() {
    let mut all = String::new();
    for line in [
        "create --timeout soon",
        "create --port 0",
        "create --inbound 10.0.0.0/8",
        "create --tag key",
        "create --memory lots",
        "create --file /nonexistent:/x",
        "exec",
        "exec box",
        "exec box ls",
        "exec -t box -- ls -o json",
        "exec -t box -- ls",
        "-o json exec -t box -- ls",
        "logs",
        "cp a",
        "cp a b",
        "cp a:/b c:/d",
        "stop",
        "rm",
        "tags",
        "tags box set",
        "tags box set key",
        "tags box unset key=value",
        "tags box drop key",
        "ps everything",
    ] {
        let args: Vec<&str> = line.split_whitespace().collect();
        let (code, stdout, stderr) = parts(&run(&args));
        all += &format!("$ compute {line}\n{stdout}{stderr}exit code {}\n\n", code.unwrap_or(-1));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn version_and_completions() {
    expect(&["--version"], 0, &format!("compute {}\n", env!("CARGO_PKG_VERSION")));
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, _) = parts(&run(&["completions", shell]));
        assert!(code == Some(0) && stdout.contains("isolation"), "{shell}: {stdout}");
    }
}

#[test]
fn a_closed_standard_output_is_a_quiet_end() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let (code, _, stderr) = parts(&compute(&["completions", "bash"]).stdout(writer).output().expect("compute starts"));
    assert_eq!((code, stderr.as_str()), (Some(141), ""));
}

#[test]
fn no_escape_sequences_but_on_a_terminal() {
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "xterm-256color")] {
        for args in [&["--help"][..], &["run"], &["shell"]] {
            let output = compute(args).env(name, value).output().expect("compute starts");
            assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{args:?}: {output:?}");
        }
    }
}

#[test]
fn our_own_failures_as_json() {
    let output = run(&["-o", "json", "run", "/nonexistent.py"]);
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(127), &b""[..]));
    let error = &common::json(&output)["error"];
    assert_eq!(error["kind"], "NotFound");
    assert_eq!(error["operation"], "run.read");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("/nonexistent.py")), "{error}");
}
