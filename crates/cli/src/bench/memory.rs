//! What an idle sandbox takes from the machine's memory.
//!
//! The whole machine is looked at, because most of a sandbox is the kernel's: namespaces, mounts, page tables. So whatever
//! else starts or ends meanwhile is in the number, and the middle one of a few is told. Beside what is available, which also moves
//! with every file that somebody writes, stands the sum of the kinds of memory that a sandbox is made of.

use super::machine::{meminfo, meminfo_sum};
use super::metric::Metric;
use super::progress::Progress;
use super::row::{OURS, Row, round};
use super::samples::{Samples, median};
use super::subject::{Subject, broken};
use crate::exit::Failure;
use std::time::{Duration, Instant};

/// The kinds of memory that cannot be taken back without ending something (`proc_meminfo(5)`).
const KINDS: [&str; 6] = ["AnonPages", "Shmem", "SUnreclaim", "KernelStack", "PageTables", "Percpu"];
/// How many live at once.
const LIVE: usize = 100;
/// How often.
const PASSES: usize = 3;
/// A change of less is noise: the kernel's own counters are kept for each processor, and may be off by as much.
const STEADY: u64 = 512 * 1024;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Whatever is cleared away in the background takes no longer.
const SETTLED_WITHIN: Duration = Duration::from_secs(3);

pub(crate) async fn measure(subject: &Subject, progress: &mut Progress) -> Result<Row, Failure> {
    let (mut available, mut accounted) = (Vec::new(), Vec::new());
    let each = |more: u64, less: u64| (more as f64 - less as f64) / LIVE as f64 / f64::from(1 << 20);
    for pass in 0..PASSES {
        let (before, kinds_before) = (settled().await?, meminfo_sum(&KINDS));
        let mut live = Vec::with_capacity(LIVE);
        for number in 0..LIVE {
            progress.show("idle memory", pass * LIVE + number, PASSES * LIVE);
            // Each has run a program, as one that is kept for later has.
            live.push(subject.create_and_echo().await?.sandbox);
        }
        let (after, kinds_after) = (settled().await?, meminfo_sum(&KINDS));
        for sandbox in &live {
            subject.destroy(sandbox).await?;
        }
        available.push(each(before, after));
        accounted.push(each(kinds_after, kinds_before));
    }
    let mut row = Row::new(Metric::IdleMemory.name(), OURS, &Samples::default());
    row.n = LIVE;
    row.mib = median(available).map(|mib| round(mib, 3));
    row.accounted_mib = median(accounted).map(|mib| round(mib, 3));
    Ok(row)
}

/// Available memory in bytes, once it has stopped changing.
async fn settled() -> Result<u64, Failure> {
    let look = || meminfo("MemAvailable").ok_or_else(|| broken("/proc/meminfo does not say what is available"));
    let end = Instant::now() + SETTLED_WITHIN;
    let mut last = look()?;
    let mut steady = 0;
    while steady < 3 && Instant::now() < end {
        tokio::time::sleep(PAUSE).await;
        let now = look()?;
        steady = if now.abs_diff(last) < STEADY { steady + 1 } else { 0 };
        last = now;
    }
    Ok(last)
}
