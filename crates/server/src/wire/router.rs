//! The command router: execs by id, their streams by offset (modal-wire notes, 7.5 and 7.6).

use super::create::{extend_by_secret, extend_by_sources};
use super::definition::terminal;
use super::host::Host;
use super::identity::{routed, routed_running};
use super::reach;
use super::status::{Exit, exit, not_found, refuse};
use super::stdio::{self, Stream, follow, not_taken};
use crate::auth::RouterCaller;
use crate::live::exec::Exec;
use computesdk_core::{ExecOptions, Stdio};
use computesdk_modal_proto::router::{
    SandboxStdinWriteV2Request, SandboxStdinWriteV2Response, SandboxStdioReadV2Request, SandboxStdioReadV2Response,
    SandboxWaitUntilReadyTcrRequest, SandboxWaitUntilReadyTcrResponse, TaskExecPollRequest, TaskExecPollResponse,
    TaskExecStartRequest, TaskExecStartResponse, TaskExecStderrConfig, TaskExecStdinStatusRequest,
    TaskExecStdinStatusResponse, TaskExecStdinWriteRequest, TaskExecStdinWriteResponse,
    TaskExecStdinWriteStreamRequest, TaskExecStdinWriteStreamResponse, TaskExecStdioFileDescriptor,
    TaskExecStdioReadRequest, TaskExecStdioReadResponse, TaskExecStdoutConfig, TaskExecWaitRequest,
    TaskExecWaitResponse, TaskSetNetworkAccessRequest, TaskSetNetworkAccessResponse,
    task_command_router_server::TaskCommandRouter, task_exec_poll_response,
    task_exec_stdin_write_stream_request::Payload, task_exec_wait_response,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};

/// The service, for each connection again.
#[derive(Clone)]
pub(crate) struct Router(pub(crate) Arc<Host>);

fn open<T>(request: Request<T>) -> Result<(RouterCaller, T), Status> {
    Ok((RouterCaller::of(request.extensions())?.clone(), request.into_inner()))
}

impl Router {
    /// An exec that a token may reach.
    fn exec(&self, claims: &RouterCaller, task_id: &str, exec_id: &str) -> Result<Arc<Exec>, Status> {
        routed(&self.0, claims, task_id)?.find_exec(exec_id).ok_or_else(|| not_found("exec", exec_id))
    }

    #[tracing::instrument(skip_all, name = "exec.start")]
    async fn start(&self, claims: &RouterCaller, request: TaskExecStartRequest) -> Result<(), Status> {
        let live = routed(&self.0, claims, &request.task_id)?;
        if !request.container_id.is_empty() {
            return Err(Status::unimplemented("sidecars are not served here: a sandbox is one container"));
        }
        if request.exec_id.is_empty() || request.exec_id.len() > 128 {
            return Err(Status::invalid_argument("invalid `exec_id`: give 1 to 128 bytes, fresh for each process"));
        }
        // A start that is repeated needs nothing of what it says.
        if live.find_exec(&request.exec_id).is_some() {
            return Ok(());
        }
        let live = routed_running(&self.0, claims, &request.task_id)?;
        let (stdout, stderr) = (request.stdout_config(), request.stderr_config());
        let mut options = ExecOptions::new(request.command_args);
        for id in &request.secret_ids {
            extend_by_secret(&self.0, &claims.workspace, id, &mut options.env).await?;
        }
        extend_by_sources(&self.0, &claims.workspace, &request.secret_sources, &mut options.env).await?;
        options.env.extend(request.env);
        options.pty = terminal(request.pty_info.as_ref(), &mut options.env)?;
        options.cwd = request.workdir.filter(|dir| !dir.is_empty());
        check_workdir(options.cwd.as_deref())?;
        // Without one the lifetime of the sandbox is the limit.
        let seconds = request.timeout_secs.filter(|seconds| *seconds > 0);
        options.timeout = Some(seconds.map_or(Duration::MAX, |seconds| Duration::from_secs(u64::from(seconds))));
        options.stdout = match stdout {
            TaskExecStdoutConfig::Devnull => Stdio::Null,
            TaskExecStdoutConfig::Pipe => Stdio::Piped,
        };
        options.stderr = match stderr {
            TaskExecStderrConfig::Devnull => Stdio::Null,
            TaskExecStderrConfig::Pipe => Stdio::Piped,
            TaskExecStderrConfig::Stdout => Stdio::Merged,
        };
        live.exec(&request.exec_id, options).await.map_err(refuse)?;
        Ok(())
    }

    async fn write_stream(
        &self,
        claims: &RouterCaller,
        mut messages: Streaming<TaskExecStdinWriteStreamRequest>,
    ) -> Result<(), Status> {
        let Some(Payload::Start(start)) = messages.message().await?.and_then(|message| message.payload) else {
            return Err(Status::invalid_argument("the first message must be `start`"));
        };
        let exec = self.exec(claims, &start.task_id, &start.exec_id)?;
        let input = exec.stdin();
        let turn = Some(input.turn());
        let mut offset = start.offset;
        // A stream that breaks off without `end` leaves the input open: its client comes again.
        while let Some(message) = messages.message().await? {
            match message.payload {
                Some(Payload::Data(data)) => {
                    input.write_in_turn(offset, &data, false, turn).await.map_err(not_taken)?;
                    offset += data.len() as u64;
                }
                Some(Payload::End(_)) => {
                    return input.write_in_turn(offset, &[], true, turn).await.map_err(not_taken);
                }
                Some(Payload::Start(_)) => return Err(Status::invalid_argument("`start` came a second time")),
                None => {}
            }
        }
        Ok(())
    }
}

