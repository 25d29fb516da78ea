//! `compute ca`: the local certificate authority of published ports, made on first use.

use crate::args::{CaArgs, CaCommand};
use crate::exit::{Exit, Failure};
use crate::printer::Printer;
use computesdk::{Error, ErrorKind};
use computesdk_local::authority_dir;
use computesdk_tunnel::{Authority, AuthorityError};

/// Tells what was asked.
pub(crate) fn ca(args: &CaArgs, printer: Printer) -> Result<Exit, Failure> {
    let authority = Authority::open(&authority_dir()).map_err(failed)?;
    let path = authority.path().display();
    let hint = authority.install_hint();
    match (&args.command, printer.is_json()) {
        (CaCommand::Path, false) => printer.result(&format!("{path}\n"))?,
        (CaCommand::InstallHint, false) => printer.result(&hint)?,
        (CaCommand::Path, true) => printer.json(&serde_json::json!({ "path": path.to_string() }).to_string())?,
        (CaCommand::InstallHint, true) => {
            printer.json(&serde_json::json!({ "path": path.to_string(), "hint": hint }).to_string())?;
        }
    }
    Ok(Exit::OK)
}

fn failed(error: AuthorityError) -> Error {
    let kind = match &error {
        AuthorityError::Open { .. } | AuthorityError::Owner { .. } => ErrorKind::PermissionDenied,
        AuthorityError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            ErrorKind::PermissionDenied
        }
        AuthorityError::Broken { .. } => ErrorKind::FailedPrecondition,
        AuthorityError::Busy { .. } => ErrorKind::Timeout,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, "ca", format!("no certificate authority: {error}")).with_source(error)
}
