//! `compute completions`: a completion script for a shell.

use crate::args::{Cli, CompletionsArgs};
use crate::exit::{Exit, Failure};
use crate::printer::Printer;
use clap::CommandFactory as _;

/// Prints it.
pub(crate) fn completions(args: &CompletionsArgs, printer: Printer) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "compute", &mut script);
    printer.result(&String::from_utf8_lossy(&script))?;
    Ok(Exit::OK)
}
