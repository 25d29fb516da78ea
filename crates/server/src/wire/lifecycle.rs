//! Waiting for the end of a sandbox, bringing it about, and which task runs it.

use super::create::metadata;
use super::host::{Call, Found, Host};
use super::status::{not_found, patience, refuse, result, seconds};
use crate::live::sandbox::Live;
use computesdk_modal_proto::client::{
    ContainerStopRequest, ContainerStopResponse, GenericResult, SandboxGetTaskIdRequest, SandboxGetTaskIdResponse,
    SandboxHandleMetadata, SandboxTerminateRequest, SandboxTerminateResponse, SandboxWaitRequest, SandboxWaitResponse,
    TaskGetInfoRequest, TaskGetInfoResponse, TaskInfo, TaskListRequest, TaskListResponse, TaskStats,
};
use std::sync::Arc;
use tokio::time::timeout;
use tonic::Status;

/// Answers at once, or when it has ended, or when the time is up: then without a result.
pub(super) async fn wait(
    host: &Arc<Host>,
    call: Call,
    request: SandboxWaitRequest,
) -> Result<SandboxWaitResponse, Status> {
    let found = host.find(call.workspace(), &request.sandbox_id).await?;
    let app_id = found.app_id().to_owned();
    let result = match found {
        Found::Past(record) => record.end.as_ref().map(result),
        Found::Live(live) => match live.end() {
            Some(end) => Some(result(&end)),
            None => timeout(patience(request.timeout), live.ended()).await.ok().as_ref().map(result),
        },
    };
    Ok(SandboxWaitResponse { result, metadata: Some(SandboxHandleMetadata { result: None, app_id }) })
}

/// Ends it, and answers when nothing of it runs any more. One that has ended stays as it is.
pub(super) async fn terminate(
    host: &Arc<Host>,
    call: Call,
    request: SandboxTerminateRequest,
) -> Result<SandboxTerminateResponse, Status> {
    let existing_result = match host.find(call.workspace(), &request.sandbox_id).await? {
        Found::Past(record) => record.end.as_ref().map(result),
        Found::Live(live) => end(&live).await?,
    };
    Ok(SandboxTerminateResponse { existing_result })
}

/// What it ended with before, if it had.
async fn end(live: &Arc<Live>) -> Result<Option<GenericResult>, Status> {
    if let Some(end) = live.end() {
        return Ok(Some(result(&end)));
    }
    live.sandbox().terminate().await.map_err(refuse)?;
    live.ended().await;
    Ok(None)
}

pub(super) async fn task_id(
    host: &Arc<Host>,
    call: Call,
    request: SandboxGetTaskIdRequest,
) -> Result<SandboxGetTaskIdResponse, Status> {
    Ok(match host.find(call.workspace(), &request.sandbox_id).await? {
        Found::Past(record) => {
            SandboxGetTaskIdResponse { task_result: record.end.as_ref().map(result), task_id: Some(record.task_id) }
        }
        Found::Live(live) => SandboxGetTaskIdResponse {
            task_id: Some(live.identity().task_id.clone()),
            task_result: live.end().as_ref().map(result),
        },
    })
}

fn info(live: &Live) -> TaskInfo {
    let identity = live.identity();
    let started = seconds(identity.created_at);
    TaskInfo {
        id: identity.task_id.clone(),
        started_at: started,
        enqueued_at: started,
        result: live.end().as_ref().map(result),
        sandbox_id: identity.id.clone(),
        ..Default::default()
    }
}

pub(super) async fn task_info(
    host: &Arc<Host>,
    call: Call,
    request: TaskGetInfoRequest,
) -> Result<TaskGetInfoResponse, Status> {
    let live = host.by_task(call.workspace(), &request.task_id).await?;
    Ok(TaskGetInfoResponse { app_id: metadata(&live).app_id, info: Some(info(&live)) })
}

/// The tasks that run: one for each sandbox.
pub(super) async fn task_list(
    host: &Arc<Host>,
    call: Call,
    request: TaskListRequest,
) -> Result<TaskListResponse, Status> {
    let mut tasks = Vec::new();
    for live in host.table.all(call.workspace()) {
        let identity = live.identity();
        let other = |asked: &str, own: &str| !asked.is_empty() && asked != own;
        if live.end().is_some()
            || other(&request.app_id, &identity.app_id)
            || other(&request.environment_name, &identity.environment)
        {
            continue;
        }
        let app = host.state.app_by_id(call.workspace(), &identity.app_id).await?;
        tasks.push(TaskStats {
            task_id: identity.task_id.clone(),
            app_id: identity.app_id.clone(),
            app_description: app.map_or_else(String::new, |app| app.name),
            started_at: seconds(identity.created_at),
            enqueued_at: seconds(identity.created_at),
        });
    }
    tasks.sort_by(|a, b| b.started_at.total_cmp(&a.started_at));
    Ok(TaskListResponse { tasks })
}

/// `modal container stop`.
pub(super) async fn stop(
    host: &Arc<Host>,
    call: Call,
    request: ContainerStopRequest,
) -> Result<ContainerStopResponse, Status> {
    let live = host.table.by_task(call.workspace(), &request.task_id);
    end(&live.ok_or_else(|| not_found("task", &request.task_id))?).await?;
    Ok(ContainerStopResponse {})
}
