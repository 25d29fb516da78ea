//! What to measure, and how often.

use super::args::BenchArgs;
use super::metric::Metric;
use clap::ValueEnum as _;

/// What to measure, and how often.
#[derive(Debug)]
pub(crate) struct Plan {
    metrics: Vec<Metric>,
    /// Measured rounds.
    pub(crate) rounds: usize,
}

impl Plan {
    pub(crate) fn new(args: &BenchArgs) -> Self {
        let metrics = if args.only.is_empty() { Metric::value_variants().to_vec() } else { args.only.clone() };
        Self { metrics, rounds: args.number }
    }

    pub(crate) fn wants(&self, metric: Metric) -> bool {
        self.metrics.contains(&metric)
    }

    pub(crate) fn wants_any(&self, metrics: &[Metric]) -> bool {
        metrics.iter().any(|metric| self.wants(*metric))
    }
}
