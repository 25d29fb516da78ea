//! What the main process of a sandbox reads and writes, in both families, and as logs after the fact.

use super::host::{Call, Found, Host};
use super::identity::{routed, routed_running};
use super::status::{patience, seconds};
use crate::auth::RouterCaller;
use crate::live::input::WriteError;
use crate::live::output::{Follower, Output, ReadError};
use crate::live::sandbox::Live;
use bytes::Bytes;
use computesdk_modal_proto::client::{
    AppCountLogsRequest, AppCountLogsResponse, AppFetchLogsRequest, AppFetchLogsResponse, FileDescriptor,
    SandboxGetLogsRequest, SandboxStdinWriteRequest, SandboxStdinWriteResponse, TaskLogs, TaskLogsBatch,
    app_count_logs_response::LogBucket,
};
use computesdk_modal_proto::router::{
    SandboxStdinWriteV2Request, SandboxStdinWriteV2Response, SandboxStdioFileDescriptor, SandboxStdioReadV2Request,
    SandboxStdioReadV2Response,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use prost_types::Timestamp;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

/// What a streaming call answers with.
pub(super) type Stream<T> = Pin<Box<dyn futures_util::Stream<Item = Result<T, Status>> + Send>>;

/// So much of the end of each stream is looked through for logs.
const LOGS: u64 = 4 << 20;
/// So many lines are told at a time, whatever was asked.
const MOST_LINES: usize = 10_000;

pub(super) fn unreadable(error: ReadError) -> Status {
    match error {
        ReadError::Dropped { .. } => Status::out_of_range(error.to_string()),
        ReadError::Io(io) => {
            tracing::error!(error = %io, "output that was set aside cannot be read");
            Status::internal("output that was set aside cannot be read")
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(super) fn not_taken(error: WriteError) -> Status {
    match error {
        WriteError::Closed(_) => Status::failed_precondition(error.to_string()),
        WriteError::Gap { .. } => Status::out_of_range(error.to_string()),
        WriteError::PutOut => Status::aborted(error.to_string()),
    }
}

/// Everything from an offset on, until the end: never an empty piece.
pub(super) fn follow(output: Arc<Output>, offset: u64) -> Stream<(u64, Bytes)> {
    let pieces = stream::try_unfold((Follower::new(output), offset), |(follower, offset)| async move {
        let piece = follower.read(offset).await.map_err(unreadable)?;
        Ok(piece.map(|bytes| {
            let next = offset + bytes.len() as u64;
            ((offset, bytes), (follower, next))
        }))
    });
    pieces.boxed()
}

/// One stream of the main process, if there is one.
fn main_output(live: &Live, is_stderr: bool) -> Option<Arc<Output>> {
    let main = live.main()?;
    if is_stderr { main.stderr().cloned() } else { main.stdout().cloned() }
}

/// V2: bytes by offset. What was dropped is passed over, and the answer says where it goes on.
pub(super) async fn read_v2(
    host: &Arc<Host>,
    claims: RouterCaller,
    request: SandboxStdioReadV2Request,
) -> Result<Stream<SandboxStdioReadV2Response>, Status> {
    let live = routed(host, &claims, &request.task_id)?;
    let is_stderr = request.file_descriptor() == SandboxStdioFileDescriptor::Stderr;
    let Some(output) = main_output(&live, is_stderr) else {
        // No command, no output; its end is the sandbox's.
        let end = async move {
            live.ended().await;
            None
        };
        return Ok(stream::once(end).filter_map(std::future::ready).boxed());
    };
    let offset = request.offset.max(output.start());
    let pieces = follow(output, offset);
    Ok(pieces.map_ok(|(starting_offset, data)| SandboxStdioReadV2Response { data, starting_offset }).boxed())
}

pub(super) async fn write_v2(
    host: &Arc<Host>,
    claims: RouterCaller,
    request: SandboxStdinWriteV2Request,
) -> Result<SandboxStdinWriteV2Response, Status> {
    let live = routed(host, &claims, &request.task_id)?;
    let is_end_alone = request.data.is_empty() && request.eof;
    match live.main() {
        Some(main) => {
            let written = main.stdin().write(request.offset, &request.data, request.eof).await;
            // Clients end their input without looking whether anybody is left to read it.
            if let Err(error) = written.or_else(|error| if is_end_alone { Ok(()) } else { Err(error) }) {
                return Err(not_taken(error));
            }
        }
        None if is_end_alone => {}
        None => {
            routed_running(host, &claims, &request.task_id)?;
            return Err(no_command(&live));
        }
    }
    Ok(SandboxStdinWriteV2Response {})
}

fn no_command(live: &Live) -> Status {
    Status::failed_precondition(format!("sandbox {} has no command that could read its input", live.id()))
}

/// V1: messages by number, from 1 on.
pub(super) async fn write_v1(
    host: &Arc<Host>,
    call: Call,
    request: SandboxStdinWriteRequest,
) -> Result<SandboxStdinWriteResponse, Status> {
    let is_end_alone = request.input.is_empty() && request.eof;
    let live = match host.find(call.workspace(), &request.sandbox_id).await? {
        Found::Live(live) => live,
        Found::Past(_) if is_end_alone => return Ok(SandboxStdinWriteResponse {}),
        past @ Found::Past(_) => past.live()?,
    };
    match live.main() {
        Some(main) => {
            let number = u64::from(request.index);
            let written = main.stdin().write_message(number, &request.input, request.eof).await;
            if let Err(error) = written.or_else(|error| if is_end_alone { Ok(()) } else { Err(error) }) {
                return Err(not_taken(error));
            }
        }
        None if is_end_alone => {}
        None => return Err(no_command(&live)),
    }
    Ok(SandboxStdinWriteResponse {})
}

/// V1: text, with ids to go on from, until the time is up or all is told.
pub(super) async fn logs_v1(
    host: &Arc<Host>,
    call: Call,
    request: SandboxGetLogsRequest,
) -> Result<Stream<TaskLogsBatch>, Status> {
    let descriptor = request.file_descriptor();
    let deadline = Instant::now() + patience(request.timeout);
    let live = match host.find(call.workspace(), &request.sandbox_id).await? {
        Found::Live(live) => live,
        // Its output is not kept any more.
        Found::Past(record) => {
            let end = TaskLogsBatch { task_id: record.task_id, eof: true, ..Default::default() };
            return Ok(stream::iter([Ok(end)]).boxed());
        }
    };
    let task_id = live.identity().task_id.clone();
    let sandbox_id = live.id().to_owned();
    let batch = move |offset: u64, items: Vec<TaskLogs>, eof: bool| TaskLogsBatch {
        task_id: task_id.clone(),
        sandbox_id: sandbox_id.clone(),
        items,
        entry_id: format!("{offset}-0"),
        eof,
        ..Default::default()
    };
    let offset = request.last_entry_id.split('-').next().and_then(|offset| offset.parse().ok()).unwrap_or(0);
    let Some(output) = main_output(&live, descriptor == FileDescriptor::Stderr) else {
        let end =
            async move { timeout_at(deadline, live.ended()).await.ok().map(|_| Ok(batch(offset, Vec::new(), true))) };
        return Ok(stream::once(end).filter_map(std::future::ready).boxed());
    };
    let text = Text { offset: offset.max(output.start()), output, is_over: false };
    let batches = stream::try_unfold(text, move |mut text| {
        let batch = batch.clone();
        async move {
            if text.is_over {
                return Ok(None);
            }
            let from = text.offset;
            match timeout_at(deadline, text.next()).await {
                Err(_) => Ok(None),
                Ok(Err(error)) => Err(error),
                Ok(Ok(None)) => {
                    text.is_over = true;
                    Ok(Some((batch(from, Vec::new(), true), text)))
                }
                Ok(Ok(Some(data))) => {
                    let timestamp = text.output.written_at(from).map_or(0.0, seconds);
                    let item = TaskLogs { data, timestamp, file_descriptor: descriptor.into(), ..Default::default() };
                    Ok(Some((batch(text.offset, vec![item], false), text)))
                }
            }
        }
    });
    Ok(batches.boxed())
}

/// Output as text that is cut between characters only.
struct Text {
    output: Arc<Output>,
    offset: u64,
    is_over: bool,
}

impl Text {
    /// The next piece. `offset` moves only when it is complete, so that whoever is cut off loses nothing.
    async fn next(&mut self) -> Result<Option<String>, Status> {
        let Some(first) = self.output.read(self.offset).await.map_err(unreadable)? else { return Ok(None) };
        let mut bytes = first.to_vec();
        loop {
            let cut = whole_characters(&bytes);
            if cut > 0 {
                self.offset += cut as u64;
                return Ok(Some(String::from_utf8_lossy(&bytes[..cut]).into_owned()));
            }
            // The beginning of a character: the rest may be on its way.
            match self.output.read(self.offset + bytes.len() as u64).await.map_err(unreadable)? {
                Some(more) => bytes.extend_from_slice(&more),
                None => {
                    self.offset += bytes.len() as u64;
                    return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
                }
            }
        }
    }
}

/// How many bytes there are before a character that is not complete.
fn whole_characters(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match std::str::from_utf8(&bytes[at..]) {
            Ok(_) => return bytes.len(),
            Err(error) => match error.error_len() {
                Some(wrong) => at += error.valid_up_to() + wrong,
                None => return at + error.valid_up_to(),
            },
        }
    }
}

/// One line of what a sandbox wrote.
struct Line {
    at: SystemTime,
    task_id: String,
    sandbox_id: String,
    descriptor: FileDescriptor,
    text: String,
}

/// Which lines are asked for.
struct Wanted {
    app_id: String,
    task_id: String,
    sandbox_id: String,
    source: FileDescriptor,
    search: String,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
}

/// The lines that are kept of the sandboxes that are asked about, oldest first.
async fn lines(host: &Host, call: &Call, wanted: &Wanted) -> Result<Vec<Line>, Status> {
    let other = |asked: &str, own: &str| !asked.is_empty() && asked != own;
    let mut found = Vec::new();
    for live in host.table.all(call.workspace()) {
        let identity = live.identity();
        if other(&wanted.app_id, &identity.app_id)
            || other(&wanted.task_id, &identity.task_id)
            || other(&wanted.sandbox_id, &identity.id)
        {
            continue;
        }
        for descriptor in [FileDescriptor::Stdout, FileDescriptor::Stderr] {
            if wanted.source != FileDescriptor::Unspecified && wanted.source != descriptor {
                continue;
            }
            let Some(output) = main_output(&live, descriptor == FileDescriptor::Stderr) else { continue };
            let (mut offset, bytes) = output.tail(LOGS).await.map_err(unreadable)?;
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                let at = output.written_at(offset).unwrap_or(identity.created_at);
                offset += line.len() as u64;
                let text = String::from_utf8_lossy(line).into_owned();
                let is_wanted = wanted.since.is_none_or(|since| at >= since)
                    && wanted.until.is_none_or(|until| at <= until)
                    && text.contains(&wanted.search);
                if is_wanted {
                    let (task_id, sandbox_id) = (identity.task_id.clone(), identity.id.clone());
                    found.push(Line { at, task_id, sandbox_id, descriptor, text });
                }
            }
        }
    }
    // Stable: lines of one stream keep their order.
    found.sort_by_key(|line| line.at);
    Ok(found)
}

fn moment(stamp: Option<Timestamp>) -> Option<SystemTime> {
    SystemTime::try_from(stamp?).ok()
}

pub(super) async fn fetch_logs(
    host: &Arc<Host>,
    call: Call,
    request: AppFetchLogsRequest,
) -> Result<AppFetchLogsResponse, Status> {
    let source = request.source();
    let wanted = Wanted {
        app_id: request.app_id,
        task_id: request.task_id,
        sandbox_id: request.sandbox_id,
        source,
        search: request.search_text,
        since: moment(request.since),
        until: moment(request.until),
    };
    let mut lines = lines(host, &call, &wanted).await?;
    let most = usize::try_from(request.limit).ok().filter(|most| *most > 0).unwrap_or(100).min(MOST_LINES);
    let lines = lines.split_off(lines.len().saturating_sub(most));
    let mut batches: Vec<TaskLogsBatch> = Vec::new();
    for line in lines {
        let item = TaskLogs {
            data: line.text,
            timestamp: seconds(line.at),
            file_descriptor: line.descriptor.into(),
            ..Default::default()
        };
        match batches.last_mut().filter(|batch| batch.task_id == line.task_id) {
            Some(batch) => batch.items.push(item),
            None => batches.push(TaskLogsBatch {
                task_id: line.task_id,
                sandbox_id: line.sandbox_id,
                items: vec![item],
                ..Default::default()
            }),
        }
    }
    Ok(AppFetchLogsResponse { batches })
}

pub(super) async fn count_logs(
    host: &Arc<Host>,
    call: Call,
    request: AppCountLogsRequest,
) -> Result<AppCountLogsResponse, Status> {
    let source = request.source();
    let wanted = Wanted {
        app_id: request.app_id.clone(),
        task_id: request.task_id,
        sandbox_id: request.sandbox_id,
        source,
        search: request.search_text,
        since: moment(request.since),
        until: moment(request.until),
    };
    let width = u64::from(request.bucket_secs.max(1));
    let mut buckets: BTreeMap<u64, LogBucket> = BTreeMap::new();
    for line in lines(host, &call, &wanted).await? {
        let at = line.at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) / width * width;
        let bucket = buckets.entry(at).or_insert_with(|| LogBucket {
            bucket_start_at: Some(Timestamp { seconds: i64::try_from(at).unwrap_or(0), nanos: 0 }),
            ..Default::default()
        });
        match line.descriptor {
            FileDescriptor::Stderr => bucket.stderr_logs += 1,
            _ => bucket.stdout_logs += 1,
        }
    }
    Ok(AppCountLogsResponse { app_id: request.app_id, buckets: buckets.into_values().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(whole_characters("aé".as_bytes()), 3);
        assert_eq!(whole_characters(&"aé".as_bytes()[..2]), 1);
        assert_eq!(whole_characters(&"é".as_bytes()[..1]), 0);
        // What is no text at all does not hold up what follows.
        assert_eq!(whole_characters(b"\xff\xfea"), 3);
        assert_eq!(whole_characters(b"\xffa\xe2\x82"), 2);
        assert_eq!(whole_characters(b""), 0);
    }
}
