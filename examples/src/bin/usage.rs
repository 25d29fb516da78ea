//! README, "With ComputeSDK": a default provider, a sandbox, numeric Python, its output.

#![allow(clippy::print_stdout, reason = "examples talk to whoever runs them")]

use computesdk::local::LocalConfig;
use computesdk::{ComputeConfig, Result, compute, local};
use computesdk_examples::{ensure, install_numpy};

const WITH_NUMPY: &str = r#"
import numpy as np

x = np.random.default_rng(7).standard_normal((1000, 1000))
y = np.matmul(x, x.T)
print(f"numpy {np.__version__}")
print(f"Result shape: {y.shape}")
print(f"Mean: {y.mean().item():.4f}")
"#;

const WITHOUT: &str = r#"
import random

random.seed(7)
x = [[random.gauss(0, 1) for _ in range(100)] for _ in range(100)]
y = [[sum(a * b for a, b in zip(row, column)) for column in x] for row in x]
print(f"Result shape: {(len(y), len(y[0]))}")
print(f"Mean: {sum(map(sum, y)) / 10_000:.4f}")
"#;

#[tokio::main]
async fn main() -> Result<()> {
    // Set as default provider.
    compute().set_config(ComputeConfig::new(local(LocalConfig::default())));

    // Create a sandbox.
    let sandbox = compute().sandbox().create(()).await?;

    // Execute Python code.
    let code = if install_numpy(&sandbox).await? { WITH_NUMPY } else { WITHOUT };
    let result = sandbox.run_code(code).await?;
    print!("{}", result.stdout);
    ensure(result.success(), &result.stderr)?;

    // Clean up.
    compute().sandbox().destroy(sandbox.sandbox_id()).await
}
