//! Making a sandbox, in both families.

use super::definition::{self, Plan};
use super::host::{Call, Host};
use super::identity::router_access;
use super::reach;
use super::status::{not_found, refuse};
use crate::auth::Caller;
use crate::ids::{self, Family};
use crate::image::ImageConfig;
use crate::live::exec::Exec;
use crate::live::sandbox::{Identity, Live};
use crate::state::{EndRecord, SandboxRecord};
use computesdk_core::{EndCause, ExecOptions, Sandbox};
use computesdk_modal_proto::client::{
    self as wire, SandboxCreateRequest, SandboxCreateResponse, SandboxCreateV2Request, SandboxCreateV2Response,
    SandboxHandleMetadata, SandboxTag, SecretSource, secret_source::Source,
};
use prost::Message as _;
use secrecy::ExposeSecret as _;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tonic::Status;
use tracing::Instrument as _;

/// As Modal allows.
const MOST_TAGS: usize = 50;

pub(super) async fn v1(
    host: &Arc<Host>,
    call: Call,
    request: SandboxCreateRequest,
) -> Result<SandboxCreateResponse, Status> {
    let answer = host.once(&call, "SandboxCreate", {
        let (host, call) = (Arc::clone(host), call.clone());
        async move {
            let asked = Asked {
                app_id: request.app_id,
                definition: request.definition.unwrap_or_default(),
                tags: request.tags,
                secrets: Vec::new(),
                inline: None,
            };
            let live = make(&host, &call.caller, Family::V1, asked).await?;
            let metadata = Some(metadata(&live));
            Ok(SandboxCreateResponse { sandbox_id: live.id().to_owned(), metadata }.encode_to_vec())
        }
    });
    decode(&answer.await?)
}

pub(super) async fn v2(
    host: &Arc<Host>,
    call: Call,
    request: SandboxCreateV2Request,
) -> Result<SandboxCreateV2Response, Status> {
    let answer = host.once(&call, "SandboxCreateV2", {
        let (host, call) = (Arc::clone(host), call.clone());
        async move {
            if !request.cloud_bucket_mount_credentials.is_empty() {
                return Err(Status::unimplemented(
                    "cloud bucket mounts cannot be had from this server; nothing was created",
                ));
            }
            let asked = Asked {
                app_id: request.app_id,
                definition: request.definition.unwrap_or_default(),
                tags: request.tags,
                secrets: request.secret_sources,
                inline: request.ephemeral_secrets,
            };
            let live = make(&host, &call.caller, Family::V2, asked).await?;
            let answer = SandboxCreateV2Response {
                sandbox_id: live.id().to_owned(),
                // Complete ones or none: clients keep what they get (modal-wire notes, 7.3).
                tunnels: reach::tunnels_of(&live).await.unwrap_or_default(),
                task_id: live.identity().task_id.clone(),
                metadata: Some(metadata(&live)),
                command_router_access: None,
                sandbox_token: String::new(),
            };
            Ok(answer.encode_to_vec())
        }
    });
    let mut answer: SandboxCreateV2Response = decode(&answer.await?)?;
    // Not part of what is remembered: tokens are for whoever asks now.
    if let Some(live) = host.table.get(call.workspace(), &answer.sandbox_id) {
        answer.command_router_access = Some(router_access(host, &call, &live));
    }
    Ok(answer)
}

fn decode<T: prost::Message + Default>(bytes: &[u8]) -> Result<T, Status> {
    T::decode(bytes).map_err(|error| Status::internal(format!("a remembered answer cannot be read: {error}")))
}

/// What both families ask for.
struct Asked {
    app_id: String,
    definition: wire::Sandbox,
    tags: Vec<SandboxTag>,
    secrets: Vec<SecretSource>,
    inline: Option<wire::StringMap>,
}

pub(super) fn metadata(live: &Live) -> SandboxHandleMetadata {
    SandboxHandleMetadata { result: None, app_id: live.identity().app_id.clone() }
}

