//! The program on the first screen of this repository's README, word for word.

use computesdk::local::{LocalConfig, local};
use computesdk::{Compute, ErrorKind};

#[tokio::main]
async fn main() -> computesdk::Result<()> {
    let compute = Compute::with_provider(local(LocalConfig::default()));
    let sandbox = compute.sandbox().create(()).await?;

    let result = sandbox.run_code("import sys; print(sys.version_info >= (3, 8))").await?;
    assert_eq!((result.stdout.as_str(), result.exit_code), ("True\n", 0));

    // A program that fails is a result; one that does not compile is an error.
    assert_eq!(sandbox.run_code("1/0").await?.exit_code, 1);
    let refused = sandbox.run_code("def f(:").await.expect_err("it does not compile");
    assert_eq!(refused.kind(), ErrorKind::SyntaxError);

    sandbox.filesystem().write_file("/app/train.py", "import sys; print(sys.argv[1:])").await?;
    let result = sandbox.run_command("python", ["/app/train.py", "--epochs", "10"]).await?;
    assert_eq!(result.stdout, "['--epochs', '10']\n");

    sandbox.destroy().await
}
