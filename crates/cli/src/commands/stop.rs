//! `compute stop` and `compute rm`: the end of sandboxes.

use crate::exit::{Exit, Failure};
use crate::printer::{Printer, to_json};
use crate::remote::Remote;
use crate::remote::args::{RmArgs, ServerArgs, StopArgs};
use serde::Serialize;

#[derive(Serialize)]
struct Report<'a> {
    stopped: &'a [String],
}

/// Ends them.
pub(crate) async fn stop(args: &StopArgs, printer: Printer) -> Result<Exit, Failure> {
    end(&args.targets, &args.server, false, printer).await
}

/// Ends them; those that are not there are fine.
pub(crate) async fn rm(args: &RmArgs, printer: Printer) -> Result<Exit, Failure> {
    end(&args.targets, &args.server, true, printer).await
}

/// All are tried, whatever becomes of the others.
async fn end(
    targets: &[String],
    server: &ServerArgs,
    missing_is_fine: bool,
    printer: Printer,
) -> Result<Exit, Failure> {
    let remote = Remote::open(server)?;
    let (mut stopped, mut failed) = (Vec::new(), Vec::new());
    for target in targets {
        let ended = async {
            match remote.find(target).await? {
                Some(sandbox) => remote.told(sandbox.destroy().await),
                None if missing_is_fine => Ok(()),
                None => remote.sandbox(target).await.map(drop),
            }
        };
        match ended.await {
            Ok(()) => stopped.push(target.clone()),
            Err(failure) => failed.push(failure),
        }
    }
    if !printer.is_json() {
        printer.result(&stopped.iter().map(|target| format!("{target}\n")).collect::<String>())?;
    }
    // The last one is told by whoever called us.
    let last = failed.pop();
    for failure in &failed {
        printer.failure(failure);
    }
    match last {
        Some(failure) => Err(failure),
        None => {
            if printer.is_json() {
                printer.json(&to_json(&Report { stopped: &stopped })?)?;
            }
            Ok(Exit::OK)
        }
    }
}