/// Tags as a map; each name once.
pub(super) fn tags(tags: Vec<SandboxTag>) -> Result<BTreeMap<String, String>, Status> {
    let mut found = BTreeMap::new();
    for tag in tags {
        if tag.tag_name.is_empty() || tag.tag_name.len() > 256 || tag.tag_value.len() > 4096 {
            return Err(Status::invalid_argument("invalid `tags`: a name has 1 to 256 bytes, a value at most 4096"));
        }
        found.insert(tag.tag_name, tag.tag_value);
    }
    if found.len() > MOST_TAGS {
        return Err(Status::invalid_argument(format!(
            "invalid `tags`: {} are too many, at most {MOST_TAGS}",
            found.len()
        )));
    }
    Ok(found)
}

#[tracing::instrument(skip_all, name = "create")]
async fn make(host: &Arc<Host>, caller: &Caller, family: Family, asked: Asked) -> Result<Arc<Live>, Status> {
    let workspace = caller.workspace.as_str();
    let app = host.state.app_by_id(workspace, &asked.app_id).await?.ok_or_else(|| not_found("app", &asked.app_id))?;
    let image_id = asked.definition.image_id.clone();
    let image = image(host, workspace, &image_id).await?;
    let mut secrets = BTreeMap::new();
    if let Some(inline) = asked.inline {
        secrets.extend(inline.contents);
    }
    // Some clients name a secret in both places: the order of the second one counts then.
    let again: HashSet<&str> = asked.secrets.iter().filter_map(secret_id).collect();
    for id in asked.definition.secret_ids.iter().filter(|id| !again.contains(id.as_str())) {
        extend_by_secret(host, workspace, id, &mut secrets).await?;
    }
    extend_by_sources(host, workspace, &asked.secrets, &mut secrets).await?;
    let tags = tags(asked.tags)?;
    let Plan { mut options, mut spec, name, pty } = definition::plan(asked.definition, &image, secrets)?;
    spec.image_id = image_id;

    let _place = host.table.reserve(&caller.token_id, host.options.quota).map_err(Status::resource_exhausted)?;
    let mut record = SandboxRecord {
        id: family.sandbox_id(),
        task_id: ids::fresh("ta"),
        workspace: workspace.to_owned(),
        environment: app.environment.clone(),
        app_id: app.id.clone(),
        name,
        tags,
        created_at: SystemTime::now(),
        ready_at: None,
        ended_at: None,
        end: None,
        provider_id: None,
        spec,
    };
    options.env.insert(String::from("MODAL_SANDBOX_ID"), record.id.clone());
    options.env.insert(String::from("MODAL_TASK_ID"), record.task_id.clone());
    options.metadata.insert(String::from("modal.sandbox_id"), record.id.clone());
    // With a terminal the main process is an exec of ours: providers have no other way to it.
    let ours = pty.and_then(|size| options.command.take().map(|argv| (argv, size)));
    host.capabilities.check(&options).map_err(refuse)?;
    // Where programs start that are told nothing.
    let directory = options.cwd.clone().unwrap_or_else(|| String::from("/root"));

    // First its place in the state, which also takes its name: a server that dies now leaves a record to be told as lost.
    record.created_at = host.state.insert_sandbox(&record).await?;
    let made = async {
        let sandbox = host.provider.create(options).instrument(tracing::info_span!("provider.create")).await;
        let sandbox = sandbox.map_err(refuse)?;
        let furnished = async {
            let (main, is_ours) = start_main(host, &sandbox, ours).await.map_err(refuse)?;
            host.state.set_provider_id(&record.id, sandbox.id().as_str()).await?;
            Ok((Arc::clone(&sandbox), main, is_ours))
        };
        match furnished.await {
            Ok(made) => Ok(made),
            Err(status) => {
                if let Err(error) = sandbox.terminate().await {
                    tracing::error!(%error, "a sandbox that cannot be used is not ended");
                }
                Err(status)
            }
        }
    };
    let (sandbox, main, main_is_ours) = match made.await {
        Ok(made) => made,
        Err(status) => {
            // It was never there.
            host.state.remove_sandbox(&record.id).await?;
            return Err(status);
        }
    };
    let identity = Identity {
        id: record.id,
        task_id: record.task_id,
        workspace: record.workspace,
        environment: record.environment,
        app_id: record.app_id,
        token_id: caller.token_id.clone(),
        created_at: record.created_at,
    };
    let spool = host.options.spool.clone();
    let live = Live::new(identity, record.spec, sandbox, main, main_is_ours, spool, directory);
    host.table.insert(Arc::clone(&live));
    tracing::info!(sandbox = live.id(), app = live.identity().app_id, "created");
    tokio::spawn(see_to_its_end(Arc::clone(host), Arc::clone(&live)));
    if live.spec().probe.is_some() {
        tokio::spawn(reach::probe(Arc::clone(host), Arc::clone(&live)));
    }
    Ok(live)
}

