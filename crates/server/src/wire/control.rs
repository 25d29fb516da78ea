//! The control plane: which call is answered by which function.

use super::host::{Call, Host};
use super::stdio::Stream;
use super::{apps, container, create, identity, images, lifecycle, listing, reach, secrets, stdio, usage};
use computesdk_modal_proto::client::{self as wire, modal_client_server::ModalClient};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service, for each connection again.
#[derive(Clone)]
pub(crate) struct Control(pub(crate) Arc<Host>);

/// `method(Request) -> Response: function`; the streams name their type first.
macro_rules! calls {
    (
        answers: { $($method:ident($request:ty) -> $response:ty: $function:path;)* }
        streams: { $($stream:ident = $streamed:ident($streamed_request:ty) -> $piece:ty: $streaming:path;)* }
    ) => {
        #[tonic::async_trait]
        impl ModalClient for Control {
            $(
                async fn $method(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                    let (call, request) = Call::open(request)?;
                    $function(&self.0, call, request).await.map(Response::new)
                }
            )*
            $(
                type $stream = Stream<$piece>;

                async fn $streamed(
                    &self,
                    request: Request<$streamed_request>,
                ) -> Result<Response<Self::$stream>, Status> {
                    let (call, request) = Call::open(request)?;
                    $streaming(&self.0, call, request).await.map(Response::new)
                }
            )*
        }
    };
}

