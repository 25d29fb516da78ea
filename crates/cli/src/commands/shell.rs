//! `compute shell`: an interactive shell in a fresh sandbox.

use crate::args::ShellArgs;
use crate::attach::feed;
use crate::commands::run::terminal_of;
use crate::exit::{Exit, Failure};
use crate::printer::Printer;
use crate::session::{self, Session};
use crate::stdio;
use crate::terminal::Terminal;
use std::time::Duration;

/// The best shell that is there.
const SHELL: &str = "command -v bash >/dev/null 2>&1 && exec bash -i; exec sh -i";

/// Opens it.
pub(crate) async fn shell(args: &ShellArgs, printer: Printer) -> Result<Exit, Failure> {
    let terminal = Terminal::open("`compute shell`")?;
    let params = session::params(&args.sandbox)?;
    let mut session = Session::new(&args.sandbox, printer)?;
    let outcome = async {
        let sandbox = session.create(params, &args.sandbox.network, true).await?;
        let mut shell = terminal_of(sandbox.shell(SHELL)).timeout(Duration::MAX);
        if let Some(user) = &args.sandbox.user {
            shell = shell.user(user);
        }
        let mut command = session.signals.interrupt(shell.spawn()).await?;
        terminal.raw();
        feed(&mut command);
        let streams = (stdio::stdout(), stdio::stderr());
        let ended = session.attach(command, streams, Some(terminal)).await?;
        Ok(Exit::passed_on(ended.status.code()))
    }
    .await;
    session.close().await;
    outcome
}
