//! README, "Serverless Scaling": several programs at once in one sandbox, each shown as it ends.

#![allow(clippy::print_stdout, reason = "examples talk to whoever runs them")]

use computesdk::local::LocalConfig;
use computesdk::{Compute, Result, local};
use computesdk_examples::ensure;
use futures_util::future::try_join3;
use std::future::IntoFuture as _;
use std::time::Instant;

#[tokio::main]
async fn main() -> Result<()> {
    let compute = Compute::with_provider(local(LocalConfig::default()));
    let sandbox = compute.sandbox().create(()).await?.into_guard();
    let task = |number| {
        let code = "import sys, time\ntime.sleep(1)\nprint('task', sys.argv[1])";
        sandbox.run_code(code).args([format!("{number}")]).into_future()
    };

    let start = Instant::now();
    let (one, two, three) = try_join3(task(1), task(2), task(3)).await?;
    let together = start.elapsed();

    let (mut output, mut alone) = (String::new(), std::time::Duration::ZERO);
    for result in [one, two, three] {
        output += &result.stdout;
        alone += result.execution_time;
    }
    print!("{output}");
    println!("took {:.1} s together, {:.1} s one by one", together.as_secs_f64(), alone.as_secs_f64());
    ensure(output == "task 1\ntask 2\ntask 3\n", "a result is missing")?;
    ensure(together < alone.mul_f64(0.7), "they did not run at once")?;
    sandbox.destroy().await
}
