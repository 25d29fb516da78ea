//! The commands, one a file.

mod bench;
mod ca;
mod completions;
mod doctor;
mod run;
mod shell;

use crate::args::{Cli, Command};
use crate::exit::{Exit, Failure};
use crate::printer::Printer;
use computesdk::{Error, ErrorKind};
use std::future::Future;

/// Does what the command line says.
pub(crate) fn dispatch(cli: Cli) -> Exit {
    let printer = Printer::new(cli.output);
    let outcome = match cli.command {
        Command::Run(args) => block_on(run::run(&args, printer)),
        Command::Shell(args) => block_on(shell::shell(&args, printer)),
        Command::Doctor(args) => block_on(doctor::doctor(&args, printer)),
        Command::Bench(args) if args.worker => Ok(crate::bench::worker::serve()),
        Command::Bench(args) => block_on(bench::bench(&args, printer)),
        #[cfg(feature = "serve")]
        Command::Serve(args) => crate::serve::block_on(*args, printer),
        Command::Ca(args) => ca::ca(&args, printer),
        Command::Completions(args) => completions::completions(&args, printer),
    };
    outcome.unwrap_or_else(|failure| {
        printer.failure(&failure);
        failure.exit()
    })
}

fn block_on(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Unexpected, "runtime", "cannot start the runtime").with_source(error))?;
    let outcome = runtime.block_on(command);
    // Never waits for a read of standard input that nobody needs any more.
    runtime.shutdown_background();
    outcome
}
