//! From what a caller asks for to a running sandbox.

use crate::check::{self, MIB};
use crate::error::{NAME, create_error};
use crate::network;
use crate::process::whole_seconds;
use crate::sandbox::{Facts, Known, ModalSandbox, tags};
use crate::wire::{Backoff, Control, Deadline, Family, Router, is_transient};
use computesdk_core::{
    CreateOptions, Error, ErrorKind, FileUpload, OpenMode, Resources, Result, Sandbox as _, SandboxId,
};
use computesdk_modal_proto::client::generic_result::GenericStatus;
use computesdk_modal_proto::client::sandbox::OpenPortsOneof;
use computesdk_modal_proto::client::secret_source::Source;
use computesdk_modal_proto::client::{
    GenericResult, Image, ImageGetOrCreateRequest, ImageJoinStreamingRequest, NetworkAccess, PortSpec, PortSpecs,
    Resources as WireResources, Sandbox as Definition, SandboxCreateV2Request, SandboxCreateV2Response,
    SandboxTerminateRequest, SecretSource, StringMap, TunnelType,
};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::OnceCell;
use tonic::Status;

/// The longest lifetime of a sandbox on Modal: what "no limit" is there.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// What Modal gives a sandbox unasked. A limit below it needs a smaller request, too.
const DEFAULT_MIB: u32 = 128;
const DEFAULT_MILLI_CPU: u32 = 125;
/// The newest version of the rules by which images are built.
const BUILDER: &str = "2025.06";
/// How long the server is asked to keep a stream of a build's log open.
const BUILD_SECONDS: f32 = 55.0;
/// Waits for a line on its input before the main process is started: until then files are put in place.
const HOLD: &str = "IFS= read -r _ && exec \"$@\"";
/// That line.
const GO: &[u8] = b"\n";

/// Makes it. If that fails half-way, or nobody waits for it any more, what was made is ended.
pub(crate) async fn create(control: &Arc<Control>, options: CreateOptions) -> Result<Arc<ModalSandbox>> {
    check::create(&options)?;
    let access = network::access("sandbox.create", options.network.as_ref())?;
    let inbound = network::ranges("sandbox.create", "inbound", options.inbound.as_deref().unwrap_or_default())?;
    let files = options.files.clone();
    let held = options.command.is_some() && !files.is_empty();
    let timeout = lifetime(options.timeout.unwrap_or(control.settings.timeout));
    let facts = Facts {
        created_at: SystemTime::now(),
        timeout,
        name: options.name.clone(),
        metadata: options.metadata.clone(),
        notices: Vec::new(),
    };
    let known = Known {
        facts: Some(facts),
        runtime: options.runtime,
        ports: Some(options.ports.clone()),
        without_command: options.command.is_none(),
        input_offset: if held { GO.len() as u64 } else { 0 },
        ..Known::default()
    };
    let made = make(control, options, (access, inbound), held, timeout).await.map_err(create_error)?;
    let router = Router::new(Arc::clone(control), made.sandbox_id, Family::V2)
        .told(made.task_id, made.command_router_access.as_ref());
    let sandbox = ModalSandbox::new(router, known);
    let undo = Undo(Some(Arc::clone(&sandbox)));
    let furnished = async {
        for upload in &files {
            put(&sandbox, upload).await?;
        }
        if held { go(&sandbox).await } else { Ok(()) }
    };
    if let Err(error) = furnished.await {
        undo.keep();
        return Err(match sandbox.terminate().await {
            Ok(()) => error,
            Err(cleanup) => error.with_cleanup_error(cleanup),
        });
    }
    undo.keep();
    Ok(sandbox)
}

/// Ends a half-made sandbox when its `create` is cancelled.
struct Undo(Option<Arc<ModalSandbox>>);

impl Undo {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(sandbox) = self.0.take() {
            let runtime = sandbox.router.runtime.clone();
            runtime.spawn(async move {
                if let Err(error) = sandbox.terminate().await {
                    tracing::warn!(sandbox = %sandbox.id(), %error, "a sandbox that nobody waits for could not be ended");
                }
            });
        }
    }
}

fn lifetime(asked: Duration) -> Duration {
    if asked == Duration::MAX { LONGEST } else { Duration::from_secs(whole_seconds(asked).into()) }
}

