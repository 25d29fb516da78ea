//! Reaching a sandbox: its tunnels, tokens for its ports, whether it is ready, and what it may reach itself.

use super::definition;
use super::host::{Call, Found, Host};
use super::identity::{routed, routed_running};
use super::status::{patience, refuse, result, seconds};
use crate::auth::RouterCaller;
use crate::live::sandbox::Live;
use computesdk_core::{ExecOptions, HostPort, Stdio, Tunnel};
use computesdk_modal_proto::client::{
    SandboxCreateConnectTokenRequest, SandboxCreateConnectTokenResponse, SandboxGetTunnelsRequest,
    SandboxGetTunnelsResponse, SandboxWaitUntilReadyRequest, SandboxWaitUntilReadyResponse, TunnelData,
};
use computesdk_modal_proto::router::{
    SandboxWaitUntilReadyTcrRequest, SandboxWaitUntilReadyTcrResponse, TaskSetNetworkAccessRequest,
    TaskSetNetworkAccessResponse,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};
use tonic::Status;

/// The port of a connect token that names none (modal-wire notes, 7.12).
const CONNECT_PORT: u16 = 8080;
/// One attempt of a readiness probe.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Its tunnels, with every address that clients may ask for.
pub(super) async fn tunnels_of(live: &Live) -> computesdk_core::Result<Vec<TunnelData>> {
    if live.spec().ports.is_empty() {
        return Ok(Vec::new());
    }
    let tunnels = live.sandbox().tunnels().await?;
    let mut found = Vec::with_capacity(tunnels.len());
    // In the order in which they were asked for.
    for asked in &live.spec().ports {
        if let Some(tunnel) = tunnels.iter().find(|tunnel| tunnel.port == asked.port) {
            found.push(data(tunnel, asked.unencrypted).await);
        }
    }
    Ok(found)
}

async fn data(tunnel: &Tunnel, is_unencrypted: bool) -> TunnelData {
    let mut data = TunnelData { container_port: u32::from(tunnel.port), ..Default::default() };
    // Clients make `https://HOST:PORT` of it also where they asked for a port without encryption.
    if let Some(tls) = tunnel.tls.as_ref().or(tunnel.plain.as_ref()) {
        (data.host, data.port) = (name(tls).await, u32::from(tls.port));
    }
    if let (true, Some(plain)) = (is_unencrypted, &tunnel.plain) {
        data.unencrypted_host = Some(name(plain).await);
        data.unencrypted_port = Some(u32::from(plain.port));
    }
    data
}

/// Names below `localhost` are better, since cookies do not tell ports apart, but not every machine looks them up.
async fn name(at: &HostPort) -> String {
    static LOOKED_UP: OnceCell<bool> = OnceCell::const_new();
    if !at.host.ends_with(".localhost") {
        return at.host.clone();
    }
    let works = LOOKED_UP.get_or_init(|| async {
        let looked_up = tokio::net::lookup_host(("computesdk.localhost", at.port));
        match timeout(Duration::from_secs(2), looked_up).await {
            Ok(Ok(mut found)) => found.any(|address| address.ip().is_loopback()),
            _ => false,
        }
    });
    if *works.await { at.host.clone() } else { String::from("localhost") }
}

pub(super) async fn tunnels(
    host: &Arc<Host>,
    call: Call,
    request: SandboxGetTunnelsRequest,
) -> Result<SandboxGetTunnelsResponse, Status> {
    match host.find(call.workspace(), &request.sandbox_id).await? {
        Found::Live(live) => Ok(SandboxGetTunnelsResponse {
            tunnels: tunnels_of(&live).await.map_err(refuse)?,
            result: live.end().as_ref().map(result),
        }),
        Found::Past(record) => {
            Ok(SandboxGetTunnelsResponse { tunnels: Vec::new(), result: record.end.as_ref().map(result) })
        }
    }
}

