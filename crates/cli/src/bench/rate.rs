//! How many sandboxes can be made, used and destroyed in a second, a few at a time.

use super::metric::Metric;
use super::peers::Peers;
use super::plan::Plan;
use super::progress::Progress;
use super::row::{BARE, OURS, Row, ratio, round};
use super::samples::{Samples, median};
use super::subject::{Subject, broken};
use super::{ANSWER, ECHO, machine, pipe};
use crate::exit::Failure;
use computesdk::Error;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// At a time.
const IN_FLIGHT: usize = 4;
/// Passes of everybody, one after the other, the first of which is dropped.
const PASSES: usize = 3;
/// In one pass for each round asked for: a rate needs a while.
const EACH: usize = 4;

#[derive(Default)]
struct Passes {
    times: Samples,
    per_second: Vec<f64>,
    cpu_ms: f64,
}

impl Passes {
    fn add(&mut self, times: impl ExactSizeIterator<Item = Duration>, wall: Duration, cpu_ms: f64) {
        self.per_second.push(times.len() as f64 / wall.as_secs_f64());
        self.cpu_ms += cpu_ms;
        self.times.extend(times);
    }

    fn row(&self, system: &'static str) -> Row {
        let name = if system == BARE { "bare_per_second" } else { Metric::CreationsPerSecond.name() };
        let mut row = Row::new(name, system, &self.times);
        row.per_second = median(self.per_second.clone()).map(|rate| round(rate, 1));
        row.cpu_ms = Some(round(self.cpu_ms / self.times.len().max(1) as f64, 2));
        row
    }
}

pub(crate) async fn measure(
    plan: &Plan,
    subject: &Subject,
    peers: &mut Peers,
    progress: &mut Progress,
) -> Result<Vec<Row>, Failure> {
    let count = plan.rounds * EACH;
    let mut all: BTreeMap<&'static str, Passes> = BTreeMap::new();
    for pass in 0..=PASSES {
        if pass == 1 {
            all.clear();
        }
        progress.show("creations per second", pass.saturating_sub(1), PASSES);
        let before = cpu();
        let never = AtomicBool::new(false);
        let bare = pipe::many(&ECHO, ANSWER, count, IN_FLIGHT, &never)
            .map_err(|error| broken("the bare machine failed").with_source(error))?;
        all.entry(BARE).or_default().add(bare.times.iter().map(|times| times.first), bare.wall, cpu() - before);
        tokio::task::yield_now().await;

        let before = cpu();
        let started = Instant::now();
        let times = ours(subject, count).await?;
        all.entry(OURS).or_default().add(times.into_iter(), started.elapsed(), cpu() - before);

        for peer in peers.names() {
            let before = cpu();
            let done = peers.many(peer, count, IN_FLIGHT).await?;
            let times = done.times.iter().map(|times| times.first);
            all.entry(peer.program()).or_default().add(times, done.wall, cpu() - before);
        }
    }
    let bare = all.get(BARE).map(|passes| passes.row(BARE)).and_then(|row| row.per_second);
    let mut rows: Vec<Row> = all.iter().map(|(system, passes)| passes.row(system)).collect();
    rows.sort_by_key(|row| row.system != OURS);
    let theirs: Vec<_> = rows.iter().map(|row| (row.system, row.per_second)).collect();
    for row in &mut rows {
        row.ratio_to_bare = ratio(row.per_second, bare);
        if row.system == OURS {
            let others = theirs.iter().filter(|(system, _)| ![OURS, BARE].contains(system));
            row.ratio_to = others.filter_map(|(name, rate)| Some((*name, ratio(row.per_second, *rate)?))).collect();
        }
    }
    Ok(rows)
}

/// CPU time of the machine so far.
fn cpu() -> f64 {
    machine::cpu_ms().unwrap_or(0.0)
}

/// Makes, uses and destroys so many. Returns the times to first output.
async fn ours(subject: &Subject, count: usize) -> Result<Vec<Duration>, Error> {
    let begun = AtomicUsize::new(0);
    let times = Mutex::new(Vec::with_capacity(count));
    let worker = || async {
        while begun.fetch_add(1, Ordering::Relaxed) < count {
            let created = subject.create_and_echo().await?;
            times.lock().unwrap_or_else(PoisonError::into_inner).push(created.time);
            subject.destroy(&created.sandbox).await?;
        }
        Ok::<_, Error>(())
    };
    const { assert!(IN_FLIGHT == 4, "one for each") };
    tokio::try_join!(worker(), worker(), worker(), worker())?;
    Ok(times.into_inner().unwrap_or_else(PoisonError::into_inner))
}
