//! `compute bench`: how long it takes what users wait for, beside the same without a sandbox, in one run.
//!
//! ```text
//! args ──► Plan (what, how often, beside whom)
//!            └► latency, throughput, rate, memory, network    each in rounds: bare, ours, every peer, and again
//!                 │ subject: the provider    bare: this machine without one    peers: bwrap, crun, runc
//!                 └► Samples ──► Row ──► report: a table, or JSON
//! ```
//!
//! What a number means depends on the machine and on what else runs on it, so every number stands beside one of the bare
//! machine, taken in the same round; the ratios are what to compare. The first rounds of each kind are dropped: they fill
//! caches and pools. Nothing is measured that gave the wrong output.
//!
//! The provider is used through the traits of `computesdk::core` alone, with the options that a caller who sets limits
//! would give, so any provider can be measured.

pub(crate) mod args;
mod bare;
mod count;
mod latency;
pub(crate) mod machine;
mod memory;
mod metric;
mod mounts;
mod network;
mod oci;
mod peers;
mod pipe;
mod plan;
mod progress;
mod rate;
mod report;
mod row;
mod samples;
mod scratch;
mod subject;
mod throughput;
pub(crate) mod worker;

pub(crate) use count::count;
pub(crate) use machine::Machine;
pub(crate) use peers::Peers;
pub(crate) use plan::Plan;
pub(crate) use report::Report;
pub(crate) use subject::Subject;

use crate::exit::Failure;
use metric::Metric;
use progress::Progress;

/// What every system is asked to run, and what it must answer.
const ECHO: [&str; 2] = ["/bin/echo", "hi"];
const ANSWER: &[u8] = b"hi\n";

/// Measures everything in the plan, and returns the rows in the order of the metrics.
pub(crate) async fn measure(plan: &Plan, subject: &Subject, peers: &mut Peers) -> Result<Vec<row::Row>, Failure> {
    let mut rows = Vec::new();
    let mut progress = Progress::new();
    if plan.wants_any(&[Metric::ColdCreate, Metric::Exec, Metric::Destroy, Metric::FileWrite1k]) {
        rows.extend(latency::measure(plan, subject, peers, &mut progress).await?);
    }
    if plan.wants(Metric::CreationsPerSecond) {
        rows.extend(rate::measure(plan, subject, peers, &mut progress).await?);
    }
    if plan.wants(Metric::IdleMemory) {
        rows.push(memory::measure(subject, &mut progress).await?);
    }
    if plan.wants_any(&[Metric::Stdout, Metric::FileUp, Metric::FileDown]) {
        rows.extend(throughput::measure(plan, subject, &mut progress).await?);
    }
    if plan.wants_any(&[Metric::EgressCreate, Metric::Fetch, Metric::TunnelFirstByte, Metric::Tunnel]) {
        rows.extend(network::measure(plan, subject, &mut progress).await?);
    }
    Ok(rows)
}
