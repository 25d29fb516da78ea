//! Secrets: by name, or for one use.

use super::host::{Call, Host};
use super::status::{not_found, plain, seconds, shown};
use crate::state::{SecretMode, SecretRecord, SecretWrite, from_seconds};
use computesdk_modal_proto::client::{
    CreationInfo, ObjectCreationType, SecretDeleteRequest, SecretGetInfoRequest, SecretGetInfoResponse,
    SecretGetOrCreateRequest, SecretGetOrCreateResponse, SecretListItem, SecretListRequest, SecretListResponse,
    SecretMetadata, SecretUpdateRequest,
};
use secrecy::SecretString;
use std::sync::Arc;
use tonic::Status;

/// So many are told at a time.
const PAGE: usize = 100;

pub(super) async fn get_or_create(
    host: &Arc<Host>,
    call: Call,
    request: SecretGetOrCreateRequest,
) -> Result<SecretGetOrCreateResponse, Status> {
    let kind = request.object_creation_type();
    let record = match mode(kind) {
        None => {
            host.state.secret_by_name(call.workspace(), &request.environment_name, &request.deployment_name).await?
        }
        Some(mode) => {
            check_variables(&request)?;
            let is_named = !matches!(mode, SecretMode::Anonymous | SecretMode::Ephemeral);
            if is_named && request.deployment_name.is_empty() {
                return Err(Status::invalid_argument("invalid `deployment_name`: a secret that is kept needs a name"));
            }
            let values = request.env_dict.into_iter().map(|(name, value)| (name, SecretString::from(value))).collect();
            let write = SecretWrite {
                name: is_named.then(|| request.deployment_name.clone()),
                app_id: (!request.app_id.is_empty()).then_some(request.app_id),
                values,
                mode,
            };
            let environment = request.environment_name.clone();
            if mode == SecretMode::FailIfExists {
                Some(create_once(host, &call, environment, write).await?)
            } else {
                Some(host.state.put_secret(call.workspace(), &environment, write).await?)
            }
        }
    };
    let record =
        record.ok_or_else(|| Status::not_found(format!("Secret '{}' not found", plain(&request.deployment_name))))?;
    let missing: Vec<&str> =
        request.required_keys.iter().map(String::as_str).filter(|key| !record.keys.iter().any(|k| k == key)).collect();
    if !missing.is_empty() {
        // Clients look for this text (modal-wire notes, 5.1).
        return Err(Status::failed_precondition(format!("Secret is missing key(s): {}", missing.join(", "))));
    }
    Ok(SecretGetOrCreateResponse { secret_id: record.id.clone(), metadata: Some(metadata(&record)) })
}

/// A client that did not get the answer asks again, and is not told that its own secret is in the way.
async fn create_once(
    host: &Arc<Host>,
    call: &Call,
    environment: String,
    write: SecretWrite,
) -> Result<SecretRecord, Status> {
    let (state, workspace) = (host.state.clone(), call.workspace().to_owned());
    let work = async move { Ok(state.put_secret(&workspace, &environment, write).await?.id.into_bytes()) };
    let id = host.once(call, "SecretGetOrCreate", work).await?;
    let id = String::from_utf8_lossy(&id);
    host.state.secret(call.workspace(), &id).await?.ok_or_else(|| not_found("secret", &id))
}

/// How it is made; `None` is for one that must be there.
fn mode(kind: ObjectCreationType) -> Option<SecretMode> {
    match kind {
        ObjectCreationType::Unspecified => None,
        ObjectCreationType::CreateIfMissing => Some(SecretMode::CreateIfMissing),
        ObjectCreationType::CreateFailIfExists => Some(SecretMode::FailIfExists),
        ObjectCreationType::CreateOverwriteIfExists => Some(SecretMode::Overwrite),
        ObjectCreationType::AnonymousOwnedByApp => Some(SecretMode::Anonymous),
        ObjectCreationType::Ephemeral => Some(SecretMode::Ephemeral),
    }
}

fn check_variables(request: &SecretGetOrCreateRequest) -> Result<(), Status> {
    let bad = |name: &&String| name.is_empty() || name.contains(['=', '\0']);
    if let Some(name) = request.env_dict.keys().find(bad) {
        return Err(Status::invalid_argument(format!("invalid `env_dict`: {} is no name of a variable", shown(name))));
    }
    if let Some((name, _)) = request.env_dict.iter().find(|(_, value)| value.contains('\0')) {
        return Err(Status::invalid_argument(format!(
            "invalid `env_dict`: the value of {} has a NUL byte",
            shown(name)
        )));
    }
    Ok(())
}

/// Clients choose by the names of the variables how they log in to a registry.
fn metadata(record: &SecretRecord) -> SecretMetadata {
    SecretMetadata {
        name: record.name.clone().unwrap_or_default(),
        // Clients go from page to page by it.
        creation_info: Some(CreationInfo {
            created_at: seconds(record.created_at),
            created_by: record.workspace.clone(),
        }),
        keys: record.keys.clone(),
        environment_name: record.environment.clone(),
        last_used_at: record.last_used_at.map_or(0.0, seconds),
    }
}

pub(super) async fn delete(host: &Arc<Host>, call: Call, request: SecretDeleteRequest) -> Result<(), Status> {
    if host.state.delete_secret(call.workspace(), &request.secret_id).await? {
        Ok(())
    } else {
        Err(not_found("secret", &request.secret_id))
    }
}

pub(super) async fn list(
    host: &Arc<Host>,
    call: Call,
    request: SecretListRequest,
) -> Result<SecretListResponse, Status> {
    let page = request.pagination.unwrap_or_default();
    let before = Some(page.created_before).filter(|at| *at > 0.0).and_then(from_seconds);
    let limit = usize::try_from(page.max_objects).ok().filter(|most| *most > 0).map_or(PAGE, |most| most.min(PAGE));
    let found = host.state.secrets(call.workspace(), &request.environment_name, before, limit).await?;
    let item = |record: SecretRecord| SecretListItem {
        label: record.name.clone().unwrap_or_default(),
        created_at: seconds(record.created_at),
        last_used_at: record.last_used_at.map_or(0.0, seconds),
        environment_name: record.environment.clone(),
        metadata: Some(metadata(&record)),
        secret_id: record.id,
    };
    let environment_name = if request.environment_name.is_empty() { "main".into() } else { request.environment_name };
    Ok(SecretListResponse { items: found.into_iter().map(item).collect(), environment_name })
}

pub(super) async fn info(
    host: &Arc<Host>,
    call: Call,
    request: SecretGetInfoRequest,
) -> Result<SecretGetInfoResponse, Status> {
    let record = host.state.secret(call.workspace(), &request.secret_id).await?;
    let record = record.ok_or_else(|| not_found("secret", &request.secret_id))?;
    Ok(SecretGetInfoResponse { metadata: Some(metadata(&record)) })
}

pub(super) async fn update(host: &Arc<Host>, call: Call, request: SecretUpdateRequest) -> Result<(), Status> {
    let changes =
        request.updates.into_iter().map(|update| (update.key, update.value.map(SecretString::from))).collect();
    if host.state.update_secret(call.workspace(), &request.secret_id, changes).await?.is_some() {
        Ok(())
    } else {
        Err(not_found("secret", &request.secret_id))
    }
}
