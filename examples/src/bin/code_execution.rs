//! README, "Code Execution": with a language, without one, and in the other language.

#![allow(clippy::print_stdout, reason = "examples talk to whoever runs them")]

use computesdk::local::LocalConfig;
use computesdk::{Compute, Result, Runtime, local};
use computesdk_examples::ensure;

#[tokio::main]
async fn main() -> Result<()> {
    let compute = Compute::with_provider(local(LocalConfig::default()));
    let sandbox = compute.sandbox().create(()).await?.into_guard();

    // Execute Python code.
    let code = r#"
import platform, sys
print("Python", platform.python_version())
print("to standard error", file=sys.stderr)
sys.exit(3)
"#;
    let result = sandbox.run_code(code).runtime(Runtime::Python).await?;
    print!("stdout: {}", result.stdout);
    print!("stderr: {}", result.stderr);
    println!("exit code: {}", result.exit_code);
    ensure(result.exit_code == 3, "the exit code was lost")?;

    // Auto-detection: what looks like neither language is Python.
    let result = sandbox.run_code(r#"print("Hello from a real sandbox!")"#).await?;
    print!("{}", result.stdout);
    let result = sandbox.run_code(r#"console.log("Hello from Node", process.version.split(".")[0])"#).await?;
    print!("{}", result.stdout);
    ensure(result.success(), &result.stderr)?;

    // The result in the JSON of the JavaScript SDK.
    println!("{}", serde_json::json!(result));
    sandbox.destroy().await
}
