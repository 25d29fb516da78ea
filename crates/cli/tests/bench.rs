//! `compute bench`: what it measures is there, in the form that programs rely on, and nothing is left. The numbers
//! themselves are `./ci bench`'s.
//!
//! Needs user namespaces, like every sandbox. Peers are measured where they are installed; which were left out is printed.

mod common;

use common::{compute, json, parts, run, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::Read as _;
use std::path::Path;

const METRICS: [&str; 13] = [
    "cold_create",
    "exec",
    "destroy",
    "file_write_1k",
    "creations_per_second",
    "idle_memory",
    "stdout",
    "file_up",
    "file_down",
    "egress_create",
    "fetch_1m",
    "tunnel_first_byte",
    "tunnel",
];

/// The one row of our own for a metric.
fn ours<'a>(report: &'a Value, metric: &str) -> &'a Value {
    let rows = report["results"].as_array().expect("a list of results");
    let found: Vec<_> = rows.iter().filter(|row| row["metric"] == metric && row["system"] == "computesdk").collect();
    assert_eq!(found.len(), 1, "{metric} in {report}");
    found[0]
}

/// Files and processes of a `compute bench` that was this process.
fn left(pid: u32) -> Vec<String> {
    let mut found = Vec::new();
    for dir in [Path::new("/dev/shm"), Path::new("/run"), &std::env::temp_dir()] {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        found.extend(names.filter(|name| name.starts_with(&format!("compute-bench-{pid}-"))));
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc");
    found.extend(mounts.lines().filter(|line| line.contains(&format!("compute-bench-{pid}-"))).map(str::to_owned));
    // The launcher is a child of its engine's process, and its agents are its children.
    let entries = std::fs::read_dir("/proc").expect("/proc");
    found.extend(entries.flatten().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        (parent == pid).then_some(stat)
    }));
    found
}

/// Runs it to its end. Returns the report.
fn bench(args: &[&str]) -> Value {
    let child = compute(&[&["-o", "json", "bench"], args].concat()).spawn().expect("compute starts");
    let pid = child.id();
    let output = child.wait_with_output().expect("compute ends");
    let (code, _, stderr) = parts(&output);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}");
    assert_eq!(left(pid), Vec::<String>::new());
    json(&output)
}

#[test]
fn everything_is_measured_and_nothing_is_left() {
    let report = bench(&["-n", "2"]);
    let keys: Vec<_> = report.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["machine", "results"]);
    let machine = &report["machine"];
    assert!(machine["cpus"].as_u64().is_some_and(|cpus| cpus > 0), "{machine}");
    assert!(machine["kernel"].as_str().is_some_and(|kernel| !kernel.is_empty()), "{machine}");
    assert!(machine["load_average"].as_array().is_some_and(|load| load.len() == 3), "{machine}");
    assert_eq!(machine["provider"], "local");
    assert!(machine["limits"].is_object() && machine["isolation"].is_string(), "{machine}");

    for row in report["results"].as_array().expect("a list") {
        for key in ["metric", "system", "n", "p50_ms", "p95_ms", "ratio_to_bare"] {
            assert!(row.get(key).is_some(), "{key} in {row}");
        }
        if row["metric"] == "idle_memory" {
            continue;
        }
        let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key} in {row}"));
        assert!(number("p50_ms") > 0.0 && number("p95_ms") >= number("p50_ms"), "{row}");
        assert!(number("n") >= 2.0, "{row}");
        // A sandbox with a network is beside one without, which is beside nothing.
        match row["metric"].as_str() {
            Some("egress_create") => {
                assert!(row["ratio_to"]["closed"].as_f64().is_some_and(|ratio| ratio > 0.0), "{row}");
            }
            Some("closed_create") => {}
            _ => assert!(number("ratio_to_bare") > 0.0, "{row}"),
        }
        if row["system"] == "bare" {
            assert!((number("ratio_to_bare") - 1.0).abs() < f64::EPSILON, "{row}");
        }
    }
    for metric in METRICS {
        ours(&report, metric);
    }
    // What other programs take from the machine meanwhile is in it, so nothing is said about its size.
    let idle = ours(&report, "idle_memory");
    assert!(idle["mib"].is_number() && idle["accounted_mib"].is_number(), "{idle}");
    assert!(idle["n"] == 100 && idle["ratio_to_bare"].is_null(), "{idle}");
    for metric in ["stdout", "file_up", "file_down"] {
        assert!(ours(&report, metric)["mb_per_s"].as_f64().is_some_and(|rate| rate > 0.0));
    }
    assert!(ours(&report, "creations_per_second")["per_second"].as_f64().is_some_and(|rate| rate > 0.0));
    let bare = report["results"].as_array().expect("a list").iter().find(|row| row["metric"] == "bare");
    assert_eq!(bare.expect("the bare machine")["system"], "bare");
}

#[test]
fn peers_are_measured_beside_or_left_out_with_a_reason() {
    let names = ["bwrap", "crun", "runc"];
    let report = bench(&["-n", "2", "--only", "cold_create,creations_per_second", "--vs", &names.join(",")]);
    for name in names {
        let rows = report["results"].as_array().expect("a list");
        let measured: Vec<_> = rows.iter().filter(|row| row["system"] == name).map(|row| &row["metric"]).collect();
        let skipped = report["machine"]["skipped"].as_array().expect("a list");
        if let Some(skipped) = skipped.iter().find(|skipped| skipped["system"] == name) {
            println!("skipped: {name}: {}", skipped["why"]);
            assert!(measured.is_empty() && skipped["why"].as_str().is_some_and(|why| !why.is_empty()), "{report}");
        } else {
            assert_eq!(measured, ["cold_create", "whole_command", "creations_per_second"], "{report}");
            for metric in ["cold_create", "creations_per_second"] {
                assert!(ours(&report, metric)["ratio_to"][name].as_f64().is_some_and(|ratio| ratio > 0.0), "{report}");
            }
        }
    }
}

#[test]
fn what_is_measured_can_be_chosen_and_the_table_says_it() {
    let (code, stdout, stderr) = parts(&run(&["bench", "-n", "1", "--only", "exec"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let rows: Vec<_> = stdout.lines().skip_while(|line| !line.starts_with("metric")).skip(1).collect();
    let names: Vec<_> = rows.iter().filter_map(|row| row.split_whitespace().next()).collect();
    assert_eq!(names, ["bare", "bare_reaped", "exec"], "{stdout}");
    assert!(stdout.contains("\nlimits ") && stdout.contains("\nload "), "{stdout}");
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    // With a peer, so that there is a worker to be ended too.
    let args = ["bench", "-n", "100000", "--only", "cold_create", "--vs", "bwrap"];
    let mut child = compute(&args).spawn().expect("compute starts");
    let pid = child.id();
    // It has a launcher: it is measuring, or just about to.
    wait_for("the launcher", || !left(pid).is_empty() || child.try_wait().expect("ours").is_some());
    let raw = Pid::from_raw(pid.cast_signed()).expect("a pid");
    kill_process(raw, Signal::INT).expect("it runs");
    let code = child.wait().expect("compute ends").code();
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert_eq!((code, said.as_str()), (Some(130), ""));
    assert_eq!(left(pid), Vec::<String>::new());
}
