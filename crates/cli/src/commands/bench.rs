//! `compute bench`: how long it takes what users wait for, beside the same without a sandbox.

use crate::bench::args::BenchArgs;
use crate::bench::{self, Machine, Peers, Plan, Report, Subject, machine};
use crate::exit::{Exit, Failure};
use crate::printer::Printer;
use crate::signals::Signals;
use computesdk::{Error, ErrorKind};
use std::time::Instant;

/// Measures and tells. However it ends, what it made is ended.
pub(crate) async fn bench(args: &BenchArgs, printer: Printer) -> Result<Exit, Failure> {
    let mut signals = Signals::new()?;
    let subject = Subject::new(args.provider, &args.interpreters);
    let outcome = signals.interrupt(measure(args, &subject)).await;
    // A further signal stops the waiting: the sandboxes of this machine end with this process in any case.
    tokio::select! {
        () = subject.close() => {}
        _ = signals.next() => {}
    }
    let Some(report) = outcome? else { return Ok(Exit::OK) };
    if printer.is_json() {
        let value = serde_json::to_string(&report).map_err(|error| {
            Error::new(ErrorKind::Unexpected, "bench", "cannot write the results as JSON").with_source(error)
        })?;
        printer.json(&value)?;
    } else {
        printer.result(&report.table())?;
    }
    Ok(Exit::OK)
}

async fn measure(args: &BenchArgs, subject: &Subject) -> Result<Option<Report>, Failure> {
    let started = Instant::now();
    if let Some(metric) = args.count {
        bench::count(subject, metric, args.number).await?;
        return Ok(None);
    }
    let mut machine = Machine::look(subject.name(), subject.limits());
    machine.pause_ms = args.pause.map_or(0.0, |pause| pause.as_secs_f64() * 1e3);
    machine.isolation = subject.warm_up().await?;
    let mut peers = Peers::find(&args.vs, &machine.limits).await?;
    machine.skipped.clone_from(&peers.skipped);
    let results = bench::measure(&Plan::new(args), subject, &mut peers).await?;
    machine.load_average_after = machine::load_average();
    machine.seconds = started.elapsed().as_secs_f64();
    Ok(Some(Report { machine, results }))
}
