//! `compute run`: one program in a fresh sandbox.

use crate::args::RunArgs;
use crate::attach::{Ended, feed};
use crate::exit::{Exit, Failure};
use crate::printer::Printer;
use crate::program::Program;
use crate::session::{self, Session};
use crate::stdio;
use crate::terminal::Terminal;
use crate::{duration, size};
use computesdk::{Command, Error, ErrorKind, Event, ExitCause, Sandbox, StartFailure, Usage};
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::time::{Duration, Instant};

/// The limit of processes that `local` keeps unasked.
const DEFAULT_PIDS: u64 = 4096;

/// Runs it.
pub(crate) async fn run(args: &RunArgs, printer: Printer) -> Result<Exit, Failure> {
    if args.tty && printer.is_json() {
        let problem = "a program with a terminal cannot be reported as JSON: leave out -t or -o json";
        return Err(Error::invalid("run", "tty", problem).into());
    }
    let terminal = if args.tty { Some(Terminal::open("-t")?) } else { None };
    let mut params = session::params(&args.sandbox)?;
    let (program, input_used) = Program::load(args)?;
    if let Program::Command { upload: Some(upload), .. } = &program {
        params.options.files.push(upload.clone());
    }
    let mut session = Session::new(&args.sandbox, printer)?;
    let outcome = async {
        let sandbox = session.create(params, &args.sandbox.network, args.tty).await?;
        session.tell_interpreter(&sandbox, program.interpreter()).await?;
        let started = Instant::now();
        let mut command = session.signals.interrupt(spawn(&sandbox, args, &program)).await?;
        if input_used {
            command.close_stdin().await;
        } else {
            feed(&mut command);
        }
        if printer.is_json() {
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            let ended = session.attach(command, (&mut stdout, &mut stderr), None).await?;
            let time = ended.at.duration_since(started);
            let report = report(&sandbox, &ended, (&stdout, &stderr), time, session.network());
            printer.json(&report.await?)?;
            return Ok(Exit::passed_on(ended.status.code()));
        }
        if let Some(terminal) = &terminal {
            terminal.raw();
        }
        let streams = (stdio::stdout(), stdio::stderr());
        let ended = session.attach(command, streams, terminal).await?;
        session.tell(&format!("the program ended with code {}", ended.status.code()));
        explain(&ended, args, &program, &sandbox, printer).await;
        Ok(if ended.broken_pipe && ended.status.success() {
            Exit::BROKEN_PIPE
        } else {
            Exit::passed_on(ended.status.code())
        })
    }
    .await;
    session.close().await;
    outcome
}

/// Starts the program with what the user asked for.
async fn spawn(sandbox: &Sandbox, args: &RunArgs, program: &Program) -> computesdk::Result<Command> {
    // The two builders have the same methods and no common type.
    macro_rules! start {
        ($builder:expr) => {{
            let mut builder = $builder.args(&args.args).timeout(args.timeout.unwrap_or(Duration::MAX));
            if let Some(user) = &args.sandbox.user {
                builder = builder.user(user);
            }
            builder
        }};
    }
    match program {
        Program::Code { code, runtime } => start!(sandbox.run_code(code).runtime(*runtime)).spawn().await,
        Program::Command { argv, .. } => {
            let (name, rest) = argv.split_first().map_or(("", &[][..]), |(name, rest)| (name, rest));
            let mut command = start!(sandbox.run_command(name, rest));
            if args.tty {
                command = terminal_of(command);
            }
            command.spawn().await
        }
    }
}

