//! Names, tags and lists.

use super::create;
use super::definition;
use super::host::{Call, Found, Host};
use super::status::{not_found, refuse, result, seconds, shown};
use crate::state::{SandboxQuery, SandboxRecord, from_seconds};
use computesdk_modal_proto::client::{
    Probe, ResourceInfo, SandboxGetFromNameRequest, SandboxGetFromNameResponse, SandboxHandleMetadata, SandboxInfo,
    SandboxListRequest, SandboxListResponse, SandboxSetNameRequest, SandboxSetNameResponse, SandboxTag,
    SandboxTagsGetRequest, SandboxTagsGetResponse, SandboxTagsSetRequest, TaskInfo, probe::ExecCommand,
    probe::ProbeOneof, resource_info::ResourceValue,
};
use std::sync::Arc;
use tonic::Status;

/// So many sandboxes are told at a time; clients ask again for those before.
const PAGE: usize = 100;

pub(super) async fn from_name(
    host: &Arc<Host>,
    call: Call,
    request: SandboxGetFromNameRequest,
) -> Result<SandboxGetFromNameResponse, Status> {
    let record = host
        .state
        .find_sandbox(
            call.workspace(),
            &request.environment_name,
            &request.app_name,
            &request.sandbox_name,
            request.include_terminated,
        )
        .await?;
    let record = record.ok_or_else(|| {
        let (name, app) = (shown(&request.sandbox_name), shown(&request.app_name));
        Status::not_found(format!("no running sandbox is named {name} in the app {app}"))
    })?;
    let metadata = SandboxHandleMetadata { result: None, app_id: record.app_id };
    Ok(SandboxGetFromNameResponse { sandbox_id: record.id, metadata: Some(metadata) })
}

pub(super) async fn set_name(
    host: &Arc<Host>,
    call: Call,
    request: SandboxSetNameRequest,
) -> Result<SandboxSetNameResponse, Status> {
    let live = host.running(call.workspace(), &request.sandbox_id).await?;
    definition::check_name(&request.name)?;
    let record = host.state.sandbox(call.workspace(), live.id()).await?;
    match record.and_then(|record| record.name) {
        Some(name) if name == request.name => return Ok(SandboxSetNameResponse {}),
        // As Modal has it: a name is for life.
        Some(name) => {
            return Err(Status::failed_precondition(format!(
                "sandbox {} is already named {}",
                live.id(),
                shown(&name)
            )));
        }
        None => {}
    }
    host.state.set_name(live.id(), Some(&request.name)).await?;
    Ok(SandboxSetNameResponse {})
}

pub(super) async fn tags_get(
    host: &Arc<Host>,
    call: Call,
    request: SandboxTagsGetRequest,
) -> Result<SandboxTagsGetResponse, Status> {
    let record = host.state.sandbox(call.workspace(), &request.sandbox_id).await?;
    let record = record.ok_or_else(|| not_found("sandbox", &request.sandbox_id))?;
    Ok(SandboxTagsGetResponse { tags: as_tags(&record) })
}

pub(super) async fn tags_set(host: &Arc<Host>, call: Call, request: SandboxTagsSetRequest) -> Result<(), Status> {
    let tags = create::tags(request.tags)?;
    match host.find(call.workspace(), &request.sandbox_id).await? {
        Found::Live(live) if live.end().is_none() => {}
        Found::Live(live) => return Err(refuse(live.has_ended())),
        past @ Found::Past(_) => return past.live().map(|_| ()),
    }
    host.state.set_tags(&request.sandbox_id, &tags).await?;
    Ok(())
}

pub(super) async fn list(
    host: &Arc<Host>,
    call: Call,
    request: SandboxListRequest,
) -> Result<SandboxListResponse, Status> {
    let given = |text: String| (!text.is_empty()).then_some(text);
    let query = SandboxQuery {
        workspace: call.workspace().to_owned(),
        environment: given(request.environment_name),
        app_id: given(request.app_id),
        before: Some(request.before_timestamp).filter(|at| *at > 0.0).and_then(from_seconds),
        include_finished: request.include_finished,
        tags: create::tags(request.tags)?,
        limit: PAGE,
    };
    let records = host.state.list_sandboxes(query).await?;
    Ok(SandboxListResponse { sandboxes: records.into_iter().map(info).collect() })
}

fn as_tags(record: &SandboxRecord) -> Vec<SandboxTag> {
    let tag = |(name, value): (&String, &String)| SandboxTag { tag_name: name.clone(), tag_value: value.clone() };
    record.tags.iter().map(tag).collect()
}

fn info(record: SandboxRecord) -> SandboxInfo {
    let created_at = seconds(record.created_at);
    let end = record.end.as_ref().map(result);
    let tags = as_tags(&record);
    let spec = record.spec;
    let value = |value: u32| Some(ResourceValue { value, is_default: value == 0 });
    let probe = spec.probe.map(|probe| Probe {
        interval_ms: Some(probe.interval_ms),
        probe_oneof: Some(match probe.tcp_port {
            Some(port) => ProbeOneof::TcpPort(u32::from(port)),
            None => ProbeOneof::ExecCommand(ExecCommand { argv: probe.argv }),
        }),
    });
    SandboxInfo {
        id: record.id.clone(),
        created_at,
        task_info: Some(TaskInfo {
            id: record.task_id,
            started_at: created_at,
            finished_at: record.ended_at.map_or(0.0, seconds),
            result: end,
            enqueued_at: created_at,
            gpu_type: String::new(),
            sandbox_id: record.id,
        }),
        app_id: record.app_id.clone(),
        tags,
        name: record.name.unwrap_or_default(),
        image_id: spec.image_id,
        resource_info: Some(ResourceInfo {
            memory_mb: value(spec.memory_mb),
            milli_cpu: value(spec.milli_cpu),
            gpu_type: String::new(),
            memory_mb_max: spec.memory_mb_max,
            ephemeral_disk_mb: spec.disk_mb,
            milli_cpu_max: spec.milli_cpu_max,
        }),
        regions: spec.regions,
        timeout_secs: u32::try_from(spec.timeout_secs).unwrap_or(u32::MAX),
        idle_timeout_secs: spec.idle_timeout_secs.and_then(|seconds| u32::try_from(seconds).ok()),
        ready_at: record.ready_at.map(seconds),
        readiness_probe: probe,
        tunnels: Vec::new(),
        metadata: Some(SandboxHandleMetadata { result: None, app_id: record.app_id }),
    }
}