/// The main process: the provider's, or one of ours with a terminal.
async fn start_main(
    host: &Host,
    sandbox: &Arc<dyn Sandbox>,
    ours: Option<(Vec<String>, computesdk_core::PtySize)>,
) -> computesdk_core::Result<(Option<Arc<Exec>>, bool)> {
    let spool = &host.options.spool;
    match ours {
        None => Ok((sandbox.main_process().map(|process| Exec::take_over(process, spool, false)), false)),
        Some((argv, size)) => {
            let mut options = ExecOptions::new(argv);
            options.pty = Some(size);
            options.timeout = Some(Duration::MAX);
            Ok((Some(Exec::take_over(sandbox.exec(options).await?, spool, true)), true))
        }
    }
}

/// Waits for the end of a sandbox, and tells everybody.
async fn see_to_its_end(host: Arc<Host>, live: Arc<Live>) {
    let end = live.watch().await;
    tracing::info!(sandbox = live.id(), cause = %end.cause, "ended");
    if let Err(error) = host.state.end_sandbox(live.id(), end.clone(), SystemTime::now()).await {
        tracing::error!(sandbox = live.id(), %error, "its end cannot be remembered");
    }
    live.set_end(end);
    host.table.ended(live.id());
}

/// Ends what a server that stops leaves behind, and says so to those who wait.
pub(crate) async fn end_all(host: &Arc<Host>) {
    let ends = host.table.running().into_iter().map(|live| {
        let host = Arc::clone(host);
        async move {
            if let Err(error) = live.sandbox().terminate().await {
                let reason = format!("the server stopped, and the sandbox did not: {error}");
                tracing::error!(sandbox = live.id(), %error, "it is not ended");
                let end = EndRecord { cause: EndCause::HostLost { reason }, exit_code: 137 };
                let _ = host.state.end_sandbox(live.id(), end.clone(), SystemTime::now()).await;
                return;
            }
            live.ended().await;
        }
    });
    futures_util::future::join_all(ends).await;
}

/// The settings of an image; without one, of none.
async fn image(host: &Host, workspace: &str, id: &str) -> Result<ImageConfig, Status> {
    if id.is_empty() {
        return Ok(ImageConfig::default());
    }
    let record = host.state.image(workspace, id).await?.ok_or_else(|| super::images::unknown(id))?;
    Ok(super::images::config_of(record))
}

fn secret_id(source: &SecretSource) -> Option<&str> {
    match &source.source {
        Some(Source::SecretId(id)) => Some(id),
        _ => None,
    }
}

/// Adds what a secret holds; later ones win.
pub(super) async fn extend_by_secret(
    host: &Host,
    workspace: &str,
    id: &str,
    env: &mut BTreeMap<String, String>,
) -> Result<(), Status> {
    let values = host.state.secret_values(workspace, id).await?.ok_or_else(|| not_found("secret", id))?;
    env.extend(values.into_iter().map(|(name, value)| (name, value.expose_secret().to_owned())));
    Ok(())
}

/// Adds what each source holds, in their order.
pub(super) async fn extend_by_sources(
    host: &Host,
    workspace: &str,
    sources: &[SecretSource],
    env: &mut BTreeMap<String, String>,
) -> Result<(), Status> {
    for source in sources {
        match &source.source {
            Some(Source::SecretId(id)) => extend_by_secret(host, workspace, id, env).await?,
            Some(Source::Env(map)) => {
                env.extend(map.contents.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            None => {}
        }
    }
    Ok(())
}
