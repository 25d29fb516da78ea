//! The harness itself: what fails must fail the run, what is declared cannot be skipped, and reasons are printed.
//!
//! The program runs itself as a child with `HOLLOW_MODE` set; the child then runs the suite over [`hollow`], a provider
//! that keeps its sandboxes in memory and cannot run anything. So trials that need no process pass, the others fail.

// A test program: what it sees goes to its log, and what is broken may panic.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod hollow;

use computesdk_core::{Error, ErrorKind};
use computesdk_testkit::Suite;
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    match std::env::var("HOLLOW_MODE") {
        Ok(mode) => child(&mode),
        Err(_) => libtest_mimic::run(&Arguments::from_args(), trials()).exit_code(),
    }
}

fn child(mode: &str) -> ExitCode {
    let mode = mode.to_owned();
    let suite = match mode.as_str() {
        "unavailable" => Suite::unavailable("no credentials"),
        "broken" => Suite::new(|| async {
            Err::<hollow::Hollow, _>(Error::new(ErrorKind::Unavailable, "provider.start", "the engine is on strike"))
        }),
        _ => Suite::new(|| async move { Ok(hollow::Hollow::new(&mode)) }),
    };
    computesdk_testkit::run("hollow", suite.parallel(2))
}

/// A finished child: its exit code, and everything it printed.
struct Ran {
    code: Option<i32>,
    text: String,
}

fn run(mode: &str, arguments: &[&str]) -> Ran {
    run_with(mode, arguments, &[])
}

fn run_with(mode: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .env("HOLLOW_MODE", mode)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ran { code: output.status.code(), text }
}

impl Ran {
    fn has(&self, wanted: &str) -> Result<&Self, Failed> {
        if self.text.contains(wanted) {
            return Ok(self);
        }
        Err(format!("no {wanted:?} in:\n{}", self.text).into())
    }

    fn ended_with(&self, code: i32) -> Result<&Self, Failed> {
        if self.code == Some(code) {
            return Ok(self);
        }
        Err(format!("exit code {:?} instead of {code}:\n{}", self.code, self.text).into())
    }

    fn count(&self, word: &str) -> usize {
        self.text.matches(word).count()
    }
}

type Check = fn() -> Result<(), Failed>;

fn trials() -> Vec<Trial> {
    let all: [(&str, Check); 10] = [
        ("a_passing_trial_passes_the_run", a_passing_trial_passes_the_run),
        ("a_failing_trial_fails_the_run", a_failing_trial_fails_the_run),
        ("what_is_not_declared_is_skipped_with_its_reason", what_is_not_declared_is_skipped_with_its_reason),
        ("what_is_declared_cannot_be_skipped", what_is_declared_cannot_be_skipped),
        ("a_late_trial_fails_and_is_cleaned_up", a_late_trial_fails_and_is_cleaned_up),
        ("a_panic_fails_and_is_cleaned_up", a_panic_fails_and_is_cleaned_up),
        ("a_failed_clean_up_fails_the_trial", a_failed_clean_up_fails_the_trial),
        ("a_provider_that_does_not_start_fails_the_run", a_provider_that_does_not_start_fails_the_run),
        ("an_unavailable_provider_skips_everything", an_unavailable_provider_skips_everything),
        ("the_report_counts_what_happened", the_report_counts_what_happened),
    ];
    all.into_iter().map(|(name, test)| Trial::test(name, test)).collect()
}

fn a_passing_trial_passes_the_run() -> Result<(), Failed> {
    let ran = run("plain", &["--exact", "lookup::list_filters_by_all_of_the_metadata"]);
    ran.ended_with(0)?.has("test result: ok. 1 passed; 0 failed; 0 ignored")?;
    assert!(ran.count("hollow: made") >= 2, "{}", ran.text);
    assert_eq!(ran.count("hollow: made"), ran.count("hollow: ended"), "{}", ran.text);
    Ok(())
}

fn a_failing_trial_fails_the_run() -> Result<(), Failed> {
    let ran = run("plain", &["--exact", "exec::exit_codes_are_exact"]);
    ran.ended_with(101)?
        .has("a hollow sandbox runs nothing")?
        .has("exec.rs:")?
        .has("test result: FAILED. 0 passed; 1")?;
    // Its sandbox was removed all the same.
    assert_eq!(ran.count("hollow: made"), ran.count("hollow: ended"), "{}", ran.text);
    Ok(())
}

