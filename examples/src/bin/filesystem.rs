//! README, "Filesystem Operations".

#![allow(clippy::print_stdout, reason = "examples talk to whoever runs them")]

use computesdk::local::LocalConfig;
use computesdk::{Compute, Result, local};
use computesdk_examples::ensure;

const TRAIN: &str = r#"
class SimpleModel:
    def __init__(self):
        self.weights = [0.1] * 10

    def forward(self, x):
        return sum(w * v for w, v in zip(self.weights, x))

model = SimpleModel()
print("Model created successfully!")
"#;

#[tokio::main]
async fn main() -> Result<()> {
    let compute = Compute::with_provider(local(LocalConfig::default()));
    let sandbox = compute.sandbox().create(()).await?.into_guard();
    let files = sandbox.filesystem();

    // Write a file (its directories are made), and read it again.
    files.write_file("/app/train.py", TRAIN).await?;
    let content = files.read_file("/app/train.py").await?;
    println!("{} bytes", content.len());
    ensure(content == TRAIN, "the content changed on its way")?;
    print!("{}", sandbox.run_command("python3", ["/app/train.py"]).await?.stdout);

    // Create directories.
    files.mkdir("/app/data").await?;
    files.mkdir("/app/models").await?;

    // List a directory.
    for entry in files.readdir("/app").await? {
        println!("{}", serde_json::json!(entry));
    }

    // Check and remove; removing what is not there is fine.
    println!("File exists: {}", files.exists("/app/train.py").await?);
    files.remove("/app/train.py").await?;
    files.remove("/app/temp_file.txt").await?;
    println!("File exists: {}", files.exists("/app/train.py").await?);

    // What cannot be done says which path, and why.
    let Err(error) = files.read_file("/app/train.py").await else {
        return ensure(false, "a removed file was read");
    };
    println!("{}: {error}", error.kind());
    sandbox.destroy().await
}
