//! Options that the provider does not keep: refused with kind `Unsupported` and by name, before anything is made.

use crate::check::{Failure, Outcome, refused};
use crate::context::Context;
use computesdk_core::{
    CreateOptions, ErrorKind, FileUpload, Isolation, ListFilter, Network, Runtime, SandboxId, SandboxInfo,
};
use std::collections::BTreeMap;
use std::time::Duration;

trials! { "options";
    name_is_refused[Lacks("name")],
    command_is_refused[Lacks("command")],
    image_is_refused[Lacks("image")],
    snapshot_is_refused[Lacks("snapshot")],
    ports_are_refused[Lacks("ports")],
    inbound_is_refused[Lacks("inbound")],
    files_are_refused[Lacks("files")],
    timeout_is_refused[Lacks("timeout")],
    idle_timeout_is_refused[Lacks("idle_timeout")],
    memory_is_refused[Lacks("memory")],
    cpu_is_refused[Lacks("cpu")],
    pids_is_refused[Lacks("pids")],
    disk_is_refused[Lacks("disk")],
    max_open_files_is_refused[Lacks("max_open_files")],
    gpu_is_refused[Lacks("gpu")],
    network_none_is_refused[Lacks("network=none")],
    network_egress_is_refused[Lacks("network=egress")],
    network_cidr_is_refused[Lacks("network=cidr")],
    network_domain_is_refused[Lacks("network=domain")],
    sandbox_id_is_refused[Lacks("sandbox_id")],
    runtime_is_refused[Lacks("runtime")],
    degraded_isolation_is_refused[Lacks("isolation=degraded")],
    capabilities_are_constant,
    capabilities_agree_with_the_check,
}

/// Asks for the option, and looks whether anything was made.
async fn unsupported(cx: &Context, option: &str, ask: impl FnOnce(&mut CreateOptions)) -> Outcome {
    let mark = cx.unique("mark");
    let mut options = CreateOptions::default();
    options.metadata = BTreeMap::from([("mark".to_owned(), mark)]);
    let mut filter = ListFilter::default();
    filter.metadata = options.metadata.clone();
    ask(&mut options);
    let error = refused(&format!("`{option}`"), ErrorKind::Unsupported, cx.create(options).await)?;
    let text = error.to_string();
    ensure!(text.contains(option), "the error does not name `{option}`: {text}");
    if error.context_value("option") != Some(option) {
        return Err(Failure::new(format!("the error's context does not name `{option}`: {:?}", error.context())));
    }
    if cx.capabilities.list {
        ensure_eq!(cx.provider.list(&filter).await?.len(), 0, "how many sandboxes were made");
    }
    Ok(())
}

async fn name_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "name", |options| options.name = Some("n".into())).await
}

async fn command_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "command", |options| options.command = Some(vec!["true".into()])).await
}

async fn image_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "image", |options| options.image = Some("debian:12".into())).await
}

async fn snapshot_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "snapshot", |options| options.snapshot = Some("sn-1".into())).await
}

async fn ports_are_refused(cx: &Context) -> Outcome {
    unsupported(cx, "ports", |options| options.ports = vec![8080]).await
}

async fn inbound_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "inbound", |options| options.inbound = Some(vec!["203.0.113.0/24".into()])).await
}

async fn files_are_refused(cx: &Context) -> Outcome {
    unsupported(cx, "files", |options| options.files = vec![FileUpload::new("/tmp/f", "x")]).await
}

async fn timeout_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "timeout", |options| options.timeout = Some(Duration::from_secs(60))).await
}

async fn idle_timeout_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "idle_timeout", |options| options.idle_timeout = Some(Duration::from_secs(60))).await
}

async fn memory_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "memory", |options| options.resources.memory_bytes = Some(256 << 20)).await
}

async fn cpu_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "cpu", |options| options.resources.cpus = Some(0.5)).await
}

async fn pids_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "pids", |options| options.resources.pids = Some(64)).await
}

async fn disk_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "disk", |options| options.resources.disk_bytes = Some(64 << 20)).await
}

async fn max_open_files_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "max_open_files", |options| options.resources.open_files = Some(64)).await
}

async fn gpu_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "gpu", |options| options.resources.gpu = Some("A100".into())).await
}

async fn network_none_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "network=none", |options| options.network = Some(Network::None)).await
}

async fn network_egress_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "network=egress", |options| options.network = Some(Network::Egress)).await
}

async fn network_cidr_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "network=cidr", |options| options.network = Some(Network::Cidr(vec!["192.0.2.0/24".into()]))).await
}

async fn network_domain_is_refused(cx: &Context) -> Outcome {
    let network = Network::Domain(vec!["example.org".into()]);
    unsupported(cx, "network=domain", |options| options.network = Some(network)).await
}

async fn sandbox_id_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "sandbox_id", |options| options.sandbox_id = Some(SandboxId::new("sb-1"))).await
}

async fn runtime_is_refused(cx: &Context) -> Outcome {
    for runtime in [Runtime::Python, Runtime::Node] {
        if !cx.capabilities.runtimes.contains(&runtime) {
            unsupported(cx, "runtime", |options| options.runtime = Some(runtime)).await?;
        }
    }
    Ok(())
}

async fn degraded_isolation_is_refused(cx: &Context) -> Outcome {
    unsupported(cx, "isolation=degraded", |options| options.isolation = Isolation::Degraded).await
}

async fn capabilities_are_constant(cx: &Context) -> Outcome {
    let sandbox = cx.sandbox().await?;
    let info: SandboxInfo = sandbox.get_info().await?;
    ensure_eq!(info.provider, cx.capabilities.provider, "the provider");
    ensure_eq!(cx.provider.capabilities(), cx.capabilities, "the capabilities when asked again");
    Ok(())
}

async fn capabilities_agree_with_the_check(cx: &Context) -> Outcome {
    // Whatever the provider's own check lets through must be kept: the plainest request always is.
    cx.capabilities.check(&CreateOptions::default())?;
    if let Some(runtime) = cx.capabilities.runtimes.first() {
        let mut options = CreateOptions::default();
        options.runtime = Some(*runtime);
        ensure_eq!(cx.create(options).await?.get_info().await?.runtime, *runtime, "the runtime");
    }
    Ok(())
}
