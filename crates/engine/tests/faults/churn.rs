//! Create, exec, destroy, again and again: nothing is left, and the last times are as quick as the first.

use crate::leftovers::{Before, descendants};
use crate::support::{Place, eventually, finish, runtime, soak, spec};
use computesdk_engine::{End, Engine, ExecEnd, SandboxSpec};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub(crate) fn one_at_a_time() {
    churn(if soak() { 1000 } else { 200 }, 1);
}

pub(crate) fn sixteen_at_a_time() {
    churn(if soak() { 1000 } else { 320 }, 16);
}

fn churn(cycles: usize, at_a_time: usize) {
    let place = Place::new();
    place.next_start();
    let before = Before::look();
    before.nothing_runs();
    let runtime = runtime();
    runtime.block_on(async {
        let engine = Engine::start(place.options()).await.unwrap();
        // What is made once is made now: caches, a spare, a block of ids.
        let times = cycle(&engine, 2 * at_a_time, at_a_time).await;
        assert_eq!(times.len(), 2 * at_a_time);
        let launcher = launcher();
        let start = (open_files("self"), open_files(&launcher), memory("self"), memory(&launcher));

        let mut times = cycle(&engine, cycles, at_a_time).await;
        let part = 100.min(cycles / 2);
        let mut slower = 0;
        // A machine that is busy for a moment is not an engine that gets slower: that one stays slow.
        for _ in 0..6 {
            let (first, last) = (median(&times[..part]), median(&times[times.len() - part..]));
            let count = times.len();
            println!(
                "{count} cycles, {at_a_time} at a time: median of the first {part} {first:?}, of the last {last:?}"
            );
            slower = if last.as_secs_f64() > first.as_secs_f64() * 1.3 { slower + 1 } else { 0 };
            if slower == 0 {
                break;
            }
            times.extend(cycle(&engine, 2 * part, at_a_time).await);
        }
        assert!(slower == 0, "it gets slower and stays so");

        // Handles that were dropped a moment ago are cleaned up on the engine's thread.
        eventually("no descriptor is left", || {
            let now = (open_files("self"), open_files(&launcher));
            // What the launcher keeps ready, which it may not have had yet: eight network namespaces and its own, an instance of
            // /proc, and the doors of a sandbox's groups.
            if now.0 <= start.0 && now.1 <= start.1 + 14 {
                Ok(())
            } else {
                Err(format!("{start:?} before, {now:?} after"))
            }
        });
        // Alone, the launcher: no sandbox, no zombie. It may hold helpers that were there before.
        eventually("no process is left", || {
            let left = descendants();
            if left.len() == 1 { Ok(()) } else { Err(format!("{left:?}")) }
        });
        let now = (memory("self"), memory(&launcher));
        println!("memory in KiB: {} and {} before, {} and {} after", start.2, start.3, now.0, now.1);
        // A sandbox that leaked costs more than 2 KiB here: sixteen times a thousand is a leak, allocators' noise is not.
        let allowed = 4096 + 2 * cycles as u64;
        assert!(now.0 <= start.2 + allowed && now.1 <= start.3 + allowed, "memory grows");
        engine.shut_down().await;
    });
    drop(runtime);
    before.nothing_is_left(&place);
}

async fn cycle(engine: &Engine, cycles: usize, at_a_time: usize) -> Vec<Duration> {
    let next = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..at_a_time)
        .map(|_| {
            let (engine, next) = (engine.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                let mut times = Vec::new();
                while next.fetch_add(1, Ordering::Relaxed) < cycles {
                    let started = Instant::now();
                    let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
                    let exec = sandbox.exec(spec(&engine, &["echo", "hi"])).await.unwrap();
                    assert_eq!(finish(&exec).await, (String::from("hi\n"), ExecEnd::Exited { code: 0 }));
                    assert_eq!(sandbox.terminate().await.unwrap(), End::Terminated);
                    times.push((started, started.elapsed()));
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for worker in workers {
        times.extend(worker.await.unwrap());
    }
    times.sort_unstable();
    times.into_iter().map(|(_, time)| time).collect()
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

fn launcher() -> String {
    let found = descendants().into_iter().find(|(pid, _)| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"computesdk-launcher"))
    });
    found.unwrap().0.to_string()
}

fn open_files(process: &str) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// Resident memory that is the process's own, in KiB (`proc_pid_status(5)`).
fn memory(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