/// Gives a command a terminal of our size and kind.
pub(crate) fn terminal_of(command: computesdk::RunCommand<'_>) -> computesdk::RunCommand<'_> {
    let command = command.pty(Terminal::size());
    match std::env::var("TERM") {
        Ok(term) if !term.is_empty() => command.env("TERM", term),
        _ => command,
    }
}

/// Says what the exit code alone does not tell, with what was used.
async fn explain(ended: &Ended, args: &RunArgs, program: &Program, sandbox: &Sandbox, printer: Printer) {
    let limits = &args.sandbox.limits;
    // What cannot be asked any more is not told.
    let usage = together(sandbox.usage().await.unwrap_or_default(), &ended.usage);
    let at = |limit: Option<u64>| limit.map(|bytes| format!(" at {}", size::show(bytes))).unwrap_or_default();
    let what = match ended.status.cause {
        ExitCause::TimedOut => {
            let limit = args.timeout.map(duration::show).unwrap_or_default();
            format!("killed: timed out after {limit}")
        }
        ExitCause::OutOfMemory { code } => {
            let how = if code == 137 { "killed" } else { "failed" };
            format!("{how}: out of memory{}", at(limits.memory))
        }
        ExitCause::ProcessLimit { .. } => {
            format!("failed: the limit of {} processes was reached", limits.pids.unwrap_or(DEFAULT_PIDS))
        }
        ExitCause::DiskFull { .. } => format!("failed: the disk is full{}", at(limits.disk)),
        ExitCause::SandboxEnded => {
            let cause = sandbox.wait().await.map_or_else(|error| error.to_string(), |cause| cause.to_string());
            format!("killed: the sandbox ended: {cause}")
        }
        ExitCause::NotStarted { reason: StartFailure::NotFound } => {
            let (what, option) = match program.interpreter() {
                "python3" => ("Python 3", "--python"),
                "node" => ("Node.js", "--node"),
                _ => return,
            };
            printer.note(&format!(
                "\nhint: the sandbox sees this machine's programs and found no {what}: install it, or name one with \
                 {option} PATH; `compute doctor` shows what was looked at"
            ));
            return;
        }
        // Something that it started, and did not mind.
        _ if usage.oom_kills.unwrap_or(0) > 0 => {
            let kills = usage.oom_kills.unwrap_or(0);
            let processes = if kills == 1 { "process was" } else { "processes were" };
            format!("note: {kills} {processes} killed in the sandbox: out of memory{}", at(limits.memory))
        }
        _ => return,
    };
    printer.note(&format!("{what}{}", account(&usage)));
}

/// What the whole sandbox used; where that is not known, what the program did.
fn together(mut usage: Usage, of_program: &Usage) -> Usage {
    usage.peak_memory_bytes = usage.peak_memory_bytes.or(of_program.peak_memory_bytes);
    usage.cpu_time = usage.cpu_time.or(of_program.cpu_time);
    usage
}

/// ` (peak 256 MiB, 0.31 s CPU, 12 bytes of output)`, as far as it is known.
fn account(usage: &Usage) -> String {
    let mut parts = Vec::new();
    parts.extend(usage.peak_memory_bytes.map(|bytes| format!("peak {}", size::show(bytes))));
    parts.extend(usage.cpu_time.map(|time| format!("{:.2} s CPU", time.as_secs_f64())));
    parts.extend(usage.output_bytes.map(|bytes| format!("{} of output", size::show(bytes))));
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// The result as JSON: the keys of the JavaScript SDK, how it was isolated, and how the program ended.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    stdout: Cow<'a, str>,
    stderr: Cow<'a, str>,
    exit_code: i32,
    execution_time: f64,
    sandbox_id: &'a str,
    provider: &'a str,
    isolation: Option<&'a str>,
    /// See [`together`].
    usage: Usage,
    /// What was decided about its network, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Vec<Event>>,
    /// `cause`, with `signal` or `reason` where it has one.
    #[serde(flatten)]
    cause: Map<String, Value>,
}

pub(crate) async fn report(
    sandbox: &Sandbox,
    ended: &Ended,
    (stdout, stderr): (&[u8], &[u8]),
    time: Duration,
    network: Option<Vec<Event>>,
) -> Result<String, Failure> {
    let failed = |error: serde_json::Error| {
        Error::new(ErrorKind::Unexpected, "run", "cannot write the result as JSON").with_source(error)
    };
    let info = sandbox.get_info().await?;
    let mut cause = Map::new();
    if let Value::Object(fields) = serde_json::to_value(ended.status).map_err(failed)? {
        // Its `code` is `exitCode`.
        cause.extend(fields.into_iter().filter(|(key, _)| key != "code"));
    }
    let report = Report {
        stdout: String::from_utf8_lossy(stdout),
        stderr: String::from_utf8_lossy(stderr),
        exit_code: ended.status.code(),
        // Milliseconds, to the microsecond.
        execution_time: (time.as_secs_f64() * 1e6).round() / 1e3,
        sandbox_id: info.id.as_str(),
        provider: &info.provider,
        isolation: info.isolation.as_deref(),
        usage: together(info.usage, &ended.usage),
        network,
        cause,
    };
    Ok(serde_json::to_string(&report).map_err(failed)?)
}