/// Clients check this themselves; whoever does not is told the same.
pub(super) fn check_workdir(dir: Option<&str>) -> Result<(), Status> {
    match dir {
        Some(dir) if !dir.starts_with('/') => Err(Status::invalid_argument(format!(
            "invalid `workdir`: {} is no absolute path",
            super::status::shown(dir)
        ))),
        _ => Ok(()),
    }
}

#[tonic::async_trait]
impl TaskCommandRouter for Router {
    type TaskExecStdioReadStream = Stream<TaskExecStdioReadResponse>;
    type SandboxStdioReadV2Stream = Stream<SandboxStdioReadV2Response>;

    async fn task_exec_start(
        &self,
        request: Request<TaskExecStartRequest>,
    ) -> Result<Response<TaskExecStartResponse>, Status> {
        let (claims, request) = open(request)?;
        self.start(&claims, request).await?;
        Ok(Response::new(TaskExecStartResponse {}))
    }

    async fn task_exec_stdio_read(
        &self,
        request: Request<TaskExecStdioReadRequest>,
    ) -> Result<Response<Self::TaskExecStdioReadStream>, Status> {
        let (claims, request) = open(request)?;
        let exec = self.exec(&claims, &request.task_id, &request.exec_id)?;
        let output = match request.file_descriptor() {
            TaskExecStdioFileDescriptor::Stdout => exec.stdout(),
            TaskExecStdioFileDescriptor::Stderr => exec.stderr(),
        };
        // A stream that was not asked for is at its end.
        let Some(output) = output else { return Ok(Response::new(stream::empty().boxed())) };
        let pieces = follow(Arc::clone(output), request.offset);
        Ok(Response::new(pieces.map_ok(|(_, data)| TaskExecStdioReadResponse { data }).boxed()))
    }

    async fn task_exec_stdin_write(
        &self,
        request: Request<TaskExecStdinWriteRequest>,
    ) -> Result<Response<TaskExecStdinWriteResponse>, Status> {
        let (claims, request) = open(request)?;
        let exec = self.exec(&claims, &request.task_id, &request.exec_id)?;
        exec.stdin().write(request.offset, &request.data, request.eof).await.map_err(not_taken)?;
        Ok(Response::new(TaskExecStdinWriteResponse {}))
    }

    async fn task_exec_stdin_write_stream(
        &self,
        request: Request<Streaming<TaskExecStdinWriteStreamRequest>>,
    ) -> Result<Response<TaskExecStdinWriteStreamResponse>, Status> {
        let (claims, messages) = open(request)?;
        self.write_stream(&claims, messages).await?;
        Ok(Response::new(TaskExecStdinWriteStreamResponse {}))
    }

    async fn task_exec_stdin_status(
        &self,
        request: Request<TaskExecStdinStatusRequest>,
    ) -> Result<Response<TaskExecStdinStatusResponse>, Status> {
        let (claims, request) = open(request)?;
        let exec = self.exec(&claims, &request.task_id, &request.exec_id)?;
        let (num_bytes_written, closed) = exec.stdin().status().await;
        Ok(Response::new(TaskExecStdinStatusResponse { num_bytes_written, closed }))
    }

    async fn task_exec_wait(
        &self,
        request: Request<TaskExecWaitRequest>,
    ) -> Result<Response<TaskExecWaitResponse>, Status> {
        use task_exec_wait_response::ExitStatus;
        let (claims, request) = open(request)?;
        let exec = self.exec(&claims, &request.task_id, &request.exec_id)?;
        let exit_status = Some(match exit(exec.wait_for_followers().await) {
            Exit::Code(code) => ExitStatus::Code(code),
            Exit::Signal(signal) => ExitStatus::Signal(signal),
        });
        Ok(Response::new(TaskExecWaitResponse { exit_status }))
    }

    async fn task_exec_poll(
        &self,
        request: Request<TaskExecPollRequest>,
    ) -> Result<Response<TaskExecPollResponse>, Status> {
        use task_exec_poll_response::ExitStatus;
        let (claims, request) = open(request)?;
        let exec = self.exec(&claims, &request.task_id, &request.exec_id)?;
        let exit_status = exec.status().map(|status| match exit(status) {
            Exit::Code(code) => ExitStatus::Code(code),
            Exit::Signal(signal) => ExitStatus::Signal(signal),
        });
        Ok(Response::new(TaskExecPollResponse { exit_status }))
    }

    async fn sandbox_stdio_read_v2(
        &self,
        request: Request<SandboxStdioReadV2Request>,
    ) -> Result<Response<Self::SandboxStdioReadV2Stream>, Status> {
        let (claims, request) = open(request)?;
        Ok(Response::new(stdio::read_v2(&self.0, claims, request).await?))
    }

    async fn sandbox_stdin_write_v2(
        &self,
        request: Request<SandboxStdinWriteV2Request>,
    ) -> Result<Response<SandboxStdinWriteV2Response>, Status> {
        let (claims, request) = open(request)?;
        Ok(Response::new(stdio::write_v2(&self.0, claims, request).await?))
    }

    async fn sandbox_wait_until_ready(
        &self,
        request: Request<SandboxWaitUntilReadyTcrRequest>,
    ) -> Result<Response<SandboxWaitUntilReadyTcrResponse>, Status> {
        let (claims, request) = open(request)?;
        Ok(Response::new(reach::routed_wait_until_ready(&self.0, claims, request).await?))
    }

    async fn task_set_network_access(
        &self,
        request: Request<TaskSetNetworkAccessRequest>,
    ) -> Result<Response<TaskSetNetworkAccessResponse>, Status> {
        let (claims, request) = open(request)?;
        Ok(Response::new(reach::set_network(&self.0, claims, request).await?))
    }
}
