//! What a sandbox has used.

use super::host::{Call, Host};
use super::status::refuse;
use crate::live::sandbox::Live;
use computesdk_modal_proto::client::{
    SandboxGetResourceUsageRequest, SandboxGetResourceUsageResponse, SandboxGetStatsRequest, SandboxGetStatsResponse,
    sandbox_get_stats_response::ResourceStats,
};
use prost_types::Timestamp;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tonic::Status;

const GIB: f64 = (1_u64 << 30) as f64;

/// Time of the processors, and the peak of memory over the whole life: what a provider can tell.
async fn used(live: &Live) -> Result<(Duration, f64, Duration), Status> {
    let usage = live.sandbox().usage().await.map_err(refuse)?;
    let age = SystemTime::now().duration_since(live.identity().created_at).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "of memory in GiB nobody needs sixteen digits")]
    let memory = usage.peak_memory_bytes.unwrap_or(0) as f64 / GIB;
    Ok((usage.cpu_time.unwrap_or_default(), memory, age))
}

pub(super) async fn resource_usage(
    host: &Arc<Host>,
    call: Call,
    request: SandboxGetResourceUsageRequest,
) -> Result<SandboxGetResourceUsageResponse, Status> {
    let live = host.live(call.workspace(), &request.sandbox_id).await?;
    let (cpu, memory, age) = used(&live).await?;
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Ok(SandboxGetResourceUsageResponse {
        cpu_core_nanosecs: nanos(cpu),
        mem_gib_nanosecs: nanos(Duration::try_from_secs_f64(memory * age.as_secs_f64()).unwrap_or(Duration::MAX)),
        gpu_nanosecs: 0,
        gpu_type: None,
    })
}

pub(super) async fn stats(
    host: &Arc<Host>,
    call: Call,
    request: SandboxGetStatsRequest,
) -> Result<SandboxGetStatsResponse, Status> {
    let live = host.live(call.workspace(), &request.sandbox_id).await?;
    let (cpu, memory, age) = used(&live).await?;
    let cores = cpu.as_secs_f64() / age.as_secs_f64().max(1e-9);
    let of = |value: f64| Some(ResourceStats { percentiles: Vec::new(), mean: value, max: value });
    Ok(SandboxGetStatsResponse {
        num_datapoints: 1,
        cpu_cores: of(cores),
        memory_gib: of(memory),
        duration_hours: age.as_secs_f64() / 3600.0,
        // Nobody is billed here: what was used.
        billed_cpu_core_seconds: cpu.as_secs_f64(),
        billed_memory_gib_seconds: memory * age.as_secs_f64(),
        since: Some(Timestamp::from(live.identity().created_at)),
        until: Some(Timestamp::from(SystemTime::now())),
        ..Default::default()
    })
}
