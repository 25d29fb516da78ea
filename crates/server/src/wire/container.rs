//! Execs and files as clients asked for them before there was a command router (modal-wire notes, 7.8; JavaScript up to 0.3).

use super::create::extend_by_secret;
use super::definition::terminal;
use super::host::{Call, Host};
use super::router::check_workdir;
use super::status::{Exit, exit, not_found, patience, refuse};
use super::stdio::{Stream, not_taken, unreadable};
use crate::ids;
use crate::live::exec::Exec;
use crate::live::sandbox::Live;
use bytes::Bytes;
use computesdk_core::{ExecOptions, Stdio};
use computesdk_modal_proto::client::{
    ContainerExecGetOutputRequest, ContainerExecPutInputRequest, ContainerExecRequest, ContainerExecResponse,
    ContainerExecWaitRequest, ContainerExecWaitResponse, ContainerFilesystemExecGetOutputRequest,
    ContainerFilesystemExecRequest, ContainerFilesystemExecResponse, ExecOutputOption, FileDescriptor,
    FilesystemRuntimeOutputBatch, RuntimeOutputBatch, RuntimeOutputMessage,
};
use futures_util::{StreamExt as _, stream};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Status;

pub(super) async fn exec(
    host: &Arc<Host>,
    call: Call,
    request: ContainerExecRequest,
) -> Result<ContainerExecResponse, Status> {
    let live = host.by_task(call.workspace(), &request.task_id).await?;
    let (stdout, stderr) = (request.stdout_output(), request.stderr_output());
    let mut options = ExecOptions::new(request.command.iter());
    for id in &request.secret_ids {
        extend_by_secret(host, call.workspace(), id, &mut options.env).await?;
    }
    options.pty = terminal(request.pty_info.as_ref(), &mut options.env)?;
    options.cwd = request.workdir.filter(|dir| !dir.is_empty());
    check_workdir(options.cwd.as_deref())?;
    options.timeout = Some(match request.timeout_secs {
        0 => Duration::MAX,
        seconds => Duration::from_secs(u64::from(seconds)),
    });
    let stdio = |option| match option {
        ExecOutputOption::Devnull => Stdio::Null,
        ExecOutputOption::Stdout => Stdio::Merged,
        _ => Stdio::Piped,
    };
    options.stdout = if stdout == ExecOutputOption::Devnull { Stdio::Null } else { Stdio::Piped };
    options.stderr = stdio(stderr);
    // The same call again is the same exec.
    let exec_id = match &call.key {
        None => ids::fresh("ex"),
        Some(key) => ids::of_key("ex", &[call.workspace(), &request.task_id, key]),
    };
    live.exec(&exec_id, options).await.map_err(refuse)?;
    Ok(ContainerExecResponse { exec_id })
}

fn find(host: &Host, call: &Call, exec_id: &str) -> Result<Arc<Exec>, Status> {
    let live = host.table.by_exec(call.workspace(), exec_id);
    live.and_then(|live| live.find_exec(exec_id)).ok_or_else(|| not_found("exec", exec_id))
}

fn code(exec: computesdk_core::ExitStatus) -> i32 {
    match exit(exec) {
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128 + signal,
    }
}

/// The index of a batch is how many bytes were told with it: clients that come back name the last one they had.
pub(super) async fn output(
    host: &Arc<Host>,
    call: Call,
    request: ContainerExecGetOutputRequest,
) -> Result<Stream<RuntimeOutputBatch>, Status> {
    let exec = find(host, &call, &request.exec_id)?;
    let deadline = Instant::now() + patience(request.timeout);
    let descriptor = request.file_descriptor();
    let raw = request.get_raw_bytes;
    let output = match descriptor {
        FileDescriptor::Stderr => exec.stderr().cloned(),
        _ => exec.stdout().cloned(),
    };
    let state = (exec, output, request.last_batch_index, false);
    let batches = stream::try_unfold(state, move |(exec, output, offset, is_over)| async move {
        if is_over {
            return Ok(None);
        }
        let piece = match &output {
            Some(output) => timeout_at(deadline, output.read(offset.max(output.start()))).await,
            None => Ok(Ok(None)),
        };
        let Ok(piece) = piece else { return Ok(None) };
        if let Some(data) = piece.map_err(unreadable)? {
            let next = offset.max(output.as_ref().map_or(0, |output| output.start())) + data.len() as u64;
            let batch = RuntimeOutputBatch {
                items: vec![message(data, descriptor, raw)],
                batch_index: next,
                ..Default::default()
            };
            return Ok(Some((batch, (exec, output, next, false))));
        }
        let Ok(status) = timeout_at(deadline, exec.wait()).await else { return Ok(None) };
        let batch = RuntimeOutputBatch { batch_index: offset, exit_code: Some(code(status)), ..Default::default() };
        Ok(Some((batch, (exec, output, offset, true))))
    });
    Ok(batches.boxed())
}

fn message(data: Bytes, descriptor: FileDescriptor, raw: bool) -> RuntimeOutputMessage {
    let (message, message_bytes) =
        if raw { (String::new(), data) } else { (String::from_utf8_lossy(&data).into_owned(), Bytes::new()) };
    RuntimeOutputMessage { file_descriptor: descriptor.into(), message, message_bytes }
}

pub(super) async fn input(host: &Arc<Host>, call: Call, request: ContainerExecPutInputRequest) -> Result<(), Status> {
    let exec = find(host, &call, &request.exec_id)?;
    let input = request.input.ok_or_else(|| Status::invalid_argument("`input` is missing"))?;
    let is_end_alone = input.message.is_empty() && input.eof;
    match exec.stdin().write_message(input.message_index, &input.message, input.eof).await {
        Err(error) if !is_end_alone => Err(not_taken(error)),
        _ => Ok(()),
    }
}

pub(super) async fn wait(
    host: &Arc<Host>,
    call: Call,
    request: ContainerExecWaitRequest,
) -> Result<ContainerExecWaitResponse, Status> {
    let exec = find(host, &call, &request.exec_id)?;
    let status = match exec.status() {
        Some(status) => Some(status),
        None => timeout(patience(request.timeout), exec.wait()).await.ok(),
    };
    Ok(ContainerExecWaitResponse { exit_code: status.map(code), completed: status.is_some() })
}

async fn with_files(host: &Host, call: &Call, task_id: &str) -> Result<Arc<Live>, Status> {
    let live = host.by_task(call.workspace(), task_id).await?;
    if live.end().is_some() { Err(refuse(live.has_ended())) } else { Ok(live) }
}

pub(super) async fn files(
    host: &Arc<Host>,
    call: Call,
    request: ContainerFilesystemExecRequest,
) -> Result<ContainerFilesystemExecResponse, Status> {
    let live = with_files(host, &call, &request.task_id).await?;
    live.old_files_exec(call.key, request).await
}

pub(super) async fn files_output(
    host: &Arc<Host>,
    call: Call,
    request: ContainerFilesystemExecGetOutputRequest,
) -> Result<Stream<FilesystemRuntimeOutputBatch>, Status> {
    let found = host.table.all(call.workspace()).into_iter();
    let mut outputs = found.filter_map(|live| live.old_files().output(&request.exec_id));
    match outputs.next() {
        Some(output) => Ok(output.boxed()),
        None => Err(not_found("exec", &request.exec_id)),
    }
}
