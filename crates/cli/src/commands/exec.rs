//! `compute exec`: a command in a sandbox that is there.

use crate::attach::{ANY, Ended, attach, feed};
use crate::commands::run::{report, terminal_of};
use crate::duration;
use crate::exit::{Exit, Failure};
use crate::printer::Printer;
use crate::remote::Remote;
use crate::remote::args::ExecArgs;
use crate::signals::Signals;
use crate::stdio;
use crate::terminal::Terminal;
use computesdk::{Error, ExitCause, Sandbox};
use std::time::{Duration, Instant};

/// Runs it.
pub(crate) async fn exec(args: &ExecArgs, printer: Printer) -> Result<Exit, Failure> {
    if args.tty && printer.is_json() {
        let problem = "a command with a terminal cannot be reported as JSON: leave out -t or -o json";
        return Err(Error::invalid("exec", "tty", problem).into());
    }
    let terminal = if args.tty { Some(Terminal::open("-t")?) } else { None };
    let remote = Remote::open(&args.server)?;
    let mut signals = Signals::new()?;
    let sandbox = signals.interrupt(async { remote.sandbox(&args.target).await }).await?;
    let (program, rest) = args.command.split_first().map_or(("", &[][..]), |(program, rest)| (program, rest));
    let mut builder = sandbox.run_command(program, rest).timeout(args.timeout.unwrap_or(Duration::MAX));
    for variable in &args.env {
        builder = builder.env(&variable.name, &variable.value);
    }
    if let Some(cwd) = &args.cwd {
        builder = builder.cwd(cwd);
    }
    if args.tty {
        builder = terminal_of(builder);
    }
    let started = Instant::now();
    let command = signals.interrupt(builder.spawn()).await;
    let mut command = command.map_err(|failure| match failure {
        Failure::Error(error, _) => remote.failure(error),
        other => other,
    })?;
    if args.interactive || args.tty {
        feed(&mut command);
    } else {
        // It reads an end at once.
        drop(command.stdin());
    }
    if printer.is_json() {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let ended = attach(command, (&mut stdout, &mut stderr), &mut signals, None, ANY).await?;
        let time = ended.at.duration_since(started);
        printer.json(&report(&sandbox, &ended, (&stdout, &stderr), time, None).await?)?;
        return Ok(Exit::passed_on(ended.status.code()));
    }
    if let Some(terminal) = &terminal {
        terminal.raw();
    }
    let ended = attach(command, (stdio::stdout(), stdio::stderr()), &mut signals, terminal, ANY).await;
    if let (Err(Failure::Signalled(_)), false) = (&ended, args.tty) {
        printer.note("compute: the command goes on in the sandbox");
    }
    let ended = ended?;
    explain(&ended, args, &sandbox, printer).await;
    Ok(if ended.broken_pipe && ended.status.success() {
        Exit::BROKEN_PIPE
    } else {
        Exit::passed_on(ended.status.code())
    })
}

/// Says what the exit code alone does not tell.
async fn explain(ended: &Ended, args: &ExecArgs, sandbox: &Sandbox, printer: Printer) {
    match ended.status.cause {
        ExitCause::TimedOut => {
            let limit = args.timeout.map(duration::show).unwrap_or_default();
            printer.note(&format!("killed: timed out after {limit}"));
        }
        ExitCause::SandboxEnded => {
            let cause = sandbox.wait().await.map_or_else(|error| error.to_string(), |cause| cause.to_string());
            printer.note(&format!("killed: the sandbox ended: {cause}"));
        }
        _ => {}
    }
}
