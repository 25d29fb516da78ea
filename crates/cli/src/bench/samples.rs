//! Times of one thing, measured again and again.

use std::time::Duration;

/// The times, in the order they were taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn extend(&mut self, times: impl IntoIterator<Item = Duration>) {
        self.0.extend(times);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The median in milliseconds; nothing of nothing.
    pub(crate) fn p50(&self) -> Option<f64> {
        self.percentile(50)
    }

    /// What 95 of 100 stay at or below, in milliseconds.
    pub(crate) fn p95(&self) -> Option<f64> {
        self.percentile(95)
    }

    /// By the nearest rank.
    fn percentile(&self, percent: usize) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).map(|time| time.as_secs_f64() * 1e3)
    }
}

/// The middle of some numbers.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut samples = Samples::default();
        assert_eq!((samples.p50(), samples.p95()), (None, None));
        samples.extend((1..=100).rev().map(Duration::from_millis));
        assert_eq!((samples.p50(), samples.p95()), (Some(50.0), Some(95.0)));
        let mut one = Samples::default();
        one.push(Duration::from_millis(7));
        assert_eq!((one.p50(), one.p95()), (Some(7.0), Some(7.0)));
    }

    #[test]
    fn the_median_of_few() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(1.0));
    }
}
