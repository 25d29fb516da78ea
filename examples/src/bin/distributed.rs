//! README, "Distributed Processing": one sandbox a task, all at once, each with its own data.

#![allow(clippy::print_stdout, reason = "examples talk to whoever runs them")]

use computesdk::local::LocalConfig;
use computesdk::{Compute, CreateParams, Result, local};
use computesdk_examples::ensure;
use futures_util::future::try_join_all;
use serde::Deserialize;

// The name of the task goes in as data: one with a quote in it cannot become code.
const ANALYSE: &str = r#"
import json, os, statistics

task = json.load(open(os.environ["COMPUTESDK_INPUTS"]))["task"]
with open(f"/data/{task}", "r") as f:
    values = json.load(f)["values"]

print(json.dumps({
    "task": task,
    "mean": statistics.fmean(values),
    "std": statistics.pstdev(values),
    "min": min(values),
    "max": max(values),
    "count": len(values),
}))
"#;

#[derive(Deserialize)]
struct Analysis {
    task: String,
    mean: f64,
    std: f64,
    count: usize,
}

async fn analyse(compute: &Compute, task: &str, values: &[f64]) -> Result<(String, Analysis)> {
    let data = serde_json::json!({ "values": values }).to_string();
    let params = CreateParams::new().file(format!("/data/{task}"), data);
    let sandbox = compute.sandbox().create(params).await?.into_guard();
    let result = sandbox.run_code(ANALYSE).inputs(&serde_json::json!({ "task": task })).await?;
    let id = sandbox.sandbox_id().to_owned();
    sandbox.destroy().await?;
    Ok((id, result.json()?))
}

#[tokio::main]
async fn main() -> Result<()> {
    let compute = Compute::with_provider(local(LocalConfig::default()));
    let tasks = [
        ("task1_data.json", vec![1.0, 2.0, 3.0, 4.0]),
        ("task2_data.json", vec![10.0, 20.0, 60.0]),
        ("task3's \"data\".json", vec![-1.5, 1.5]),
    ];

    // Process all tasks in parallel.
    let results = try_join_all(tasks.iter().map(|(task, values)| analyse(&compute, task, values))).await?;

    for ((id, analysis), (task, values)) in results.iter().zip(&tasks) {
        println!("Task {}: mean={:.2} std={:.2} count={}", analysis.task, analysis.mean, analysis.std, analysis.count);
        let mean = values.iter().sum::<f64>() / f64::from(u32::try_from(values.len()).unwrap_or(u32::MAX));
        ensure(analysis.task == *task && (analysis.mean - mean).abs() < 1e-9, format!("{task} in {id} is wrong"))?;
    }
    let mut ids: Vec<&String> = results.iter().map(|(id, _)| id).collect();
    ids.sort();
    ids.dedup();
    println!("{} sandboxes", ids.len());
    ensure(ids.len() == 3 && compute.sandbox().list().await?.is_empty(), "not one sandbox a task, or one was left")
}
