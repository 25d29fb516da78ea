//! README, "Machine Learning Pipeline": directories, a training script, a run that starts it, the model it saved.

#![allow(clippy::print_stdout, reason = "examples talk to whoever runs them")]

use computesdk::local::LocalConfig;
use computesdk::{Compute, Result, local};
use computesdk_examples::{ensure, install_numpy};

const WITH_NUMPY: &str = r#"
import numpy as np

# Generate sample data
random = np.random.default_rng(7)
X = random.standard_normal((1000, 10))
y = X @ random.standard_normal((10, 1)) + 0.1 * random.standard_normal((1000, 1))

# Train a linear model
weights = np.zeros((10, 1))
for epoch in range(10):
    for start in range(0, 1000, 32):
        batch_x, batch_y = X[start:start + 32], y[start:start + 32]
        weights -= 0.05 * batch_x.T @ (batch_x @ weights - batch_y) / len(batch_x)
    loss = float(np.mean((X @ weights - y) ** 2))
    print(f"Epoch {epoch+1}, Loss: {loss:.4f}")

# Save model
np.save("/ml-project/models/model.npy", weights)
print("Model saved!")
"#;

const WITHOUT: &str = r#"
import json, random

random.seed(7)
truth = [random.gauss(0, 1) for _ in range(10)]
X = [[random.gauss(0, 1) for _ in range(10)] for _ in range(1000)]
y = [sum(w * v for w, v in zip(truth, x)) + random.gauss(0, 0.1) for x in X]

def predict(weights, x):
    return sum(w * v for w, v in zip(weights, x))

weights = [0.0] * 10
for epoch in range(10):
    for x, target in zip(X, y):
        error = predict(weights, x) - target
        weights = [w - 0.01 * error * v for w, v in zip(weights, x)]
    loss = sum((predict(weights, x) - target) ** 2 for x, target in zip(X, y)) / 1000
    print(f"Epoch {epoch+1}, Loss: {loss:.4f}")

with open("/ml-project/models/model.npy", "w") as file:
    json.dump(weights, file)
print("Model saved!")
"#;

#[tokio::main]
async fn main() -> Result<()> {
    let compute = Compute::with_provider(local(LocalConfig::default()));
    let sandbox = compute.sandbox().create(()).await?.into_guard();
    let files = sandbox.filesystem();

    // Create the project structure.
    for directory in ["/ml-project", "/ml-project/data", "/ml-project/models"] {
        files.mkdir(directory).await?;
    }

    // Write the training script.
    let script = if install_numpy(&sandbox).await? { WITH_NUMPY } else { WITHOUT };
    files.write_file("/ml-project/train.py", script).await?;

    // Run training.
    let result = sandbox
        .run_code(
            r#"
import subprocess
result = subprocess.run(['python', '/ml-project/train.py'],
                       capture_output=True, text=True)
print(result.stdout)
if result.stderr:
    print("Errors:", result.stderr)
"#,
        )
        .await?;
    print!("{}", result.stdout);
    ensure(result.stdout.matches("Epoch ").count() == 10, &result.stderr)?;

    // Verify that the model was saved.
    let model_exists = files.exists("/ml-project/models/model.npy").await?;
    println!("Model saved: {model_exists}");
    ensure(model_exists, "there is no model")?;
    sandbox.destroy().await
}
