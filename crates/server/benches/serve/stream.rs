//! A flood of bytes out of a process and into one, through the router, beside the provider's own pipes.

use crate::Result;
use crate::house::{House, Visited};
use crate::report::{Bound, Report};
use crate::samples::Samples;
use bytes::Bytes;
use computesdk_core::{CreateOptions, ExecOptions, Provider as _, Sandbox, Stdio};
use computesdk_modal_proto::router::task_exec_stdin_write_stream_request::Payload;
use computesdk_modal_proto::router::{
    TaskExecStartRequest, TaskExecStdinWriteStreamEnd, TaskExecStdinWriteStreamRequest, TaskExecStdinWriteStreamStart,
    TaskExecStdioReadRequest, TaskExecStdoutConfig, TaskExecWaitRequest, task_exec_wait_response::ExitStatus,
};
use futures_util::{StreamExt as _, stream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Bytes each time.
const FLOOD: u64 = 1 << 30;
/// The pieces in which they are read and written.
const PIECE: usize = 256 << 10;
/// A gigabyte is an average in itself.
const MOST_ROUNDS: usize = 7;
const IDLE: [&str; 2] = ["sleep", "infinity"];

pub(crate) async fn measure(rounds: usize, report: &mut Report) -> Result<()> {
    let house = House::open().await?;
    let mut guest = house.guest().await?;
    let ours = guest.create(&IDLE).await?;
    let mut options = CreateOptions::default();
    options.command = Some(IDLE.map(String::from).into());
    options.timeout = Some(Duration::MAX);
    let direct = house.provider.directly().create(options).await?;
    let mut seen: [Samples; 6] = Default::default();
    for round in 0..=rounds.min(MOST_ROUNDS) {
        let rates = [
            rate(read_directly(&direct)).await?,
            rate(read_by_router(&ours, &format!("read-{round}"))).await?,
            rate(write_directly(&direct)).await?,
            rate(write_by_router(&ours, &format!("write-{round}"))).await?,
        ];
        if round > 0 {
            for (samples, rate) in seen.iter_mut().zip(rates) {
                samples.push(rate);
            }
            seen[4].push(rates[1] / rates[0]);
            seen[5].push(rates[3] / rates[2]);
        }
    }
    direct.terminate().await?;
    guest.terminate(&ours).await?;
    house.close().await?;
    let [out_direct, out, into_direct, into, out_ratio, into_ratio] = seen;
    report.samples("stdout, 1 GiB, the provider alone", "MB/s", &out_direct);
    report.samples("stdout, 1 GiB, through the router", "MB/s", &out);
    report.bounded("  the router, beside the provider alone", "x", out_ratio.p50(), Bound::AtLeast(0.3));
    report.samples("stdin, 1 GiB, the provider alone", "MB/s", &into_direct);
    report.samples("stdin, 1 GiB, through the router", "MB/s", &into);
    report.value("  the router, beside the provider alone", "x", into_ratio.p50());
    Ok(())
}

/// MB/s of what moves [`FLOOD`] bytes.
async fn rate(flood: impl Future<Output = Result<()>>) -> Result<f64> {
    let begun = Instant::now();
    flood.await?;
    Ok(FLOOD as f64 / 1e6 / begun.elapsed().as_secs_f64())
}

fn writer() -> [String; 4] {
    [String::from("head"), String::from("-c"), FLOOD.to_string(), String::from("/dev/zero")]
}

/// Reads so much and ends.
fn reader() -> [String; 3] {
    [String::from("head"), String::from("-c"), FLOOD.to_string()]
}

fn all(count: u64) -> Result<()> {
    if count == FLOOD { Ok(()) } else { Err(format!("{count} bytes came of {FLOOD}").into()) }
}

async fn read_directly(sandbox: &Arc<dyn Sandbox>) -> Result<()> {
    let process = sandbox.exec(ExecOptions::new(writer())).await?;
    let mut stdout = process.take_stdout().ok_or("no standard output")?;
    let mut piece = vec![0; PIECE];
    let mut count = 0;
    loop {
        match stdout.read(&mut piece).await? {
            0 => break,
            more => count += more as u64,
        }
    }
    process.wait().await?;
    all(count)
}

async fn write_directly(sandbox: &Arc<dyn Sandbox>) -> Result<()> {
    let mut options = ExecOptions::new(reader());
    options.stdout = Stdio::Null;
    let process = sandbox.exec(options).await?;
    let mut stdin = process.take_stdin().ok_or("no standard input")?;
    let piece = vec![0; PIECE];
    for _ in 0..FLOOD / PIECE as u64 {
        stdin.write_all(&piece).await?;
    }
    stdin.shutdown().await?;
    let status = process.wait().await?;
    if status.code() == 0 { Ok(()) } else { Err(format!("the reader ended with {status:?}").into()) }
}

async fn start(sandbox: &Visited, id: &str, argv: Vec<String>, stdout: TaskExecStdoutConfig) -> Result<()> {
    let mut router = sandbox.router.clone();
    let request = TaskExecStartRequest {
        task_id: sandbox.task_id.clone(),
        exec_id: id.to_owned(),
        command_args: argv,
        stdout_config: stdout.into(),
        ..Default::default()
    };
    router.task_exec_start(sandbox.request(request)).await?;
    Ok(())
}

async fn wait(sandbox: &Visited, id: &str) -> Result<()> {
    let request = TaskExecWaitRequest { task_id: sandbox.task_id.clone(), exec_id: id.to_owned() };
    let ended = sandbox.router.clone().task_exec_wait(sandbox.request(request)).await?.into_inner();
    match ended.exit_status {
        Some(ExitStatus::Code(0)) => Ok(()),
        other => Err(format!("it ended with {other:?}").into()),
    }
}

async fn read_by_router(sandbox: &Visited, id: &str) -> Result<()> {
    start(sandbox, id, writer().into(), TaskExecStdoutConfig::Pipe).await?;
    let request =
        TaskExecStdioReadRequest { task_id: sandbox.task_id.clone(), exec_id: id.to_owned(), ..Default::default() };
    let mut pieces = sandbox.router.clone().task_exec_stdio_read(sandbox.request(request)).await?.into_inner();
    let mut count = 0;
    while let Some(piece) = pieces.message().await? {
        count += piece.data.len() as u64;
    }
    wait(sandbox, id).await?;
    all(count)
}

async fn write_by_router(sandbox: &Visited, id: &str) -> Result<()> {
    start(sandbox, id, reader().into(), TaskExecStdoutConfig::Devnull).await?;
    let message = |payload| TaskExecStdinWriteStreamRequest { payload: Some(payload) };
    let begin = TaskExecStdinWriteStreamStart { task_id: sandbox.task_id.clone(), exec_id: id.to_owned(), offset: 0 };
    let piece = Bytes::from(vec![0; PIECE]);
    let pieces = stream::iter((0..FLOOD / PIECE as u64).map(move |_| message(Payload::Data(piece.clone()))));
    let end = stream::iter([message(Payload::End(TaskExecStdinWriteStreamEnd {}))]);
    let messages = stream::iter([message(Payload::Start(begin))]).chain(pieces).chain(end);
    sandbox.router.clone().task_exec_stdin_write_stream(sandbox.request(messages)).await?;
    wait(sandbox, id).await
}