fn what_is_not_declared_is_skipped_with_its_reason() -> Result<(), Failed> {
    let ran = run("plain", &["pty::ctrl_c"]);
    ran.ended_with(0)?
        .has("skipped: pty::ctrl_c_interrupts: the hollow provider does not declare `pty`\n")?
        .has("ignored (the hollow provider does not declare `pty`)")?
        .has("test result: ok. 0 passed; 0 failed; 1 ignored")?;
    assert_eq!(ran.count("skipped:"), 1, "a trial that was not selected is told of: {}", ran.text);
    Ok(())
}

fn what_is_declared_cannot_be_skipped() -> Result<(), Failed> {
    let ran = run("claims-pty", &["pty::ctrl_c"]);
    ran.ended_with(101)?.has("test result: FAILED. 0 passed; 1 failed; 0 ignored")?;
    // And what it no longer lacks is no longer asked to be refused.
    let ran = run("claims-gpu", &["options::gpu"]);
    ran.ended_with(0)?.has("skipped: options::gpu_is_refused: the hollow provider keeps `gpu`")?;
    Ok(())
}

fn a_late_trial_fails_and_is_cleaned_up() -> Result<(), Failed> {
    let late = [("COMPUTESDK_TRIAL_TIMEOUT", "0.3")];
    let ran = run_with("hangs", &["--exact", "exec::exit_codes_are_exact"], &late);
    ran.ended_with(101)?.has("not done after its deadline of")?;
    assert_eq!((ran.count("hollow: made"), ran.count("hollow: ended")), (1, 1), "{}", ran.text);
    Ok(())
}

fn a_panic_fails_and_is_cleaned_up() -> Result<(), Failed> {
    let ran = run("panics", &["--exact", "exec::exit_codes_are_exact"]);
    ran.ended_with(101)?.has("panicked: hollow panics")?;
    assert_eq!((ran.count("hollow: made"), ran.count("hollow: ended")), (1, 1), "{}", ran.text);
    Ok(())
}

fn a_failed_clean_up_fails_the_trial() -> Result<(), Failed> {
    let ran = run("sticks", &["--exact", "sandbox::info_is_complete"]);
    ran.ended_with(101)?.has("cleaning up failed: a hollow sandbox sticks")?;
    Ok(())
}

fn a_provider_that_does_not_start_fails_the_run() -> Result<(), Failed> {
    let ran = run("broken", &["--exact", "exec::exit_codes_are_exact"]);
    ran.ended_with(101)?.has("suite::provider_starts")?.has("the engine is on strike")?.has("test result: FAILED")?;
    // Names are listed all the same.
    run("broken", &["--list"]).ended_with(0)?.has("exec::exit_codes_are_exact: test")?;
    Ok(())
}

fn an_unavailable_provider_skips_everything() -> Result<(), Failed> {
    let ran = run("unavailable", &[]);
    ran.ended_with(0)?
        .has("skipped: exec::exit_codes_are_exact: no credentials\n")?
        .has("test result: ok. 0 passed; 0 failed;")?;
    Ok(())
}

fn the_report_counts_what_happened() -> Result<(), Failed> {
    let path = std::env::temp_dir().join(format!("computesdk-testkit-report-{}.json", std::process::id()));
    let report = path.display().to_string();
    let environment = [("COMPUTESDK_CONFORMANCE_REPORT", report.as_str())];
    run_with("plain", &["options::"], &environment).ended_with(0)?;
    let text = std::fs::read_to_string(&path)?;
    std::fs::remove_file(&path)?;
    let report: serde_json::Value = serde_json::from_str(&text)?;
    assert_eq!((&report["provider"], &report["failed"]), (&"hollow".into(), &0.into()), "{text}");
    assert!(report["passed"].as_u64() > Some(10) && report["skipped"].as_u64() > Some(0), "{text}");
    let skipped = report["trials"].as_array().unwrap().iter().find(|trial| trial["outcome"] == "skipped").unwrap();
    assert!(skipped["reason"].as_str().unwrap().contains("nothing to refuse"), "{text}");
    Ok(())
}
