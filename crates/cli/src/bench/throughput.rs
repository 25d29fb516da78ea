//! The long ones: output of a program, and large files, beside a pipe and `cp`.

use super::metric::Metric;
use super::plan::Plan;
use super::progress::Progress;
use super::row::{BARE, OURS, Row, ratio};
use super::samples::Samples;
use super::scratch::Scratch;
use super::subject::{Subject, broken};
use super::{bare, pipe};
use crate::exit::Failure;
use std::fs;
use std::io;
use std::time::Instant;

const WARM_UP: usize = 1;
const STDOUT_BYTES: usize = 256 << 20;
const FILE_BYTES: usize = 64 << 20;
/// `STDOUT_BYTES` of zeros, as fast as a program can write them.
const PRODUCER: [&str; 5] = ["dd", "if=/dev/zero", "bs=64k", "count=4096", "status=none"];
/// More than a pipe holds.
const READ_AT_ONCE: usize = 1 << 20;
const SOURCE: &str = "source";
const FILE: &str = "/tmp/large";

#[derive(Default)]
struct Rounds {
    bare_stdout: Samples,
    stdout: Samples,
    copy: Samples,
    up: Samples,
    down: Samples,
}

pub(crate) async fn measure(plan: &Plan, subject: &Subject, progress: &mut Progress) -> Result<Vec<Row>, Failure> {
    let bare_failed = |error: io::Error| broken("the bare machine failed").with_source(error);
    let files = plan.wants_any(&[Metric::FileUp, Metric::FileDown]);
    let scratch = Scratch::in_memory().map_err(bare_failed)?;
    let content = if files { noise(FILE_BYTES) } else { Vec::new() };
    fs::write(scratch.path(SOURCE), &content).map_err(bare_failed)?;
    let mut buffer = vec![0; READ_AT_ONCE];
    let sandbox = subject.create_and_echo().await?.sandbox;
    let mut rounds = Rounds::default();
    for round in 0..WARM_UP + plan.rounds {
        if round == WARM_UP {
            rounds = Rounds::default();
        }
        progress.show("throughput", round.saturating_sub(WARM_UP), plan.rounds);
        if plan.wants(Metric::Stdout) {
            let mut command = pipe::command(&PRODUCER);
            let started = Instant::now();
            let bytes = pipe::drain(&mut command, &mut buffer).map_err(bare_failed)?;
            rounds.bare_stdout.push(started.elapsed());
            tokio::task::yield_now().await;
            let (time, ours) = subject.drain(&sandbox, &PRODUCER, &mut buffer).await?;
            rounds.stdout.push(time);
            if (bytes, ours) != (STDOUT_BYTES, STDOUT_BYTES) {
                return Err(broken(&format!("{bytes} bytes of bare output, {ours} from the sandbox")).into());
            }
        }
        if files {
            rounds.copy.push(bare::copy(&scratch, SOURCE).map_err(bare_failed)?);
            tokio::task::yield_now().await;
            rounds.up.push(subject.write(&sandbox, FILE, &content).await?);
            let (time, read) = subject.read(&sandbox, FILE).await?;
            rounds.down.push(time);
            if read != content {
                return Err(broken("a file came back changed").into());
            }
            sandbox.files().remove(FILE).await?;
        }
    }
    subject.destroy(&sandbox).await?;
    Ok(rounds.rows(plan))
}

impl Rounds {
    fn rows(&self, plan: &Plan) -> Vec<Row> {
        let against = |metric: Metric, samples: &Samples, bytes: usize, bare: &Row| {
            let mut row = Row::new(metric.name(), OURS, samples).of_bytes(bytes);
            row.ratio_to_bare = ratio(row.mb_per_s, bare.mb_per_s);
            row
        };
        let itself = |mut row: Row| {
            row.ratio_to_bare = ratio(row.mb_per_s, row.mb_per_s);
            row
        };
        let mut rows = Vec::new();
        if plan.wants(Metric::Stdout) {
            let bare = Row::new("bare_stdout", BARE, &self.bare_stdout).of_bytes(STDOUT_BYTES);
            rows.push(against(Metric::Stdout, &self.stdout, STDOUT_BYTES, &bare));
            rows.push(itself(bare));
        }
        let copy = Row::new("bare_cp", BARE, &self.copy).of_bytes(FILE_BYTES);
        for (metric, samples) in [(Metric::FileUp, &self.up), (Metric::FileDown, &self.down)] {
            if plan.wants(metric) {
                rows.push(against(metric, samples, FILE_BYTES, &copy));
            }
        }
        if plan.wants_any(&[Metric::FileUp, Metric::FileDown]) {
            rows.push(itself(copy));
        }
        rows
    }
}

/// Bytes without a pattern, the same every time (xorshift64).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
