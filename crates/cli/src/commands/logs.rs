//! `compute logs`: what a sandbox's main process wrote.

use crate::exit::{Exit, Failure};
use crate::printer::{Printer, output_failed, to_json};
use crate::remote::Remote;
use crate::remote::args::LogsArgs;
use crate::stdio;
use computesdk::core::Process;
use computesdk::modal::{LogLine, LogStream};
use computesdk::{BoxRead, Error, ErrorKind, SandboxId};
use serde::Serialize;
use std::time::SystemTime;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

#[derive(Serialize)]
struct Report<'a> {
    lines: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(with = "computesdk::core::time::iso")]
    at: SystemTime,
    stream: &'static str,
    text: &'a str,
}

/// Prints it.
pub(crate) async fn logs(args: &LogsArgs, printer: Printer) -> Result<Exit, Failure> {
    let remote = Remote::open(&args.server)?;
    let sandbox = match remote.find(&args.target).await? {
        Some(sandbox) => sandbox,
        None => ended(&remote, &args.target).await?,
    };
    let has_ended = remote.told(sandbox.get_info().await)?.end.is_some();
    if args.follow && !has_ended {
        let Some(main) = sandbox.as_core().main_process() else { return Ok(Exit::OK) };
        follow(&*main, printer).await?;
        return Ok(Exit::OK);
    }
    let lines = remote.told(remote.modal.logs(&SandboxId::new(sandbox.sandbox_id())).await)?;
    print(&lines, printer).await?;
    Ok(Exit::OK)
}

/// The one that ended last, of those that had this name.
async fn ended(remote: &Remote, name: &str) -> Result<computesdk::Sandbox, Failure> {
    let list = remote.told(remote.modal.list_all(true).await)?;
    let last = list.into_iter().rev().find(|info| info.name.as_deref() == Some(name));
    let target = last.map_or_else(|| name.to_owned(), |info| info.id.to_string());
    remote.sandbox(&target).await
}

const fn name(stream: LogStream) -> &'static str {
    match stream {
        LogStream::Stderr => "stderr",
        LogStream::Server => "server",
        _ => "stdout",
    }
}

async fn print(lines: &[LogLine], printer: Printer) -> Result<(), Failure> {
    if printer.is_json() {
        let line = |line: &'_ LogLine| (line.at, name(line.stream), line.text.clone());
        let owned: Vec<_> = lines.iter().map(line).collect();
        let lines = owned.iter().map(|(at, stream, text)| Line { at: *at, stream, text }).collect();
        return printer.json(&to_json(&Report { lines })?);
    }
    let (mut stdout, mut stderr) = (stdio::stdout(), stdio::stderr());
    for line in lines {
        match line.stream {
            LogStream::Stderr => write(&mut stderr, line.text.as_bytes()).await?,
            LogStream::Server => printer.note(&format!("compute: the server: {}", line.text.trim_end())),
            _ => write(&mut stdout, line.text.as_bytes()).await?,
        }
    }
    Ok(())
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Failure> {
    to.write_all(bytes).await.map_err(output_failed)?;
    to.flush().await.map_err(output_failed)
}

/// From the beginning to the end.
async fn follow(main: &dyn Process, printer: Printer) -> Result<(), Failure> {
    let (stdout, stderr) = (main.take_stdout(), main.take_stderr());
    if printer.is_json() {
        let both = (follow_json(stdout, LogStream::Stdout, printer), follow_json(stderr, LogStream::Stderr, printer));
        return tokio::try_join!(both.0, both.1).map(|_| ());
    }
    let both = (copy(stdout, stdio::stdout()), copy(stderr, stdio::stderr()));
    tokio::try_join!(both.0, both.1).map(|_| ())
}

async fn copy(from: Option<BoxRead>, mut to: impl AsyncWrite + Unpin) -> Result<(), Failure> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer).await.map_err(broken)? {
            0 => return Ok(()),
            count => write(&mut to, &buffer[..count]).await?,
        }
    }
}

/// Each piece as a line of JSON.
async fn follow_json(from: Option<BoxRead>, stream: LogStream, printer: Printer) -> Result<(), Failure> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await.map_err(broken)?;
        if count == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&buffer[..count]);
        printer.json(&to_json(&Line { at: SystemTime::now(), stream: name(stream), text: &text })?)?;
    }
}

fn broken(error: std::io::Error) -> Failure {
    Error::new(ErrorKind::Unavailable, "logs", "the log cannot be read any further").with_source(error).into()
}
