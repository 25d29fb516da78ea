//! What to measure, and how often.

use super::args::BenchArgs;
use super::metric::Metric;
use clap::ValueEnum as _;
use std::time::Duration;

/// What to measure, and how often.
#[derive(Debug)]
pub(crate) struct Plan {
    metrics: Vec<Metric>,
    /// Measured rounds.
    pub(crate) rounds: usize,
    pause: Option<Duration>,
}

impl Plan {
    pub(crate) fn new(args: &BenchArgs) -> Self {
        let metrics = if args.only.is_empty() { Metric::value_variants().to_vec() } else { args.only.clone() };
        Self { metrics, rounds: args.number, pause: args.pause }
    }

    /// Comes before each short operation. Signals are heard at least here: what is measured bare waits for nothing.
    pub(crate) async fn pause(&self) {
        match self.pause {
            Some(pause) => tokio::time::sleep(pause).await,
            None => tokio::task::yield_now().await,
        }
    }

    pub(crate) fn wants(&self, metric: Metric) -> bool {
        self.metrics.contains(&metric)
    }

    pub(crate) fn wants_any(&self, metrics: &[Metric]) -> bool {
        metrics.iter().any(|metric| self.wants(*metric))
    }
}