pub(super) async fn connect_token(
    host: &Arc<Host>,
    call: Call,
    request: SandboxCreateConnectTokenRequest,
) -> Result<SandboxCreateConnectTokenResponse, Status> {
    let live = host.running(call.workspace(), &request.sandbox_id).await?;
    let port = request.port.map_or(Ok(CONNECT_PORT), u16::try_from).ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| Status::invalid_argument("invalid `port`: give one from 1 to 65535"))?;
    let data = (!request.user_metadata.is_empty()).then_some(request.user_metadata);
    let shared = live.shares().issue(port, data).await.map_err(refuse)?;
    Ok(SandboxCreateConnectTokenResponse { url: shared.url, token: shared.token })
}

/// Asks until a sandbox is ready, or has ended.
pub(super) async fn probe(host: Arc<Host>, live: Arc<Live>) {
    let asking = async {
        loop {
            if timeout(ATTEMPT, attempt(&live)).await.unwrap_or(false) {
                return;
            }
            let interval = live.spec().probe.as_ref().map_or(100, |probe| probe.interval_ms);
            sleep(Duration::from_millis(u64::from(interval))).await;
        }
    };
    tokio::select! {
        () = asking => {
            let now = SystemTime::now();
            live.set_ready(now);
            if let Err(error) = host.state.set_ready(live.id(), now).await {
                tracing::warn!(%error, "when a sandbox became ready cannot be remembered");
            }
        }
        _ = live.ended() => {}
    }
}

async fn attempt(live: &Live) -> bool {
    let Some(probe) = &live.spec().probe else { return false };
    if let Some(port) = probe.tcp_port {
        return live.sandbox().connect(port).await.is_ok();
    }
    let mut options = ExecOptions::new(probe.argv.iter());
    (options.stdin, options.stdout, options.stderr) = (Stdio::Null, Stdio::Null, Stdio::Null);
    options.timeout = Some(ATTEMPT);
    match live.sandbox().exec(options).await {
        Ok(process) => process.wait().await.is_ok_and(computesdk_core::ExitStatus::success),
        Err(_) => false,
    }
}

async fn ready(live: &Live, seconds_given: f32) -> Result<f64, Status> {
    if live.spec().probe.is_none() {
        return Err(Status::failed_precondition(format!(
            "sandbox {} has no readiness probe: give one to create (readiness_probe)",
            live.id()
        )));
    }
    match timeout(patience(seconds_given), live.ready()).await {
        Ok(Some(at)) => Ok(seconds(at)),
        Ok(None) => Err(refuse(live.has_ended())),
        Err(_) => Err(Status::deadline_exceeded(format!("sandbox {} was not ready in time", live.id()))),
    }
}

pub(super) async fn wait_until_ready(
    host: &Arc<Host>,
    call: Call,
    request: SandboxWaitUntilReadyRequest,
) -> Result<SandboxWaitUntilReadyResponse, Status> {
    let live = host.live(call.workspace(), &request.sandbox_id).await?;
    match ready(&live, request.timeout).await {
        Ok(ready_at) => Ok(SandboxWaitUntilReadyResponse { ready_at }),
        // These clients ask again until their own time is up, and take a failure for a reason to do so four times.
        Err(status) if status.code() == tonic::Code::DeadlineExceeded => {
            Ok(SandboxWaitUntilReadyResponse { ready_at: 0.0 })
        }
        Err(status) => Err(status),
    }
}

pub(super) async fn routed_wait_until_ready(
    host: &Arc<Host>,
    claims: RouterCaller,
    request: SandboxWaitUntilReadyTcrRequest,
) -> Result<SandboxWaitUntilReadyTcrResponse, Status> {
    let live = routed(host, &claims, &request.task_id)?;
    Ok(SandboxWaitUntilReadyTcrResponse { ready_at: ready(&live, request.timeout).await? })
}

pub(super) async fn set_network(
    host: &Arc<Host>,
    claims: RouterCaller,
    request: TaskSetNetworkAccessRequest,
) -> Result<TaskSetNetworkAccessResponse, Status> {
    let live = routed_running(host, &claims, &request.task_id)?;
    let access = request.network_access.ok_or_else(|| Status::invalid_argument("`network_access` is missing"))?;
    let network = definition::network(Some(&access), false)?;
    live.sandbox().set_network(network).await.map_err(refuse)?;
    Ok(TaskSetNetworkAccessResponse {})
}
