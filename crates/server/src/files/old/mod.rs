//! The file calls of older clients: `ContainerFilesystemExec` starts an operation, `ContainerFilesystemExecGetOutput` gives what came
//! of it.
//!
//! ```text
//! exec ──► done at once, on a Handle or a path ──► Output, kept by exec id ──► output, as often as clients ask
//! ```
//!
//! An operation that fails is an output too, with a number of errno: clients make their own exceptions of it, and take any other answer
//! for an outage. One [`OldFiles`] belongs to one sandbox. It keeps a bounded number of open files, watches and outputs and drops the
//! oldest outputs first; dropping it closes everything.

mod handle;
mod mode;
mod output;

use super::operation;
use super::trouble::{Trouble, Why};
use super::watch::Watch;
use crate::ids;
use bytes::Bytes;
use computesdk_core::Files;
use computesdk_modal_proto::client::container_filesystem_exec_request::FileExecRequestOneof as Request;
use computesdk_modal_proto::client::{
    ContainerFileOpenRequest, ContainerFileWatchRequest, ContainerFilesystemExecRequest,
    ContainerFilesystemExecResponse, FilesystemRuntimeOutputBatch,
};
use futures_util::stream::BoxStream;
use handle::Handle;
use mode::Mode;
use output::{Content, Outputs};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic::Status;

/// Most open files of a sandbox. Each is one of the server's too.
const MAX_HANDLES: usize = 64;
/// Longest descriptor that a client may choose.
const MAX_DESCRIPTOR: usize = 128;

/// The open files and the outputs of one sandbox.
#[derive(Debug)]
pub(crate) struct OldFiles {
    files: Arc<dyn Files>,
    /// Where relative paths start.
    directory: Option<String>,
    handles: Mutex<HashMap<String, Arc<Handle>>>,
    outputs: Outputs,
}

impl OldFiles {
    /// Nothing open yet.
    pub(crate) fn new(files: Arc<dyn Files>) -> Self {
        Self { files, directory: None, handles: Mutex::default(), outputs: Outputs::default() }
    }

    /// Takes relative paths for paths in this directory. Without, they are refused.
    pub(crate) fn in_directory(mut self, directory: impl Into<String>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Does what is asked for; what comes of it is the output of the answer's exec id. A descriptor is always given for an open file,
    /// because clients look at the output, where the error stands, only if there is one.
    pub(crate) async fn exec(
        &self,
        request: ContainerFilesystemExecRequest,
    ) -> Result<ContainerFilesystemExecResponse, Status> {
        let Some(request) = request.file_exec_request_oneof else {
            return Err(Status::invalid_argument("ContainerFilesystemExec: no operation is set"));
        };
        let exec_id = ids::fresh("fx");
        let mut file_descriptor = None;
        let done = match request {
            Request::FileOpenRequest(open) => {
                let descriptor = open.file_descriptor.clone().unwrap_or_else(|| ids::fresh("fd"));
                file_descriptor = Some(descriptor.clone());
                self.open(descriptor, &open).await
            }
            other => self.perform(other).await,
        };
        self.outputs.keep(exec_id.clone(), done.unwrap_or_else(Content::Failed));
        Ok(ContainerFilesystemExecResponse { exec_id, file_descriptor })
    }

    /// What came of an operation; `None` if there was none, or its output had to make room.
    pub(crate) fn output(
        &self,
        exec_id: &str,
    ) -> Option<BoxStream<'static, Result<FilesystemRuntimeOutputBatch, Status>>> {
        self.outputs.stream(exec_id)
    }

