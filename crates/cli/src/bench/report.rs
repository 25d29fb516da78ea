//! The results, for people and for programs.

use super::machine::{Limits, Machine};
use super::row::Row;
use serde::Serialize;
use std::fmt::Write as _;

/// What was measured, and where.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) results: Vec<Row>,
}

impl Report {
    /// A table.
    pub(crate) fn table(&self) -> String {
        let machine = &self.machine;
        let mut text = String::new();
        // Writing to a string does not fail.
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<12}{value}");
        };
        let isolation = machine.isolation.as_deref().unwrap_or("does not say");
        line("provider", &format!("{}, isolation {isolation}", machine.provider));
        line("limits", &limits(&machine.limits));
        let cpu = machine.cpu.as_deref().unwrap_or(machine.architecture);
        line("machine", &format!("kernel {}, {} x {cpu}", machine.kernel, machine.cpus));
        let load = |load: Option<[f64; 3]>| load.map_or_else(|| String::from("unknown"), |[one, ..]| one.to_string());
        let (before, after) = (load(machine.load_average), load(machine.load_average_after));
        line("load", &format!("{before} before, {after} after; {:.0} s", machine.seconds));
        if machine.pause_ms > 0.0 {
            line("pause", &format!("{} ms before each short operation", machine.pause_ms));
        }
        for skipped in &machine.skipped {
            line("left out", &format!("{}: {}", skipped.system, skipped.why));
        }
        let head = ["metric", "system", "n", "p50 ms", "p95 ms", "x bare", "and"];
        let [metric, system, n, p50, p95, ratio, and] = head;
        let _ = writeln!(text, "\n{metric:<22}{system:<12}{n:>6}{p50:>10}{p95:>10}{ratio:>9}  {and}");
        for row in &self.results {
            let number =
                |value: Option<f64>, decimals| value.map_or(String::new(), |value| format!("{value:.decimals$}"));
            let (p50, p95, ratio) = (number(row.p50_ms, 3), number(row.p95_ms, 3), number(row.ratio_to_bare, 2));
            let line = format!(
                "{:<22}{:<12}{:>6}{p50:>10}{p95:>10}{ratio:>9}  {}",
                row.metric,
                row.system,
                row.n,
                others(row)
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if self.results.iter().any(|row| row.cpu_ms.is_some()) {
            text += "\nCPU each is the whole machine's: what is made ahead or cleared away later is in it.\n";
        }
        text
    }
}

fn limits(limits: &Limits) -> String {
    let on: Vec<String> = [
        limits.memory_bytes.map(|bytes| format!("memory {} MiB", bytes >> 20)),
        limits.cpus.map(|cpus| format!("cpu {cpus}")),
        limits.pids.map(|pids| format!("pids {pids}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if on.is_empty() {
        String::from("none on: the provider declares none that it keeps")
    } else {
        format!("on: {}", on.join(", "))
    }
}

/// What does not fit the columns.
fn others(row: &Row) -> String {
    let mut parts = Vec::new();
    parts.extend(row.per_second.map(|rate| format!("{rate:.0} per second")));
    parts.extend(row.cpu_ms.map(|ms| format!("{ms:.1} ms CPU each")));
    parts.extend(row.mb_per_s.map(|rate| format!("{rate:.0} MB/s")));
    parts.extend(row.mib.map(|mib| format!("{mib:.2} MiB less available for each")));
    parts.extend(row.accounted_mib.map(|mib| format!("{mib:.2} MiB accounted for")));
    parts.extend(row.ratio_to.iter().map(|(system, ratio)| format!("{ratio:.2} x {system}")));
    parts.join(", ")
}
