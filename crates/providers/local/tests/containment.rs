//! What code in a sandbox of `local` gets at; see `computesdk_testkit::containment`. `COMPUTESDK_EXPECT_RUNG` as in the
//! conformance suite.

#![allow(clippy::print_stdout)]

use computesdk_local::{LocalConfig, doctor, local};
use std::process::ExitCode;

fn main() -> ExitCode {
    let config = LocalConfig::default();
    let found =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map(|rt| rt.block_on(doctor(&config)));
    let rung = match found {
        Ok(Ok(doctor)) => doctor.rung,
        Ok(Err(error)) => return refuse(&error.report()),
        Err(error) => return refuse(&error.to_string()),
    };
    println!("rung: {}", rung.as_deref().unwrap_or("none"));
    let expected = std::env::var("COMPUTESDK_EXPECT_RUNG").ok();
    match (rung, expected) {
        (Some(rung), Some(expected)) if !rung.starts_with(&expected) => {
            refuse(&format!("expected rung {expected}, found {rung}"))
        }
        (None, Some(expected)) => refuse(&format!("expected rung {expected}, found none")),
        (None, None) => {
            println!("skipped: this machine offers no sandbox isolation; see `compute doctor`");
            ExitCode::SUCCESS
        }
        (Some(rung), _) => computesdk_testkit::containment::run(&rung[..1], local(config)),
    }
}

fn refuse(why: &str) -> ExitCode {
    println!("containment: {why}");
    ExitCode::FAILURE
}