calls! {
    answers: {
    client_hello(()) -> wire::ClientHelloResponse: identity::hello;
    auth_token_get(wire::AuthTokenGetRequest) -> wire::AuthTokenGetResponse: identity::auth_token;
    token_info_get(wire::TokenInfoGetRequest) -> wire::TokenInfoGetResponse: identity::token_info;
    workspace_name_lookup(()) -> wire::WorkspaceNameLookupResponse: identity::workspace;

    app_get_or_create(wire::AppGetOrCreateRequest) -> wire::AppGetOrCreateResponse: apps::app;
    app_list(wire::AppListRequest) -> wire::AppListResponse: apps::app_list;
    app_fetch_logs(wire::AppFetchLogsRequest) -> wire::AppFetchLogsResponse: stdio::fetch_logs;
    app_count_logs(wire::AppCountLogsRequest) -> wire::AppCountLogsResponse: stdio::count_logs;
    environment_get_or_create(wire::EnvironmentGetOrCreateRequest) -> wire::EnvironmentGetOrCreateResponse: apps::environment;
    environment_list(()) -> wire::EnvironmentListResponse: apps::environments;
    environment_create(wire::EnvironmentCreateRequest) -> (): apps::environment_create;
    environment_delete(wire::EnvironmentDeleteRequest) -> (): apps::environment_delete;

    image_get_or_create(wire::ImageGetOrCreateRequest) -> wire::ImageGetOrCreateResponse: images::get_or_create;
    image_from_id(wire::ImageFromIdRequest) -> wire::ImageFromIdResponse: images::from_id;
    image_delete(wire::ImageDeleteRequest) -> (): images::delete;

    secret_get_or_create(wire::SecretGetOrCreateRequest) -> wire::SecretGetOrCreateResponse: secrets::get_or_create;
    secret_delete(wire::SecretDeleteRequest) -> (): secrets::delete;
    secret_list(wire::SecretListRequest) -> wire::SecretListResponse: secrets::list;
    secret_get_info(wire::SecretGetInfoRequest) -> wire::SecretGetInfoResponse: secrets::info;
    secret_update(wire::SecretUpdateRequest) -> (): secrets::update;

    sandbox_create(wire::SandboxCreateRequest) -> wire::SandboxCreateResponse: create::v1;
    sandbox_create_v2(wire::SandboxCreateV2Request) -> wire::SandboxCreateV2Response: create::v2;
    sandbox_wait(wire::SandboxWaitRequest) -> wire::SandboxWaitResponse: lifecycle::wait;
    sandbox_wait_v2(wire::SandboxWaitRequest) -> wire::SandboxWaitResponse: lifecycle::wait;
    sandbox_terminate(wire::SandboxTerminateRequest) -> wire::SandboxTerminateResponse: lifecycle::terminate;
    sandbox_terminate_v2(wire::SandboxTerminateRequest) -> wire::SandboxTerminateResponse: lifecycle::terminate;
    sandbox_get_task_id(wire::SandboxGetTaskIdRequest) -> wire::SandboxGetTaskIdResponse: lifecycle::task_id;
    sandbox_get_task_id_v2(wire::SandboxGetTaskIdRequest) -> wire::SandboxGetTaskIdResponse: lifecycle::task_id;
    task_get_info(wire::TaskGetInfoRequest) -> wire::TaskGetInfoResponse: lifecycle::task_info;
    task_list(wire::TaskListRequest) -> wire::TaskListResponse: lifecycle::task_list;
    container_stop(wire::ContainerStopRequest) -> wire::ContainerStopResponse: lifecycle::stop;

    sandbox_get_from_name(wire::SandboxGetFromNameRequest) -> wire::SandboxGetFromNameResponse: listing::from_name;
    sandbox_get_from_name_v2(wire::SandboxGetFromNameRequest) -> wire::SandboxGetFromNameResponse: listing::from_name;
    sandbox_list(wire::SandboxListRequest) -> wire::SandboxListResponse: listing::list;
    sandbox_list_v2(wire::SandboxListRequest) -> wire::SandboxListResponse: listing::list;
    sandbox_set_name(wire::SandboxSetNameRequest) -> wire::SandboxSetNameResponse: listing::set_name;
    sandbox_tags_get(wire::SandboxTagsGetRequest) -> wire::SandboxTagsGetResponse: listing::tags_get;
    sandbox_tags_get_v2(wire::SandboxTagsGetRequest) -> wire::SandboxTagsGetResponse: listing::tags_get;
    sandbox_tags_set(wire::SandboxTagsSetRequest) -> (): listing::tags_set;
    sandbox_tags_set_v2(wire::SandboxTagsSetRequest) -> (): listing::tags_set;

    sandbox_get_tunnels(wire::SandboxGetTunnelsRequest) -> wire::SandboxGetTunnelsResponse: reach::tunnels;
    sandbox_get_tunnels_v2(wire::SandboxGetTunnelsRequest) -> wire::SandboxGetTunnelsResponse: reach::tunnels;
    sandbox_create_connect_token(wire::SandboxCreateConnectTokenRequest) -> wire::SandboxCreateConnectTokenResponse: reach::connect_token;
    sandbox_create_connect_token_v2(wire::SandboxCreateConnectTokenRequest) -> wire::SandboxCreateConnectTokenResponse: reach::connect_token;
    sandbox_wait_until_ready(wire::SandboxWaitUntilReadyRequest) -> wire::SandboxWaitUntilReadyResponse: reach::wait_until_ready;
    sandbox_stdin_write(wire::SandboxStdinWriteRequest) -> wire::SandboxStdinWriteResponse: stdio::write_v1;
    sandbox_get_command_router_access(wire::SandboxGetCommandRouterAccessRequest) -> wire::SandboxGetCommandRouterAccessResponse: identity::sandbox_router_access;
    task_get_command_router_access(wire::TaskGetCommandRouterAccessRequest) -> wire::TaskGetCommandRouterAccessResponse: identity::task_router_access;

    sandbox_get_resource_usage(wire::SandboxGetResourceUsageRequest) -> wire::SandboxGetResourceUsageResponse: usage::resource_usage;
    sandbox_get_stats(wire::SandboxGetStatsRequest) -> wire::SandboxGetStatsResponse: usage::stats;
    sandbox_get_stats_v2(wire::SandboxGetStatsRequest) -> wire::SandboxGetStatsResponse: usage::stats;

    container_exec(wire::ContainerExecRequest) -> wire::ContainerExecResponse: container::exec;
    container_exec_put_input(wire::ContainerExecPutInputRequest) -> (): container::input;
    container_exec_wait(wire::ContainerExecWaitRequest) -> wire::ContainerExecWaitResponse: container::wait;
    container_filesystem_exec(wire::ContainerFilesystemExecRequest) -> wire::ContainerFilesystemExecResponse: container::files;

    }
    streams: {
    ImageJoinStreamingStream = image_join_streaming(wire::ImageJoinStreamingRequest) -> wire::ImageJoinStreamingResponse: images::join;
    SandboxGetLogsStream = sandbox_get_logs(wire::SandboxGetLogsRequest) -> wire::TaskLogsBatch: stdio::logs_v1;
    ContainerExecGetOutputStream = container_exec_get_output(wire::ContainerExecGetOutputRequest) -> wire::RuntimeOutputBatch: container::output;
    ContainerFilesystemExecGetOutputStream = container_filesystem_exec_get_output(wire::ContainerFilesystemExecGetOutputRequest) -> wire::FilesystemRuntimeOutputBatch: container::files_output;
    }
}
