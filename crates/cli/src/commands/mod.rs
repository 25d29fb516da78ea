//! The commands, one a file.

mod bench;
mod ca;
mod completions;
#[cfg(feature = "serve")]
mod cp;
#[cfg(feature = "serve")]
mod create;
mod doctor;
#[cfg(feature = "serve")]
mod exec;
#[cfg(feature = "serve")]
mod logs;
#[cfg(feature = "serve")]
mod ps;
mod run;
mod shell;
#[cfg(feature = "serve")]
mod stop;
#[cfg(feature = "serve")]
mod tags;

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
        #[cfg(feature = "serve")]
        Command::Create(args) => block_on(create::create(&args, printer)),
        #[cfg(feature = "serve")]
        Command::Exec(args) => block_on(exec::exec(&args, printer)),
        #[cfg(feature = "serve")]
        Command::Ps(args) => block_on(ps::ps(&args, printer)),
        #[cfg(feature = "serve")]
        Command::Logs(args) => block_on(logs::logs(&args, printer)),
        #[cfg(feature = "serve")]
        Command::Cp(args) => block_on(cp::cp(&args, printer)),
        #[cfg(feature = "serve")]
        Command::Stop(args) => block_on(stop::stop(&args, printer)),
        #[cfg(feature = "serve")]
        Command::Rm(args) => block_on(stop::rm(&args, printer)),
        #[cfg(feature = "serve")]
        Command::Tags(args) => block_on(tags::tags(&args, printer)),
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
