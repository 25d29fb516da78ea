//! README, "Sandbox Management": info, list, get by id, destroy.

#![allow(clippy::print_stdout, reason = "examples talk to whoever runs them")]

use computesdk::local::LocalConfig;
use computesdk::{CreateParams, Result, compute, local};
use computesdk_examples::ensure;

#[tokio::main]
async fn main() -> Result<()> {
    let provider = local(LocalConfig::default());
    let sandboxes = compute().sandbox();
    let sandbox = sandboxes.create(CreateParams::with_provider(&provider)).await?;

    // Get sandbox info.
    let info = sandbox.get_info().await?;
    println!("{} {} {}", info.id, info.provider, info.status);

    // List all sandboxes.
    let ids: Vec<String> =
        sandboxes.list_with(&provider).await?.iter().map(|one| one.sandbox_id().to_owned()).collect();
    println!("{} listed", ids.len());
    ensure(ids == [sandbox.sandbox_id()], "the list is not the one sandbox")?;

    // Get an existing sandbox by its id.
    let existing = sandboxes.get_by_id_with(&provider, sandbox.sandbox_id()).await?;
    println!("found: {}", existing.is_some());
    let nobody = sandboxes.get_by_id_with(&provider, "sb-nobody").await?;
    println!("found: {}", nobody.is_some());
    ensure(existing.is_some() && nobody.is_none(), "get_by_id is wrong")?;

    // Destroy it; once more is fine.
    sandboxes.destroy_with(&provider, sandbox.sandbox_id()).await?;
    sandboxes.destroy_with(&provider, sandbox.sandbox_id()).await?;
    println!("{}", sandbox.get_info().await?.status);
    ensure(sandboxes.list_with(&provider).await?.is_empty(), "a destroyed sandbox is listed")
}
