//! What the example programs share. Each program is in `src/bin`; `cargo run -p computesdk-examples --bin usage`.

#![allow(clippy::print_stdout, reason = "examples talk to whoever runs them")]

use computesdk::{Error, ErrorKind, Result, Sandbox};

/// The environment variable with the path of a numpy wheel for the sandbox's Python.
pub const NUMPY_WHEEL: &str = "COMPUTESDK_NUMPY_WHEEL";

/// Installs numpy into the sandbox from the wheel that [`NUMPY_WHEEL`] names, without a network. Returns `false`,
/// having printed why, if it is not set: the examples then compute the same in plain Python.
///
/// # Errors
/// If the wheel cannot be read, uploaded or installed.
pub async fn install_numpy(sandbox: &Sandbox) -> Result<bool> {
    let Some(wheel) = std::env::var_os(NUMPY_WHEEL).map(std::path::PathBuf::from) else {
        println!("note: {NUMPY_WHEEL} is not set, so numpy is not installed; plain Python computes instead");
        return Ok(false);
    };
    let failed = |why: String| Error::new(ErrorKind::FailedPrecondition, "example.install_numpy", why);
    let bytes = std::fs::read(&wheel).map_err(|error| failed(format!("{}: {error}", wheel.display())))?;
    let name = wheel.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let path = format!("/tmp/{name}");
    sandbox.filesystem().write_bytes(&path, bytes).await?;
    let pip = ["-m", "pip", "install", "--no-index", "--no-deps", "--root-user-action=ignore", &path];
    let result = sandbox.run_command("python3", pip).await?;
    if result.success() { Ok(true) } else { Err(failed(format!("pip install {name}: {}", result.stderr))) }
}

/// Ends the example with an error unless this holds: what an example shows, it also checks.
///
/// # Errors
/// `Unexpected`, with this explanation.
pub fn ensure(holds: bool, explanation: impl Into<String>) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::new(ErrorKind::Unexpected, "example", explanation)) }
}
