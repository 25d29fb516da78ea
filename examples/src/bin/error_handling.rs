//! README, "Error Handling": what is an error, and what is a result.

#![allow(clippy::print_stdout, reason = "examples talk to whoever runs them")]

use computesdk::local::LocalConfig;
use computesdk::{Compute, CreateParams, ErrorKind, Result, SyntaxErrorDetails, local};
use computesdk_examples::ensure;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<()> {
    // No provider: an error that says what to do.
    let Err(error) = Compute::new().sandbox().create(()).await else {
        return ensure(false, "a sandbox without a provider");
    };
    println!("{}: {error}", error.kind());

    let compute = Compute::with_provider(local(LocalConfig::default()));
    let sandbox = compute.sandbox().create(CreateParams::new()).await?.into_guard();

    // A program that does not compile is an error.
    match sandbox.run_code("invalid python code").await {
        Ok(result) => return ensure(false, format!("a result: {result:?}")),
        Err(error) => match error.kind() {
            ErrorKind::MissingCredentials => println!("set the credentials"),
            ErrorKind::AuthenticationFailed => println!("check the credentials"),
            ErrorKind::QuotaExceeded => println!("usage limits reached"),
            ErrorKind::SyntaxError => {
                let line = SyntaxErrorDetails::of(&error).and_then(|details| details.line);
                println!("Code has syntax errors, first in line {}", line.unwrap_or_default());
                ensure(error.to_string().contains("Syntax error"), error.to_string())?;
            }
            _ => return Err(error),
        },
    }

    // One that fails is a result: the README's GPU snippet uses a model that nobody made.
    let result = sandbox.run_code("device = 'cpu'\nmodel = model.to(device)").await?;
    println!("exit code {}: {}", result.exit_code, result.stderr.lines().last().unwrap_or_default());
    ensure(result.exit_code == 1, "it should have failed")?;

    // And so is one that takes too long; what it wrote until then is kept.
    let slow = "import time\nprint('working')\ntime.sleep(600)";
    let result = sandbox.run_code(slow).timeout(Duration::from_secs(2)).await?;
    println!("timed out: {}, exit code {}, after: {}", result.timed_out(), result.exit_code, result.stdout.trim());

    // A sandbox that has ended takes no more work.
    let handle = sandbox.clone();
    sandbox.destroy().await?;
    let Err(error) = handle.run_code("1").await else {
        return ensure(false, "code ran in a destroyed sandbox");
    };
    println!("{}: {error}", error.kind());
    ensure(error.kind() == ErrorKind::NotFound, error.to_string())
}
