//! `compute cp`: files from here to a sandbox, or the other way.

use crate::exit::{Exit, Failure};
use crate::printer::{Printer, to_json};
use crate::remote::Remote;
use crate::remote::args::CpArgs;
use crate::remote::copy::{Copier, Place};
use computesdk::Error;

/// Copies.
pub(crate) async fn cp(args: &CpArgs, printer: Printer) -> Result<Exit, Failure> {
    let (from, to) = (Place::parse(&args.from), Place::parse(&args.to));
    let target = match (&from, &to) {
        (Place::Here(_), Place::There { target, .. }) | (Place::There { target, .. }, Place::Here(_)) => target.clone(),
        (Place::Here(_), Place::Here(_)) => {
            let problem = "neither side is in a sandbox: one of them is NAME:/path, the path beginning with `/`";
            return Err(Error::invalid("cp", "DST", problem).into());
        }
        (Place::There { .. }, Place::There { .. }) => {
            let problem = "both sides are in a sandbox: copy to this machine first";
            return Err(Error::invalid("cp", "DST", problem).into());
        }
    };
    let remote = Remote::open(&args.server)?;
    let sandbox = remote.sandbox(&target).await?;
    let mut copier = Copier::new(sandbox.as_core().files(), printer);
    let walked = match (&from, &to) {
        (Place::Here(from), Place::There { path, .. }) => copier.upload(from, path).await,
        (Place::There { path, .. }, Place::Here(to)) => copier.download(path, to).await,
        _ => Ok(()),
    };
    let copied = copier.finish(walked).await?;
    if printer.is_json() {
        printer.json(&to_json(&copied)?)?;
    }
    Ok(Exit::OK)
}