    async fn perform(&self, request: Request) -> Result<Content, Trouble> {
        let files = self.files.as_ref();
        match request {
            Request::FileOpenRequest(open) => self.open(ids::fresh("fd"), &open).await,
            Request::FileReadRequest(read) => {
                let handle = self.handle(&read.file_descriptor)?;
                let range = handle.read(read.n.map(u64::from)).await?;
                Ok(Content::Range { handle, range })
            }
            Request::FileReadLineRequest(read) => {
                let handle = self.handle(&read.file_descriptor)?;
                let range = handle.read_line().await?;
                Ok(Content::Range { handle, range })
            }
            Request::FileWriteRequest(write) => {
                self.handle(&write.file_descriptor)?.write(&write.data).await?;
                Ok(Content::NOTHING)
            }
            Request::FileFlushRequest(flush) => {
                self.handle(&flush.file_descriptor)?.flush().await?;
                Ok(Content::NOTHING)
            }
            Request::FileSeekRequest(seek) => {
                self.handle(&seek.file_descriptor)?.seek(seek.offset.into(), seek.whence()).await?;
                Ok(Content::NOTHING)
            }
            Request::FileDeleteBytesRequest(cut) => {
                let range = (cut.start_inclusive.map(u64::from), cut.end_exclusive.map(u64::from));
                self.handle(&cut.file_descriptor)?.replace(range, &[], files).await?;
                Ok(Content::NOTHING)
            }
            Request::FileWriteReplaceBytesRequest(put) => {
                let range = (put.start_inclusive.map(u64::from), put.end_exclusive.map(u64::from));
                self.handle(&put.file_descriptor)?.replace(range, &put.data, files).await?;
                Ok(Content::NOTHING)
            }
            Request::FileCloseRequest(close) => {
                let handle = self.handle(&close.file_descriptor)?;
                self.lock().remove(&close.file_descriptor);
                handle.close().await?;
                Ok(Content::NOTHING)
            }
            Request::FileLsRequest(ls) => {
                let entries = operation::list(&self.path(&ls.path), files).await?;
                let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
                Ok(Content::Bytes(Bytes::from(serde_json::json!({ "paths": names }).to_string())))
            }
            Request::FileMkdirRequest(mkdir) => {
                operation::make_directory(&self.path(&mkdir.path), mkdir.make_parents, files).await?;
                Ok(Content::NOTHING)
            }
            Request::FileRmRequest(rm) => {
                operation::remove(&self.path(&rm.path), rm.recursive, files).await?;
                Ok(Content::NOTHING)
            }
            Request::FileWatchRequest(watch) => self.watch(&watch).await,
        }
    }

    async fn open(&self, descriptor: String, open: &ContainerFileOpenRequest) -> Result<Content, Trouble> {
        if descriptor.is_empty() || descriptor.len() > MAX_DESCRIPTOR {
            let problem = format!("A file descriptor has 1 to {MAX_DESCRIPTOR} bytes");
            return Err(Trouble::new(Why::Invalid, problem));
        }
        let mode = Mode::parse(&open.mode)?;
        self.check_room(&descriptor)?;
        let handle = Arc::new(Handle::open(self.path(&open.path), mode, self.files.as_ref()).await?);
        // Others may have opened files meanwhile.
        self.check_room(&descriptor)?;
        self.lock().insert(descriptor, handle);
        Ok(Content::NOTHING)
    }

    fn check_room(&self, descriptor: &str) -> Result<(), Trouble> {
        let handles = self.lock();
        if handles.contains_key(descriptor) {
            return Err(Trouble::new(Why::Exists, format!("File descriptor {descriptor} is in use")));
        }
        if handles.len() >= MAX_HANDLES {
            let problem = format!("This sandbox has {MAX_HANDLES} open files; close some");
            return Err(Trouble::new(Why::TooMany, problem));
        }
        Ok(())
    }

    async fn watch(&self, request: &ContainerFileWatchRequest) -> Result<Content, Trouble> {
        self.outputs.make_room_for_a_watch()?;
        let watch = Watch::start(&self.path(&request.path), request.recursive, self.files.as_ref()).await?;
        Ok(Content::watch(watch, request.timeout_secs.map(Duration::from_secs)))
    }

    fn handle(&self, descriptor: &str) -> Result<Arc<Handle>, Trouble> {
        let unknown =
            || Trouble::new(Why::Invalid, "The file is not open: it was closed, or opened in another sandbox");
        self.lock().get(descriptor).cloned().ok_or_else(unknown)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Handle>>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, path: &str) -> String {
        match &self.directory {
            Some(directory) if !path.starts_with('/') => format!("{}/{path}", directory.trim_end_matches('/')),
            _ => path.to_owned(),
        }
    }
}
