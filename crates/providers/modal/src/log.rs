//! What a sandbox's main process has written, as the server keeps it: also after its end.

use crate::wire::{Control, Deadline};
use computesdk_modal_proto::client::{AppFetchLogsRequest, FileDescriptor};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tonic::Status;

/// Most pieces that are asked for at a time.
const LIMIT: u32 = 10_000;

/// Which stream a piece of a log was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The server's own remarks.
    Server,
}

/// A piece of a log: often a line, with its end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogLine {
    /// When it was written, by the server's clock.
    pub at: SystemTime,
    /// Where.
    pub stream: LogStream,
    /// The text. Bytes that were no UTF-8 are U+FFFD.
    pub text: String,
}

/// What there is of one sandbox, earliest first.
pub(crate) async fn fetch(control: &Control, app_id: String, sandbox_id: String) -> Result<Vec<LogLine>, Status> {
    let request = AppFetchLogsRequest { app_id, sandbox_id, limit: LIMIT, ..AppFetchLogsRequest::default() };
    let call = control
        .call(Deadline::SHORT, request, |mut client, request| async move { client.app_fetch_logs(request).await });
    let items = call.await?.batches.into_iter().flat_map(|batch| batch.items);
    Ok(items
        .filter(|item| !item.data.is_empty())
        .map(|item| LogLine {
            at: UNIX_EPOCH + Duration::try_from_secs_f64(item.timestamp).unwrap_or_default(),
            stream: match item.file_descriptor() {
                FileDescriptor::Stderr => LogStream::Stderr,
                FileDescriptor::Info => LogStream::Server,
                _ => LogStream::Stdout,
            },
            text: item.data,
        })
        .collect())
}