/// The call itself, with what must be there before. It runs to its end even if nobody waits: only then is it known what was made.
async fn make(
    control: &Arc<Control>,
    options: CreateOptions,
    reach: (NetworkAccess, Vec<String>),
    held: bool,
    timeout: Duration,
) -> Result<SandboxCreateV2Response, Status> {
    let image = options.image.clone().unwrap_or_else(|| control.settings.image.clone());
    let app_id = control.app().await?.to_owned();
    let image_id = image_id(control, &app_id, &image).await?;
    let request = request(options, reach, (app_id, image_id), held, timeout);
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let maker = Arc::clone(control);
    tokio::spawn(async move {
        let call = maker.call(Deadline::MAKE, request, |mut client, request| async move {
            client.sandbox_create_v2(request).await
        });
        if let Err(Ok(made)) = sender.send(call.await) {
            tracing::info!(sandbox = made.sandbox_id, "a sandbox was made that nobody waits for: it is ended");
            let request = SandboxTerminateRequest { sandbox_id: made.sandbox_id };
            let end = maker.call(Deadline::SHORT, request, |mut client, request| async move {
                client.sandbox_terminate_v2(request).await
            });
            if let Err(status) = end.await {
                tracing::warn!(code = ?status.code(), message = status.message(), "it could not be ended");
            }
        }
    });
    receiver.await.map_err(|_| Status::cancelled("the runtime is shutting down"))?
}

fn request(
    options: CreateOptions,
    (access, inbound): (NetworkAccess, Vec<String>),
    (app_id, image_id): (String, String),
    held: bool,
    timeout: Duration,
) -> SandboxCreateV2Request {
    let mut command = options.command.unwrap_or_default();
    if held {
        let holder = ["sh", "-c", HOLD, "sh"].map(String::from);
        command.splice(0..0, holder);
    }
    let ports = options.ports.iter().collect::<std::collections::BTreeSet<_>>();
    let ports = ports.into_iter().map(|port| {
        let is_h2 = options.h2_ports.contains(port);
        PortSpec {
            port: (*port).into(),
            // Both ways where there are two; HTTP/2 has the one with TLS alone.
            unencrypted: !is_h2,
            tunnel_type: is_h2.then_some(TunnelType::H2.into()),
        }
    });
    let environment =
        SecretSource { source: Some(Source::Env(StringMap { contents: options.env.into_iter().collect() })) };
    let has_environment = matches!(&environment.source, Some(Source::Env(map)) if !map.contents.is_empty());
    SandboxCreateV2Request {
        app_id,
        tags: tags(&options.metadata),
        secret_sources: if has_environment { vec![environment] } else { Vec::new() },
        definition: Some(Definition {
            entrypoint_args: command,
            image_id,
            resources: Some(resources(&options.resources)),
            timeout_secs: whole_seconds(timeout),
            idle_timeout_secs: options.idle_timeout.filter(|idle| *idle != Duration::MAX).map(whole_seconds),
            workdir: options.cwd,
            open_ports_oneof: Some(OpenPortsOneof::OpenPorts(PortSpecs { ports: ports.collect() })),
            network_access: Some(access),
            name: options.name,
            inbound_cidr_allowlist: inbound,
            ..Definition::default()
        }),
        ..SandboxCreateV2Request::default()
    }
}

/// Limits, rounded up to what the wire can say. What is not asked for stays Modal's.
fn resources(asked: &Resources) -> WireResources {
    let mib = asked.memory_bytes.map(|bytes| u32::try_from(bytes.div_ceil(MIB)).unwrap_or(u32::MAX));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a number of cores")]
    let milli_cpu = asked.cpus.map(|cpus| ((cpus * 1000.0).ceil() as u32).max(1));
    WireResources {
        memory_mb_max: mib.unwrap_or(0),
        memory_mb: mib.filter(|mib| *mib < DEFAULT_MIB).unwrap_or(0),
        milli_cpu_max: milli_cpu.unwrap_or(0),
        milli_cpu: milli_cpu.filter(|milli| *milli < DEFAULT_MILLI_CPU).unwrap_or(0),
        gpu_config: Some(computesdk_modal_proto::client::GpuConfig::default()),
        ..WireResources::default()
    }
}

/// The id of the image with this reference, ready to be used. Asked for once.
async fn image_id(control: &Control, app_id: &str, reference: &str) -> Result<String, Status> {
    let cell = {
        let mut images = control.images.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(images.entry(reference.to_owned()).or_default())
    };
    let ask = || async {
        if reference.is_empty() || reference.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Status::invalid_argument(format!(
                "invalid `image`: {reference:?} is no reference of an image"
            )));
        }
        let request = ImageGetOrCreateRequest {
            app_id: app_id.to_owned(),
            image: Some(Image { dockerfile_commands: vec![format!("FROM {reference}")], ..Image::default() }),
            builder_version: BUILDER.to_owned(),
            ..ImageGetOrCreateRequest::default()
        };
        let call = control.call(Deadline::MAKE, request, |mut client, request| async move {
            client.image_get_or_create(request).await
        });
        let answer = call.await?;
        match answer.result {
            Some(result) if result.status() != GenericStatus::Unspecified => built(reference, &result)?,
            _ => join(control, reference, &answer.image_id).await?,
        }
        Ok(answer.image_id)
    };
    let cell: &OnceCell<String> = &cell;
    cell.get_or_try_init(ask).await.cloned()
}

