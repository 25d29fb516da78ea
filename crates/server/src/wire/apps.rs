//! Apps and environments: the shelves on which sandboxes stand.

use super::host::{Call, Host};
use super::status::{not_found, plain, seconds, shown};
use crate::state::AppRecord;
use computesdk_modal_proto::client::{
    AppGetOrCreateRequest, AppGetOrCreateResponse, AppHandleMetadata, AppListRequest, AppListResponse, AppState,
    EnvironmentCreateRequest, EnvironmentDeleteRequest, EnvironmentGetOrCreateRequest, EnvironmentGetOrCreateResponse,
    EnvironmentListItem, EnvironmentListResponse, EnvironmentMetadata, EnvironmentSettings, ObjectCreationType,
    app_list_response::AppListItem,
};
use std::sync::Arc;
use tonic::Status;

/// A version that every generation of clients knows (modal-wire notes, 8.3). It decides which stock lines they send.
pub(super) const IMAGE_BUILDER: &str = "2025.06";

/// As Modal's clients check names themselves.
fn check_name(field: &str, name: &str) -> Result<(), Status> {
    let valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(valid) {
        let problem = "give 1 to 64 letters, digits, dashes, dots or underscores";
        return Err(Status::invalid_argument(format!("invalid `{field}`: {}: {problem}", shown(name))));
    }
    Ok(())
}

pub(super) async fn app(
    host: &Arc<Host>,
    call: Call,
    request: AppGetOrCreateRequest,
) -> Result<AppGetOrCreateResponse, Status> {
    check_name("app_name", &request.app_name)?;
    if !request.environment_name.is_empty() {
        check_name("environment_name", &request.environment_name)?;
    }
    let create = request.object_creation_type() == ObjectCreationType::CreateIfMissing;
    if create {
        // Whoever names an environment to a server of their own means to have it.
        host.state.environment(call.workspace(), &request.environment_name, true).await?;
    }
    let app = host.state.app(call.workspace(), &request.environment_name, &request.app_name, create).await?;
    let app = app.ok_or_else(|| Status::not_found(format!("App '{}' not found", plain(&request.app_name))))?;
    Ok(AppGetOrCreateResponse { app_id: app.id.clone(), handle_metadata: Some(metadata(&app)) })
}

fn metadata(app: &AppRecord) -> AppHandleMetadata {
    AppHandleMetadata {
        description: app.name.clone(),
        app_id: app.id.clone(),
        environment_name: app.environment.clone(),
    }
}

pub(super) async fn app_list(host: &Arc<Host>, call: Call, request: AppListRequest) -> Result<AppListResponse, Status> {
    let running = host.table.all(call.workspace());
    let apps = host.state.apps(call.workspace(), &request.environment_name).await?;
    let item = |app: AppRecord| AppListItem {
        n_running_tasks: running
            .iter()
            .filter(|live| live.identity().app_id == app.id && live.end().is_none())
            .count()
            .try_into()
            .unwrap_or(i32::MAX),
        created_at: seconds(app.created_at),
        state: AppState::Deployed.into(),
        description: app.name.clone(),
        name: app.name,
        app_id: app.id,
        ..Default::default()
    };
    Ok(AppListResponse { apps: apps.into_iter().map(item).collect() })
}

pub(super) async fn environment(
    host: &Arc<Host>,
    call: Call,
    request: EnvironmentGetOrCreateRequest,
) -> Result<EnvironmentGetOrCreateResponse, Status> {
    if !request.deployment_name.is_empty() {
        check_name("environment_name", &request.deployment_name)?;
    }
    // Also without being told to, as above.
    let found = host.state.environment(call.workspace(), &request.deployment_name, true).await?;
    let found = found.ok_or_else(|| not_found("environment", &request.deployment_name))?;
    let settings = EnvironmentSettings { image_builder_version: IMAGE_BUILDER.into() };
    let metadata = EnvironmentMetadata { name: found.name, settings: Some(settings), ..Default::default() };
    Ok(EnvironmentGetOrCreateResponse { environment_id: found.id, metadata: Some(metadata) })
}

pub(super) async fn environments(host: &Arc<Host>, call: Call, (): ()) -> Result<EnvironmentListResponse, Status> {
    let found = host.state.environments(call.workspace()).await?;
    let item = |(at, environment): (usize, crate::state::EnvironmentRecord)| EnvironmentListItem {
        name: environment.name,
        created_at: seconds(environment.created_at),
        default: at == 0,
        environment_id: environment.id,
        ..Default::default()
    };
    Ok(EnvironmentListResponse { items: found.into_iter().enumerate().map(item).collect() })
}

pub(super) async fn environment_create(
    host: &Arc<Host>,
    call: Call,
    request: EnvironmentCreateRequest,
) -> Result<(), Status> {
    check_name("name", &request.name)?;
    let work = {
        let (host, workspace) = (Arc::clone(host), call.workspace().to_owned());
        async move {
            if host.state.environment(&workspace, &request.name, false).await?.is_some() {
                let name = shown(&request.name);
                return Err(Status::already_exists(format!("an environment named {name} already exists")));
            }
            host.state.environment(&workspace, &request.name, true).await?;
            Ok(Vec::new())
        }
    };
    host.once(&call, "EnvironmentCreate", work).await.map(|_| ())
}

pub(super) async fn environment_delete(
    host: &Arc<Host>,
    call: Call,
    request: EnvironmentDeleteRequest,
) -> Result<(), Status> {
    let is_used =
        |live: &Arc<crate::live::sandbox::Live>| live.end().is_none() && live.identity().environment == request.name;
    if host.table.all(call.workspace()).iter().any(is_used) {
        return Err(Status::failed_precondition(format!("sandboxes run in the environment {}", shown(&request.name))));
    }
    if host.state.delete_environment(call.workspace(), &request.name).await? {
        Ok(())
    } else {
        Err(not_found("environment", &request.name))
    }
}
