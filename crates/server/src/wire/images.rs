//! Images: asked for layer by layer, answered at once, since nothing is built yet.

use super::apps::IMAGE_BUILDER;
use super::host::{Call, Host};
use super::status::{plain, refuse};
use super::stdio::Stream;
use crate::ids;
use crate::image::{self, Context, ImageConfig, Place};
use crate::state::ImageRecord;
use computesdk_core::{CreateOptions, ExecOptions, Sandbox, Stdio};
use computesdk_modal_proto::client::{
    GenericResult, ImageDeleteRequest, ImageFromIdRequest, ImageFromIdResponse, ImageGetOrCreateRequest,
    ImageGetOrCreateResponse, ImageJoinStreamingRequest, ImageJoinStreamingResponse, ImageMetadata, TaskLogs,
    generic_result::GenericStatus,
};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncReadExt as _;
use tonic::Status;

/// Whoever looks for an image that is not there reads this text (modal-wire notes, 5.1).
pub(super) fn unknown(id: &str) -> Status {
    Status::not_found(format!("Could not find image with ID {}", plain(id)))
}

pub(super) fn config_of(record: ImageRecord) -> ImageConfig {
    ImageConfig {
        base: record.base,
        env: record.env,
        workdir: record.workdir,
        cmd: record.cmd,
        entrypoint: record.entrypoint,
        shell: record.shell,
        notices: record.log,
    }
}

pub(super) async fn get_or_create(
    host: &Arc<Host>,
    call: Call,
    request: ImageGetOrCreateRequest,
) -> Result<ImageGetOrCreateResponse, Status> {
    let asked = request.image.ok_or_else(|| Status::invalid_argument("`image` is missing"))?;
    let unserved = [
        (asked.build_function.is_some(), "a build step that runs a function (run_function)"),
        (!asked.volume_mounts.is_empty(), "volumes in a build"),
        (asked.gpu_config.as_ref().is_some_and(|gpu| gpu.count > 0 || !gpu.gpu_type.is_empty()), "a build with a GPU"),
        (asked.base_images.len() > 1, "a build from several images"),
    ];
    if let Some((_, what)) = unserved.iter().find(|(is_asked, _)| *is_asked) {
        return Err(Status::unimplemented(format!("{what} cannot be had from this server; nothing was built")));
    }
    let workspace = call.workspace();
    let base = match asked.base_images.first() {
        None => None,
        Some(base) => Some(host.state.image(workspace, &base.image_id).await?.ok_or_else(|| unknown(&base.image_id))?),
    };
    let digest =
        image::digest(base.as_ref().map(|base| base.digest.as_str()), &asked.dockerfile_commands, &asked.build_args);
    if let (Some(known), false) = (host.state.image_by_digest(workspace, &digest).await?, request.force_build) {
        return Ok(answer(known.id, Some(GenericStatus::Success), String::new()));
    }
    let sight = host.sight().await?;
    let context = Context { files: !asked.context_files.is_empty(), mount: !asked.context_mount_id.is_empty() };
    let base = base.map(config_of);
    let told = u32::try_from(base.as_ref().map_or(0, |base| base.notices.len())).unwrap_or(u32::MAX);
    let built = {
        let has = |tool: &str| sight.tools.contains(tool);
        let place =
            Place { provider: host.provider.name(), python: sight.python.as_deref(), path: &sight.path, tools: &has };
        image::build(base.as_ref(), &asked.dockerfile_commands, &asked.build_args, context, &place)
    };
    match built {
        // As a build that failed: clients show its reason.
        Err(error) => Ok(answer(ids::fresh("im"), Some(GenericStatus::Failure), error.to_string())),
        Ok(config) => {
            let record = ImageRecord {
                id: ids::fresh("im"),
                workspace: workspace.to_owned(),
                digest,
                base: config.base,
                env: config.env,
                workdir: config.workdir,
                cmd: config.cmd,
                entrypoint: config.entrypoint,
                shell: config.shell,
                log: config.notices,
                told,
                created_at: SystemTime::now(),
            };
            let record = host.state.put_image(record).await?;
            // Without a result, so that the client asks for the log and whoever reads it sees what stands in for the image.
            Ok(answer(record.id, None, String::new()))
        }
    }
}

