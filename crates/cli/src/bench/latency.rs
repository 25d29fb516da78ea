//! The short operations: a sandbox made, used and destroyed in each round, between the same of everybody else.

use super::bare;
use super::metric::Metric;
use super::peers::Peers;
use super::plan::Plan;
use super::progress::Progress;
use super::row::{BARE, OURS, Row, ratio};
use super::samples::Samples;
use super::scratch::Scratch;
use super::subject::{Subject, broken};
use crate::exit::Failure;
use std::collections::BTreeMap;
use std::io;

/// Rounds that fill caches and pools, and are dropped.
const WARM_UP: usize = 5;
/// Where the small file is written in a sandbox.
const FILE: &str = "/tmp/written";

#[derive(Default)]
struct Rounds {
    bare: Samples,
    bare_reaped: Samples,
    bare_write: Samples,
    create: Samples,
    exec: Samples,
    destroy: Samples,
    write: Samples,
    /// First output, and the whole command.
    peers: BTreeMap<&'static str, (Samples, Samples)>,
}

pub(crate) async fn measure(
    plan: &Plan,
    subject: &Subject,
    peers: &mut Peers,
    progress: &mut Progress,
) -> Result<Vec<Row>, Failure> {
    let scratch = Scratch::in_memory().map_err(|error| broken("no directory for files").with_source(error))?;
    let content = [b'x'; 1024];
    let mut rounds = Rounds::default();
    for round in 0..WARM_UP + plan.rounds {
        if round == WARM_UP {
            rounds = Rounds::default();
        }
        progress.show("latencies", round.saturating_sub(WARM_UP), plan.rounds);
        let bare_failed = |error: io::Error| broken("the bare machine failed").with_source(error);
        plan.pause().await;
        rounds.bare.push(bare::echo().map_err(bare_failed)?.first);
        plan.pause().await;
        rounds.bare_reaped.push(bare::echo_reaped().map_err(bare_failed)?);
        rounds.bare_write.push(bare::write(&scratch, &content).map_err(bare_failed)?);

        plan.pause().await;
        let created = subject.create_and_echo().await?;
        rounds.create.push(created.time);
        plan.pause().await;
        rounds.exec.push(subject.exec(&created.sandbox).await?);
        plan.pause().await;
        rounds.write.push(subject.write(&created.sandbox, FILE, &content).await?);
        plan.pause().await;
        rounds.destroy.push(subject.destroy(&created.sandbox).await?);

        if plan.wants(Metric::ColdCreate) {
            for peer in peers.names() {
                plan.pause().await;
                let times = peers.run(peer).await?;
                let (first, whole) = rounds.peers.entry(peer.program()).or_default();
                first.push(times.first);
                whole.push(times.whole);
            }
        }
    }
    Ok(rounds.rows(plan))
}

impl Rounds {
    fn rows(&self, plan: &Plan) -> Vec<Row> {
        let bare = Row::new("bare", BARE, &self.bare);
        let reaped = Row::new("bare_reaped", BARE, &self.bare_reaped);
        let written = Row::new("bare_file_write_1k", BARE, &self.bare_write);
        let mut exec = Row::new(Metric::Exec.name(), OURS, &self.exec).beside(&reaped);
        let mut create = Row::new(Metric::ColdCreate.name(), OURS, &self.create).beside(&bare);
        let mut write = Row::new(Metric::FileWrite1k.name(), OURS, &self.write).beside(&written);
        write.ratio_to.extend(ratio(write.p50_ms, exec.p50_ms).map(|ratio| ("exec", ratio)));

        let mut theirs = Vec::new();
        for (name, (first, whole)) in &self.peers {
            let first = Row::new(Metric::ColdCreate.name(), name, first).beside(&bare);
            create.ratio_to.extend(ratio(create.p50_ms, first.p50_ms).map(|ratio| (*name, ratio)));
            theirs.push(first);
            theirs.push(Row::new("whole_command", name, whole).beside(&reaped));
        }
        exec = exec.beside(&reaped);

        let mut rows = vec![bare.clone().beside(&bare), reaped.clone().beside(&reaped)];
        if plan.wants(Metric::ColdCreate) {
            rows.push(create);
            rows.extend(theirs);
        }
        if plan.wants(Metric::Exec) {
            rows.push(exec);
        }
        if plan.wants(Metric::Destroy) {
            rows.push(Row::new(Metric::Destroy.name(), OURS, &self.destroy).beside(&reaped));
        }
        if plan.wants(Metric::FileWrite1k) {
            rows.push(write);
            rows.push(written.clone().beside(&written));
        }
        rows
    }
}
