//! Who calls, and the tokens that some calls need besides.

use super::host::{Call, Found, Host};
use super::status::refuse;
use crate::auth::{AuthClaims, RouterCaller, RouterClaims};
use crate::live::sandbox::Live;
use computesdk_modal_proto::client::{
    AuthTokenGetRequest, AuthTokenGetResponse, ClientHelloResponse, CommandRouterAccess,
    SandboxGetCommandRouterAccessRequest, SandboxGetCommandRouterAccessResponse, TaskGetCommandRouterAccessRequest,
    TaskGetCommandRouterAccessResponse, TokenInfoGetRequest, TokenInfoGetResponse, UserIdentity,
    WorkspaceNameLookupResponse, sandbox_get_command_router_access_request::Target, token_info_get_response::Identity,
};
use std::sync::Arc;
use tonic::Status;

pub(super) async fn hello(_host: &Arc<Host>, _call: Call, (): ()) -> Result<ClientHelloResponse, Status> {
    Ok(ClientHelloResponse::default())
}

pub(super) async fn auth_token(
    host: &Arc<Host>,
    call: Call,
    _: AuthTokenGetRequest,
) -> Result<AuthTokenGetResponse, Status> {
    let Call { caller, .. } = call;
    let claims = AuthClaims { workspace: caller.workspace, token_id: caller.token_id };
    Ok(AuthTokenGetResponse { token: host.signer.auth_token(claims) })
}

pub(super) async fn token_info(
    _host: &Arc<Host>,
    call: Call,
    _: TokenInfoGetRequest,
) -> Result<TokenInfoGetResponse, Status> {
    let workspace = call.workspace().to_owned();
    let identity = UserIdentity { user_id: workspace.clone(), username: workspace.clone() };
    Ok(TokenInfoGetResponse {
        token_id: call.caller.token_id,
        workspace_id: format!("ac-{workspace}"),
        workspace_name: workspace,
        token_name: String::new(),
        identity: Some(Identity::UserIdentity(identity)),
    })
}

pub(super) async fn workspace(_host: &Arc<Host>, call: Call, (): ()) -> Result<WorkspaceNameLookupResponse, Status> {
    let name = call.workspace().to_owned();
    Ok(WorkspaceNameLookupResponse { workspace_name: name.clone(), username: name })
}

/// The way to the command router for one sandbox.
pub(super) fn router_access(host: &Host, call: &Call, live: &Live) -> CommandRouterAccess {
    let identity = live.identity();
    let claims = RouterClaims {
        workspace: identity.workspace.clone(),
        sandbox_id: identity.id.clone(),
        task_id: identity.task_id.clone(),
    };
    let jwt = host.signer.router_token(claims);
    CommandRouterAccess { jwt, url: host.router_url(&call.caller) }
}

/// Output of one that has just ended can still be read; one that is not kept any more is told in the way that clients expect.
fn reachable(found: Result<Found, Status>) -> Result<Arc<Live>, Status> {
    match found? {
        Found::Live(live) => Ok(live),
        Found::Past(record) => Err(Status::failed_precondition(format!(
            "sandbox {} has ended, and its output is not kept any more",
            record.id
        ))),
    }
}

pub(super) async fn sandbox_router_access(
    host: &Arc<Host>,
    call: Call,
    request: SandboxGetCommandRouterAccessRequest,
) -> Result<SandboxGetCommandRouterAccessResponse, Status> {
    let live = match &request.target {
        Some(Target::SandboxId(id)) => reachable(host.find(call.workspace(), id).await)?,
        Some(Target::TaskId(id)) => host.by_task(call.workspace(), id).await?,
        None => return Err(Status::invalid_argument("`target` is missing: give a sandbox_id or a task_id")),
    };
    let access = router_access(host, &call, &live);
    Ok(SandboxGetCommandRouterAccessResponse { jwt: access.jwt, url: access.url, worker_ipv4_address: String::new() })
}

pub(super) async fn task_router_access(
    host: &Arc<Host>,
    call: Call,
    request: TaskGetCommandRouterAccessRequest,
) -> Result<TaskGetCommandRouterAccessResponse, Status> {
    let live = host.by_task(call.workspace(), &request.task_id).await?;
    let access = router_access(host, &call, &live);
    Ok(TaskGetCommandRouterAccessResponse { jwt: access.jwt, url: access.url })
}

/// Refuses a task that is not the one that the caller's token is for.
pub(super) fn own_task(caller: &RouterCaller, task_id: &str) -> Result<(), Status> {
    if caller.task_id == task_id { Ok(()) } else { Err(super::status::not_found("task", task_id)) }
}

/// The sandbox that a router token is for.
pub(super) fn routed(host: &Host, caller: &RouterCaller, task_id: &str) -> Result<Arc<Live>, Status> {
    own_task(caller, task_id)?;
    host.table.get(&caller.workspace, &caller.sandbox_id).ok_or_else(|| {
        // Its token is good, so there was one.
        Status::not_found(format!("sandbox {} has ended, and its output is not kept any more", caller.sandbox_id))
    })
}

/// The same, and running.
pub(super) fn routed_running(host: &Host, caller: &RouterCaller, task_id: &str) -> Result<Arc<Live>, Status> {
    let live = routed(host, caller, task_id)?;
    if live.end().is_some() { Err(refuse(live.has_ended())) } else { Ok(live) }
}
