//! README, "Direct Usage": a provider of one's own, named in the call, beside whatever the default is.

#![allow(clippy::print_stdout, reason = "examples talk to whoever runs them")]

use computesdk::local::LocalConfig;
use computesdk::{CreateParams, Result, compute, local};
use computesdk_examples::ensure;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<()> {
    // Create a provider, with sandboxes of ten minutes.
    let mut config = LocalConfig::default();
    config.timeout = Duration::from_secs(600);
    let provider = local(config);

    // Use it with the singleton, which has no default provider here.
    let sandbox = compute().sandbox().create(CreateParams::with_provider(&provider)).await?;
    let info = sandbox.get_info().await?;
    println!("{} lives for {} s", info.provider, info.timeout.as_secs());
    ensure(info.timeout == Duration::from_secs(600), "the provider's timeout was not kept")?;

    compute().sandbox().destroy_with(&provider, sandbox.sandbox_id()).await
}
