//! What an idle sandbox takes from the machine's memory.

use super::machine::meminfo;
use super::metric::Metric;
use super::progress::Progress;
use super::row::{OURS, Row, round};
use super::samples::Samples;
use super::subject::{Subject, broken};
use crate::exit::Failure;
use std::time::{Duration, Instant};

/// How many live at once.
const LIVE: usize = 100;
/// A change of less is noise: what the kernel's own counters, kept for each processor, may be off by.
const STEADY: u64 = 512 * 1024;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Whatever is cleared away in the background takes no longer.
const SETTLED_WITHIN: Duration = Duration::from_secs(3);

pub(crate) async fn measure(subject: &Subject, progress: &mut Progress) -> Result<Row, Failure> {
    let before = settled().await?;
    let mut live = Vec::with_capacity(LIVE);
    for number in 0..LIVE {
        progress.show("idle memory", number, LIVE);
        // Each has run a program, as one that is kept for later has.
        live.push(subject.create_and_echo().await?.sandbox);
    }
    let after = settled().await?;
    for sandbox in &live {
        subject.destroy(sandbox).await?;
    }
    let mut row = Row::new(Metric::IdleMemory.name(), OURS, &Samples::default());
    row.n = live.len();
    row.mib = Some(round((before as f64 - after as f64) / LIVE as f64 / f64::from(1 << 20), 3));
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
