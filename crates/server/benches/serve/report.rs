//! What was measured, as a table and as JSON.

use crate::Result;
use crate::samples::Samples;
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Instant;

/// One number, perhaps with a bound.
#[derive(Debug, Serialize)]
struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    /// What 95 of 100 stay at or below, of what was measured often.
    #[serde(skip_serializing_if = "Option::is_none")]
    p95: Option<f64>,
    n: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<Bound>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<bool>,
}

/// What a number must keep.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// What was not measured.
#[derive(Debug, Serialize)]
struct Skipped {
    what: String,
    why: String,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    cpus: usize,
    /// `proc_loadavg(5)`, before and after.
    load_before: String,
    load_after: String,
    seconds: f64,
    results: Vec<Row>,
    skipped: Vec<Skipped>,
    #[serde(skip)]
    begun: Instant,
}

impl Report {
    pub(crate) fn begin() -> Self {
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            load_before: load(),
            load_after: String::new(),
            seconds: 0.0,
            results: Vec::new(),
            skipped: Vec::new(),
            begun: Instant::now(),
        }
    }

    pub(crate) fn end(&mut self) {
        self.load_after = load();
        self.seconds = self.begun.elapsed().as_secs_f64();
    }

    /// The median of what was measured often.
    pub(crate) fn samples(&mut self, what: impl Into<String>, unit: &'static str, samples: &Samples) {
        let (what, p95) = (what.into(), Some(samples.p95()).filter(|_| samples.len() >= 20));
        let (value, n) = (samples.p50(), samples.len());
        self.results.push(Row { what, value, unit, p95, n, bound: None, kept: None });
    }

    /// One number.
    pub(crate) fn value(&mut self, what: impl Into<String>, unit: &'static str, value: f64) {
        self.results.push(Row { what: what.into(), value, unit, p95: None, n: 1, bound: None, kept: None });
    }

    /// A number that has to keep a bound.
    pub(crate) fn bounded(&mut self, what: impl Into<String>, unit: &'static str, value: f64, bound: Bound) {
        // What is no number keeps nothing.
        let kept = match bound {
            Bound::AtMost(most) => value <= most,
            Bound::AtLeast(least) => value >= least,
        };
        let what = what.into();
        self.results.push(Row { what, value, unit, p95: None, n: 1, bound: Some(bound), kept: Some(kept) });
    }

    /// Something that cannot be measured here.
    pub(crate) fn skip(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.skipped.push(Skipped { what: what.into(), why: why.into() });
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.results.iter().all(|row| row.kept != Some(false))
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{} CPUs, load {} before, {} after; {:.0} s\n\n{:<52}{:>10} {:<6}{:>10}{:>7}{:>11}\n",
            self.cpus, self.load_before, self.load_after, self.seconds, "", "", "", "p95", "n", "bound"
        );
        for row in &self.results {
            let p95 = row.p95.map(number).unwrap_or_default();
            let bound = match row.bound {
                None => String::new(),
                Some(Bound::AtMost(most)) => format!("≤ {most}"),
                Some(Bound::AtLeast(least)) => format!("≥ {least}"),
            };
            let kept = match row.kept {
                None => "",
                Some(true) => "  kept",
                Some(false) => "  MISSED",
            };
            let line = format!(
                "{:<52}{:>10} {:<6}{p95:>10}{:>7}{bound:>11}{kept}",
                row.what,
                number(row.value),
                row.unit,
                row.n
            );
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}", line.trim_end());
        }
        for Skipped { what, why } in &self.skipped {
            let _ = writeln!(text, "left out: {what}: {why}");
        }
        text
    }
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        small if small >= 0.1 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}
