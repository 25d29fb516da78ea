//! What code in a sandbox of `local` gets at; see `computesdk_testkit::containment`. `COMPUTESDK_EXPECT_RUNG` as in the
//! conformance suite.

#![allow(clippy::print_stdout)]

use computesdk_local::{LocalConfig, doctor, local};
use computesdk_testkit::containment::{Providers, run};
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
        (Some(rung), _) => {
            let mut by_proxy = config.clone();
            by_proxy.proxy_only = true;
            run(&rung[..1], Providers { usual: local(config), proxy: Some(local(by_proxy)) })
        }
    }
}

fn refuse(why: &str) -> ExitCode {
    println!("containment: {why}");
    ExitCode::FAILURE
}