/// Waits until an image is built.
async fn join(control: &Control, reference: &str, image_id: &str) -> Result<(), Status> {
    let mut entry = String::new();
    let mut backoff = Backoff::router();
    loop {
        let request = ImageJoinStreamingRequest {
            image_id: image_id.to_owned(),
            timeout: BUILD_SECONDS,
            last_entry_id: entry.clone(),
            ..ImageJoinStreamingRequest::default()
        };
        let read = async {
            let open = control
                .stream(request, |mut client, request| async move { client.image_join_streaming(request).await });
            let mut stream = open.await?;
            while let Some(part) = stream.message().await? {
                if !part.entry_id.is_empty() {
                    entry = part.entry_id;
                    backoff.reset();
                }
                if let Some(result) = part.result.filter(|result| result.status() != GenericStatus::Unspecified) {
                    return built(reference, &result).map(|()| true);
                }
            }
            Ok(false)
        };
        let status = match read.await {
            Ok(true) => return Ok(()),
            Ok(false) => continue,
            Err(status) => status,
        };
        let delay = if is_transient(status.code()) { backoff.next() } else { None };
        let Some(delay) = delay else { return Err(status) };
        tokio::time::sleep(delay).await;
    }
}

fn built(reference: &str, result: &GenericResult) -> Result<(), Status> {
    if result.status() == GenericStatus::Success {
        return Ok(());
    }
    Err(Status::failed_precondition(format!("the image {reference} could not be built: {}", result.exception)))
}

/// Puts one file in place.
async fn put(sandbox: &Arc<ModalSandbox>, upload: &FileUpload) -> Result<()> {
    let failed = |error: Error| {
        let text = format!("Failed to write file {}: {error}", upload.path);
        Error::new(error.kind(), "sandbox.create", text)
            .with_provider(NAME)
            .with_context("field", "files")
            .with_source(error)
    };
    let mut file = sandbox.files().open(&upload.path, OpenMode::Write, upload.mode).await.map_err(failed)?;
    let written = async {
        file.write_all(&upload.content).await?;
        file.shutdown().await
    };
    written.await.map_err(|error| {
        failed(Error::new(ErrorKind::Unexpected, "filesystem.write", error.to_string()).with_source(error))
    })
}

/// Starts the main process that waits for its files.
async fn go(sandbox: &Arc<ModalSandbox>) -> Result<()> {
    let router = &sandbox.router;
    let sent = async {
        let request = computesdk_modal_proto::router::SandboxStdinWriteV2Request {
            task_id: router.task().await?.to_owned(),
            offset: 0,
            data: bytes::Bytes::from_static(GO),
            eof: false,
        };
        let call = router.call(Deadline::SHORT, request, |mut client, request| async move {
            client.sandbox_stdin_write_v2(request).await
        });
        call.await
    };
    match sent.await {
        Ok(_) => Ok(()),
        Err(status) => Err(sandbox.error("sandbox.create", status).await),
    }
}

/// Connects to one that is there.
pub(crate) fn not_found(id: &SandboxId) -> Error {
    crate::error::no_sandbox("sandbox.create", id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn everything_asked_for_is_on_the_wire() {
        let mut options = CreateOptions::default();
        options.command = Some(vec!["true".into()]);
        options.env = BTreeMap::from([("A".into(), "1".into())]);
        options.metadata = BTreeMap::from([("k".into(), "v".into())]);
        options.ports = vec![8080, 443, 8080];
        options.h2_ports = vec![443];
        options.name = Some("n".into());
        options.cwd = Some("/w".into());
        options.idle_timeout = Some(Duration::from_millis(1500));
        options.resources.memory_bytes = Some(64 << 20);
        options.resources.cpus = Some(0.5);
        let reach = (NetworkAccess::default(), vec!["203.0.113.0/24".to_owned()]);
        let request = request(options, reach, ("ap-1".into(), "im-1".into()), true, Duration::from_secs(60));
        let definition = request.definition.unwrap();
        assert_eq!(definition.entrypoint_args, ["sh", "-c", HOLD, "sh", "true"]);
        assert_eq!((definition.timeout_secs, definition.idle_timeout_secs), (60, Some(2)));
        assert_eq!((definition.name.as_deref(), definition.workdir.as_deref()), (Some("n"), Some("/w")));
        let Some(OpenPortsOneof::OpenPorts(specs)) = definition.open_ports_oneof else { panic!("no ports") };
        let ports: Vec<_> = specs.ports.iter().map(|spec| (spec.port, spec.unencrypted, spec.tunnel_type)).collect();
        assert_eq!(ports, [(443, false, Some(TunnelType::H2.into())), (8080, true, None)]);
        let resources = definition.resources.unwrap();
        assert_eq!((resources.memory_mb, resources.memory_mb_max), (64, 64));
        assert_eq!((resources.milli_cpu, resources.milli_cpu_max), (0, 500));
        assert_eq!(definition.inbound_cidr_allowlist, ["203.0.113.0/24"]);
        assert_eq!(request.tags.len(), 1);
        assert_eq!(request.secret_sources.len(), 1);
        assert_eq!(lifetime(Duration::MAX), LONGEST);
    }
}