fn answer(image_id: String, status: Option<GenericStatus>, exception: String) -> ImageGetOrCreateResponse {
    let result = status.map(|status| GenericResult { status: status.into(), exception, exitcode: 0 });
    ImageGetOrCreateResponse { image_id, result, metadata: Some(metadata()) }
}

fn metadata() -> ImageMetadata {
    ImageMetadata { image_builder_version: Some(IMAGE_BUILDER.into()), ..Default::default() }
}

/// The log of a build, then its result.
pub(super) async fn join(
    host: &Arc<Host>,
    call: Call,
    request: ImageJoinStreamingRequest,
) -> Result<Stream<ImageJoinStreamingResponse>, Status> {
    let record = host.state.image(call.workspace(), &request.image_id).await?;
    let record = record.ok_or_else(|| unknown(&request.image_id))?;
    const LOG: &str = "1-0";
    let own = record.log.into_iter().skip(usize::try_from(record.told).unwrap_or(usize::MAX));
    let lines = own.map(|line| TaskLogs { data: format!("{line}\n"), ..Default::default() });
    let log = ImageJoinStreamingResponse { task_logs: lines.collect(), entry_id: LOG.into(), ..Default::default() };
    let end = ImageJoinStreamingResponse {
        result: Some(GenericResult { status: GenericStatus::Success.into(), ..Default::default() }),
        entry_id: "2-0".into(),
        eof: true,
        metadata: Some(metadata()),
        ..Default::default()
    };
    let told = request.last_entry_id == LOG;
    let messages = [(!told).then_some(log), Some(end)].into_iter().flatten().map(Ok);
    Ok(Box::pin(futures_util::stream::iter(messages)))
}

pub(super) async fn from_id(
    host: &Arc<Host>,
    call: Call,
    request: ImageFromIdRequest,
) -> Result<ImageFromIdResponse, Status> {
    let record = host.state.image(call.workspace(), &request.image_id).await?;
    let record = record.ok_or_else(|| unknown(&request.image_id))?;
    Ok(ImageFromIdResponse { image_id: record.id, metadata: Some(metadata()) })
}

pub(super) async fn delete(host: &Arc<Host>, call: Call, request: ImageDeleteRequest) -> Result<(), Status> {
    if host.state.delete_image(call.workspace(), &request.image_id).await? {
        Ok(())
    } else {
        Err(Status::not_found(format!("No Image with ID {}", plain(&request.image_id))))
    }
}

/// What the provider's image has: looked up once, in a sandbox that is made for it.
#[derive(Debug, Default)]
pub(super) struct Sight {
    python: Option<String>,
    path: String,
    tools: HashSet<String>,
}

impl Host {
    async fn sight(&self) -> Result<&Sight, Status> {
        self.sight.get_or_try_init(|| async { look(self).await.map_err(refuse) }).await
    }
}

/// The path on the first line, the version of Python on the second, then the names of all programs.
const LOOK: &str =
    r#"echo "$PATH"; python3 -V 2>/dev/null || echo; IFS=:; for d in $PATH; do ls "$d" 2>/dev/null; done"#;
const LOOK_TIME: Duration = Duration::from_secs(30);

async fn look(host: &Host) -> computesdk_core::Result<Sight> {
    let mut options = CreateOptions::default();
    options.timeout = host.capabilities.limits.timeout.then_some(2 * LOOK_TIME);
    let sandbox: Arc<dyn Sandbox> = host.provider.create(options).await?;
    let listed = async {
        let mut options = ExecOptions::new(["sh", "-c", LOOK]);
        options.timeout = Some(LOOK_TIME);
        (options.stdin, options.stderr) = (Stdio::Null, Stdio::Null);
        let process = sandbox.exec(options).await?;
        let mut text = Vec::new();
        if let Some(stdout) = process.take_stdout() {
            // More than any machine has programs.
            let _ = stdout.take(8 << 20).read_to_end(&mut text).await;
        }
        process.wait().await?;
        Ok(text)
    };
    let listed = listed.await;
    let ended = sandbox.terminate().await;
    let text = listed?;
    ended?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    let path = lines.next().unwrap_or(Place::USUAL_PATH).to_owned();
    let python = lines.next().and_then(|line| line.strip_prefix("Python ")).map(str::to_owned);
    Ok(Sight { python, path, tools: lines.map(str::to_owned).collect() })
}
