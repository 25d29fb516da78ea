//! The classification, over what real interpreters wrote (`syntax_samples.txt`; CPython 3.8, 3.11, 3.13, Node 20).

use super::*;
use computesdk_core::ExitStatus;

const SAMPLES: &str = include_str!("syntax_samples.txt");
const DIRECTORY: &str = "/tmp/.computesdk-run-0";

fn classify(runtime: Runtime, code: i32, stderr: &str) -> Option<Error> {
    let main = format!("{DIRECTORY}/{}", if runtime == Runtime::Python { "main.py" } else { "main.js" });
    let output = Output {
        status: ExitStatus::exited(code),
        stdout: Vec::new(),
        stderr: stderr.into(),
        usage: computesdk_core::Usage::default(),
    };
    error(runtime, &main, &output)
}

/// Title, language, expectation, standard error.
fn samples() -> impl Iterator<Item = (&'static str, Runtime, Option<u32>, &'static str)> {
    SAMPLES.split("=== ").skip(1).map(|sample| {
        let (title, stderr) = sample.split_once('\n').unwrap();
        let (what, expected) = title.rsplit_once(" | ").unwrap();
        let runtime = if what.starts_with("python") { Runtime::Python } else { Runtime::Node };
        (title, runtime, expected.strip_prefix("line ").map(|line| line.parse().unwrap()), stderr)
    })
}

#[test]
fn recorded_texts_are_told_apart() {
    let mut counts = (0, 0);
    for (title, runtime, expected, stderr) in samples() {
        let found = classify(runtime, 1, stderr);
        match expected {
            None => counts.0 += 1,
            Some(_) => counts.1 += 1,
        }
        let Some(line) = expected else {
            assert!(found.is_none(), "{title}: {found:?}");
            continue;
        };
        let error = found.unwrap_or_else(|| panic!("{title}: taken for a result\n{stderr}"));
        let details = SyntaxErrorDetails::of(&error).unwrap();
        assert_eq!(details.line, (line > 0).then_some(line), "{title}");
        assert_eq!((details.exit_code, &*details.stderr), (1, stderr), "{title}");
        assert!(error.to_string().starts_with("Syntax error: ") && !error.to_string().contains('\x1b'), "{error}");
        assert!(!error.to_string().ends_with('\n'), "{error}");
    }
    assert!(counts.0 >= 15 && counts.1 >= 25, "{counts:?}");
}

#[test]
fn another_exit_or_another_file_is_a_result() {
    for (title, runtime, expected, stderr) in samples() {
        if expected.is_some() {
            assert!(classify(runtime, 2, stderr).is_none(), "{title}");
            let moved = stderr.replace(DIRECTORY, "/app");
            assert!(classify(runtime, 1, &moved).is_none(), "{title}");
            let after_output = format!("the program said this\n{stderr}");
            assert_eq!(classify(runtime, 1, &after_output).is_some(), runtime == Runtime::Python, "{title}");
        }
    }
    assert!(classify(Runtime::Python, 1, "").is_none() && classify(Runtime::Node, 1, "").is_none());
}

#[test]
fn other_errors_have_no_details() {
    assert_eq!(SyntaxErrorDetails::of(&Error::new(ErrorKind::NotFound, "x", "y")), None);
}
