//! The conformance suite over `local`. `COMPUTESDK_EXPECT_RUNG=B` fails it on any other rung: CI runs it as root and as
//! two kinds of ordinary users, and none of the three may slide to another one unseen. With `COMPUTESDK_PROXY_ONLY=1` sandboxes reach
//! the network by the proxy alone, as on a kernel without a packet filter.

#![allow(clippy::print_stdout)]

use computesdk_local::{Local, LocalConfig, doctor};
use computesdk_testkit::{Suite, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    // Published ports make a certificate authority on first use: not in the home of whoever runs this.
    let Ok(authority) = tempfile::tempdir() else { return refuse("no temporary directory") };
    let mut config = LocalConfig::default();
    config.authority_dir = Some(authority.path().join("ca"));
    config.proxy_only = std::env::var_os("COMPUTESDK_PROXY_ONLY").is_some();
    let found =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map(|rt| rt.block_on(doctor(&config)));
    let rung = match found {
        Ok(Ok(doctor)) => doctor.rung,
        Ok(Err(error)) => return refuse(&error.report()),
        Err(error) => return refuse(&error.to_string()),
    };
    println!("rung: {}", rung.as_deref().unwrap_or("none"));
    match (rung, std::env::var("COMPUTESDK_EXPECT_RUNG").ok()) {
        (Some(rung), Some(expected)) if !rung.starts_with(&expected) => {
            refuse(&format!("expected rung {expected}, found {rung}"))
        }
        (None, Some(expected)) => refuse(&format!("expected rung {expected}, found none")),
        (None, None) => {
            run("local", Suite::unavailable("this machine offers no sandbox isolation; see `compute doctor`"))
        }
        (Some(_), _) => run("local", Suite::new(|| async { Ok(Local::new(config)) })),
    }
}

fn refuse(why: &str) -> ExitCode {
    println!("conformance: {why}");
    ExitCode::FAILURE
}
