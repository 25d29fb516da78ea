//! One result: a metric of a system.

use super::samples::Samples;
use serde::Serialize;
use std::collections::BTreeMap;

/// Name of the system under test in the results, whatever the provider.
pub(crate) const OURS: &str = "computesdk";
/// Name of the machine without a sandbox.
pub(crate) const BARE: &str = "bare";

/// One result. Every row has the first six keys, `null` where they mean nothing; the others stand where they do.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) metric: String,
    pub(crate) system: &'static str,
    /// How many were measured.
    pub(crate) n: usize,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    /// Median divided by that of the bare machine; of rates and MB/s, where more is better, likewise.
    pub(crate) ratio_to_bare: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_second: Option<f64>,
    /// CPU time of the whole machine for each, in milliseconds: what is prepared ahead or cleared away later is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_ms: Option<f64>,
    /// Megabytes (of 10^6 bytes) in a second, at the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mb_per_s: Option<f64>,
    /// Mebibytes for each: what is less available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mib: Option<f64>,
    /// Mebibytes for each: the sum of the kinds of memory that a sandbox is made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) accounted_mib: Option<f64>,
    /// Divided by the same of another system.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) ratio_to: BTreeMap<&'static str, f64>,
}

impl Row {
    pub(crate) fn new(metric: impl Into<String>, system: &'static str, samples: &Samples) -> Self {
        Self {
            metric: metric.into(),
            system,
            n: samples.len(),
            p50_ms: samples.p50().map(|ms| round(ms, 4)),
            p95_ms: samples.p95().map(|ms| round(ms, 4)),
            ratio_to_bare: None,
            per_second: None,
            cpu_ms: None,
            mb_per_s: None,
            mib: None,
            accounted_mib: None,
            ratio_to: BTreeMap::new(),
        }
    }

    /// With its median compared to that of a bare row.
    pub(crate) fn beside(mut self, bare: &Self) -> Self {
        self.ratio_to_bare = ratio(self.p50_ms, bare.p50_ms);
        self
    }

    /// With its rate, for so many bytes each.
    pub(crate) fn of_bytes(mut self, bytes: usize) -> Self {
        // Bytes and milliseconds to 10^6 bytes and seconds.
        self.mb_per_s = self.p50_ms.filter(|ms| *ms > 0.0).map(|ms| round(bytes as f64 / ms / 1e3, 1));
        self
    }
}

/// How much the one is of the other.
pub(crate) fn ratio(value: Option<f64>, of: Option<f64>) -> Option<f64> {
    let of = of.filter(|of| *of > 0.0)?;
    Some(round(value? / of, 3))
}

/// To so many decimals: more would be noise.
pub(crate) fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}
