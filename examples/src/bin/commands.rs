//! README, "Command Execution": programs with arguments, without a shell between.

#![allow(clippy::print_stdout, reason = "examples talk to whoever runs them")]

use computesdk::local::LocalConfig;
use computesdk::{Compute, CreateParams, Result, local};
use computesdk_examples::ensure;

const TRAIN: &str = r#"
import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
for epoch in range(parser.parse_args().epochs):
    print("Epoch", epoch + 1)
"#;

#[tokio::main]
async fn main() -> Result<()> {
    let compute = Compute::with_provider(local(LocalConfig::default()));
    let params = CreateParams::new().cwd("/app").file("/app/train.py", TRAIN);
    let sandbox = compute.sandbox().create(params).await?.into_guard();

    // List files.
    let result = sandbox.run_command("ls", ["-la"]).await?;
    print!("{}", result.stdout);
    ensure(result.stdout.contains("train.py"), "the listing lacks train.py")?;

    // Run a training script, looking on as it prints.
    let mut lines = 0;
    let result = sandbox
        .run_command("python", ["train.py", "--epochs", "10"])
        .on_stdout(|bytes| lines += bytes.iter().filter(|&&byte| byte == b'\n').count())
        .await?;
    println!("{lines} lines, the last one: {}", result.stdout.lines().last().unwrap_or_default());
    ensure(lines == 10 && result.success(), &result.stderr)?;

    // A program that is not there is a result, not an error.
    let result = sandbox.run_command("nvidia-smi", ()).await?;
    println!("nvidia-smi: exit code {}", result.exit_code);

    // A line for the shell, with a value that cannot break out of it.
    let result = sandbox.shell("echo \"$NAME\" | tr a-z A-Z").env("NAME", "it's; rm -rf /").await?;
    print!("{}", result.stdout);
    ensure(result.stdout == "IT'S; RM -RF /\n", &result.stdout)?;
    sandbox.destroy().await
}
