//! What a client wants of a sandbox (modal-wire notes, 7.2 and 7.14), as what a provider is asked for. What cannot be kept is refused here,
//! by name, before anything is made.

use super::status::{plain, shown};
use crate::image::ImageConfig;
use crate::state::{PortRecord, ProbeRecord, SpecRecord};
use computesdk_core::{CreateOptions, Network, PtySize};
use computesdk_modal_proto::client::network_access::NetworkAccessType;
use computesdk_modal_proto::client::probe::ProbeOneof;
use computesdk_modal_proto::client::{self as wire, PtyInfo};
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::Status;

/// What Modal gives a sandbox that does not say.
const DEFAULT_TIMEOUT: u64 = 300;
/// The longest lifetime that Modal gives.
const LONGEST: u64 = 7 * 24 * 3600;
const CLOUDS: [&str; 4] = ["aws", "gcp", "oci", "auto"];
/// What the names of regions begin with: continents and countries.
const REGIONS: [&str; 16] =
    ["us", "eu", "ap", "uk", "ca", "jp", "me", "sa", "af", "mx", "il", "in", "au", "sg", "kr", "northamerica"];

/// What is to be made.
pub(super) struct Plan {
    pub(super) options: CreateOptions,
    pub(super) spec: SpecRecord,
    pub(super) name: Option<String>,
    /// A terminal for the main process.
    pub(super) pty: Option<PtySize>,
}

/// Reads a definition. The image's settings come first, then what the definition says.
pub(super) fn plan(
    definition: wire::Sandbox,
    image: &ImageConfig,
    secrets: BTreeMap<String, String>,
) -> Result<Plan, Status> {
    refuse_what_is_not_served(&definition)?;
    let mut options = CreateOptions::default();
    let mut spec = SpecRecord::default();

    options.env = image.env.clone();
    options.env.extend(secrets);
    if let Some(more) = &definition.environment_variables {
        options.env.extend(more.contents.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    options.cwd = definition.workdir.clone().filter(|dir| !dir.is_empty()).or_else(|| image.workdir.clone());
    let command = command(&definition.entrypoint_args, image);

    spec.timeout_secs = match u64::from(definition.timeout_secs) {
        0 => DEFAULT_TIMEOUT,
        asked if asked > LONGEST => {
            return Err(invalid("timeout", format_args!("{asked} s is too long: at most {LONGEST} s (7 days)")));
        }
        asked => asked,
    };
    options.timeout = Some(Duration::from_secs(spec.timeout_secs));
    spec.idle_timeout_secs = definition.idle_timeout_secs.map(u64::from).filter(|seconds| *seconds > 0);
    options.idle_timeout = spec.idle_timeout_secs.map(Duration::from_secs);

    resources(definition.resources.as_ref(), &mut options, &mut spec)?;
    options.network = Some(network(definition.network_access.as_ref(), definition.block_network)?);
    if !definition.inbound_cidr_allowlist.is_empty() {
        check_ranges(&definition.inbound_cidr_allowlist)?;
        options.inbound = Some(definition.inbound_cidr_allowlist);
    }
    if let Some(wire::sandbox::OpenPortsOneof::OpenPorts(ports)) = definition.open_ports_oneof {
        for port in ports.ports {
            let number = u16::try_from(port.port)
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| invalid("ports", format_args!("{} is no port: give one from 1 to 65535", port.port)))?;
            let h2 = port.tunnel_type.is_some_and(|kind| kind == i32::from(wire::TunnelType::H2));
            if spec.ports.iter().any(|known| known.port == number) {
                return Err(invalid("ports", format_args!("{number} is given twice")));
            }
            options.ports.push(number);
            if h2 {
                options.h2_ports.push(number);
            }
            spec.ports.push(PortRecord { port: number, unencrypted: port.unencrypted, h2 });
        }
    }
    spec.probe = definition.readiness_probe.map(probe).transpose()?;
    if let Some(placement) = definition.scheduler_placement {
        placement_is_known(&definition.cloud_provider_str, &placement.regions)?;
        spec.regions = placement.regions;
    } else {
        placement_is_known(&definition.cloud_provider_str, &[])?;
    }
    spec.notices.clone_from(&image.notices);

    let pty = terminal(definition.pty_info.as_ref(), &mut options.env)?;
    options.command = (!command.is_empty()).then_some(command);
    if pty.is_some() && options.idle_timeout.is_some() {
        // Its main process would count as a command that runs, so the sandbox would never be idle.
        return Err(invalid("idle_timeout", "it cannot be kept for a sandbox whose command has a terminal"));
    }
    let name = definition.name.filter(|name| !name.is_empty());
    if let Some(name) = &name {
        check_name(name)?;
    }
    Ok(Plan { options, spec, name, pty })
}

fn invalid(field: &str, problem: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("invalid `{field}`: {problem}"))
}

fn not_served(what: &str) -> Status {
    Status::unimplemented(format!("{what} cannot be had from this server; nothing was created"))
}

/// Options that mean something the server does not do. Each one would make less of a sandbox if it were passed over.
fn refuse_what_is_not_served(definition: &wire::Sandbox) -> Result<(), Status> {
    let given = [
        (!definition.mount_ids.is_empty(), "local files that are mounted (add_local_* without copy)"),
        (!definition.nfs_mounts.is_empty(), "network file systems"),
        (!definition.s3_mounts.is_empty() || !definition.cloud_bucket_mounts.is_empty(), "cloud bucket mounts"),
        (!definition.volume_mounts.is_empty(), "volumes"),
        (definition.proxy_id.as_ref().is_some_and(|id| !id.is_empty()), "proxies"),
        (definition.enable_snapshot, "memory snapshots (enable_snapshot)"),
        (definition.i6pn_enabled, "i6pn private networking"),
        (!definition.custom_domain.is_empty(), "custom domains"),
        (definition.include_oidc_identity_token, "OIDC identity tokens"),
        (definition.include_x509_svid, "X.509 identities"),
        (
            definition.outbound_policy.is_some() || definition.experimental_outbound_policy.is_some(),
            "outbound policies that rewrite requests",
        ),
        (
            definition.resources.as_ref().and_then(|resources| resources.gpu_config.as_ref()).is_some_and(has_gpu),
            "GPUs",
        ),
    ];
    if let Some((_, what)) = given.iter().find(|(is_given, _)| *is_given) {
        return Err(not_served(what));
    }
    let v1 = definition.experimental_options.iter().filter(|(_, on)| **on).map(|(name, _)| name);
    let off = |value: &str| matches!(value.to_ascii_lowercase().as_str(), "" | "false" | "none" | "0");
    let v2 = definition.experimental_options_v2.iter().filter(|(_, value)| !off(value)).map(|(name, _)| name);
    match v1.chain(v2).min() {
        None => Ok(()),
        Some(name) if name == "enable_docker" => Err(not_served("Docker inside of a sandbox (enable_docker)")),
        Some(name) => Err(not_served(&format!("the experimental option {}", shown(name)))),
    }
}

fn has_gpu(gpu: &wire::GpuConfig) -> bool {
    gpu.count > 0 || !gpu.gpu_type.is_empty()
}

/// The arguments after the image's entry point; without any, the image's own command.
fn command(arguments: &[String], image: &ImageConfig) -> Vec<String> {
    let arguments = if arguments.is_empty() { &image.cmd } else { arguments };
    image.entrypoint.iter().chain(arguments).cloned().collect()
}

/// Requests are noted: this server gives every sandbox as much as is there. Limits are kept.
fn resources(
    asked: Option<&wire::Resources>,
    options: &mut CreateOptions,
    spec: &mut SpecRecord,
) -> Result<(), Status> {
    let Some(asked) = asked else { return Ok(()) };
    (spec.milli_cpu, spec.milli_cpu_max) = (asked.milli_cpu, asked.milli_cpu_max);
    (spec.memory_mb, spec.memory_mb_max) = (asked.memory_mb, asked.memory_mb_max);
    spec.disk_mb = asked.ephemeral_disk_mb;
    let contradicts = |limit: u32, request: u32| limit > 0 && limit < request;
    if contradicts(asked.milli_cpu_max, asked.milli_cpu) {
        return Err(invalid("cpu", "the limit is lower than the request"));
    }
    if contradicts(asked.memory_mb_max, asked.memory_mb) {
        return Err(invalid("memory", "the limit is lower than the request"));
    }
    let mib = |count: u32| (count > 0).then(|| u64::from(count) << 20);
    options.resources.cpus = (asked.milli_cpu_max > 0).then(|| f64::from(asked.milli_cpu_max) / 1000.0);
    options.resources.memory_bytes = mib(asked.memory_mb_max);
    options.resources.disk_bytes = mib(asked.ephemeral_disk_mb);
    Ok(())
}

/// What a sandbox may reach.
pub(super) fn network(access: Option<&wire::NetworkAccess>, is_blocked: bool) -> Result<Network, Status> {
    let Some(access) = access.filter(|_| !is_blocked) else {
        return Ok(if is_blocked { Network::None } else { Network::Egress });
    };
    match access.network_access_type() {
        NetworkAccessType::Blocked => Ok(Network::None),
        NetworkAccessType::Unspecified | NetworkAccessType::Open => Ok(Network::Egress),
        NetworkAccessType::Allowlist => {
            check_ranges(&access.allowed_cidrs)?;
            match (access.allowed_cidrs.is_empty(), access.allowed_domains.is_empty()) {
                (true, true) => Ok(Network::None),
                (false, true) => Ok(Network::Cidr(access.allowed_cidrs.clone())),
                (true, false) => Ok(Network::Domain(access.allowed_domains.clone())),
                (false, false) => Err(not_served("a list of address ranges together with a list of names")),
            }
        }
    }
}

/// Clients look for this text (modal-wire notes, 5.1).
fn check_ranges(ranges: &[String]) -> Result<(), Status> {
    let is_range = |text: &&String| text.parse::<ipnet::IpNet>().is_ok();
    match ranges.iter().find(|text| !is_range(text)) {
        None => Ok(()),
        Some(bad) => Err(Status::invalid_argument(format!("Invalid CIDR: {}", plain(bad)))),
    }
}

fn probe(probe: wire::Probe) -> Result<ProbeRecord, Status> {
    const DEFAULT_INTERVAL: u32 = 100;
    let mut record =
        ProbeRecord { interval_ms: probe.interval_ms.unwrap_or(DEFAULT_INTERVAL).max(10), ..Default::default() };
    match probe.probe_oneof {
        Some(ProbeOneof::TcpPort(port)) => {
            let port = u16::try_from(port).ok().filter(|port| *port != 0);
            record.tcp_port = Some(port.ok_or_else(|| invalid("readiness_probe", "its port is not from 1 to 65535"))?);
        }
        Some(ProbeOneof::ExecCommand(command)) if !command.argv.is_empty() => record.argv = command.argv,
        _ => return Err(invalid("readiness_probe", "it has neither a port nor a command")),
    }
    Ok(record)
}

/// Where a sandbox would run is checked and has no further meaning here.
fn placement_is_known(cloud: &str, regions: &[String]) -> Result<(), Status> {
    if !cloud.is_empty() && !CLOUDS.contains(&cloud.to_ascii_lowercase().as_str()) {
        return Err(invalid("cloud", format_args!("{} is none of {}", shown(cloud), CLOUDS.join(", "))));
    }
    let is_known = |region: &&String| {
        let first = region.split('-').next().unwrap_or_default().to_ascii_lowercase();
        REGIONS.contains(&first.as_str()) && region.len() <= 40
    };
    match regions.iter().find(|region| !is_known(region)) {
        None => Ok(()),
        Some(bad) => Err(invalid("region", format_args!("{} is no region that Modal has", shown(bad)))),
    }
}

/// The terminal that is asked for, with the variables that tell programs of it.
pub(super) fn terminal(pty: Option<&PtyInfo>, env: &mut BTreeMap<String, String>) -> Result<Option<PtySize>, Status> {
    let Some(pty) = pty.filter(|pty| pty.enabled) else { return Ok(None) };
    let size = |given: u32, default: u16, field: &str| match given {
        0 => Ok(default),
        given => u16::try_from(given).map_err(|_| invalid(field, format_args!("{given} is too large for a terminal"))),
    };
    let default = PtySize::default();
    let size = PtySize {
        rows: size(pty.winsz_rows, default.rows, "winsz_rows")?,
        cols: size(pty.winsz_cols, default.cols, "winsz_cols")?,
    };
    let named = [("TERM", &pty.env_term), ("COLORTERM", &pty.env_colorterm), ("TERM_PROGRAM", &pty.env_term_program)];
    for (name, value) in named.into_iter().filter(|(_, value)| !value.is_empty()) {
        env.entry(name.to_owned()).or_insert_with(|| value.clone());
    }
    env.entry(String::from("TERM")).or_insert_with(|| String::from("xterm-256color"));
    Ok(Some(size))
}

/// As Modal's clients check names themselves.
pub(super) fn check_name(name: &str) -> Result<(), Status> {
    let valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.len() > 64 || name.is_empty() || !name.chars().all(valid) {
        let problem = "give 1 to 64 letters, digits, dashes, dots or underscores";
        return Err(invalid("name", format_args!("{}: {problem}", shown(name))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn plan_of(definition: wire::Sandbox) -> Result<Plan, Status> {
        plan(definition, &ImageConfig::default(), BTreeMap::new())
    }

    #[test]
    fn later_settings_win_over_the_image() {
        let image = ImageConfig {
            env: BTreeMap::from([("A".into(), "image".into()), ("B".into(), "image".into())]),
            workdir: Some("/image".into()),
            cmd: vec!["cmd".into()],
            entrypoint: vec!["entry".into()],
            ..Default::default()
        };
        let secrets = BTreeMap::from([("B".into(), "secret".into())]);
        let found = plan(wire::Sandbox::default(), &image, secrets.clone()).expect("it can be made");
        assert_eq!(found.options.env, BTreeMap::from([("A".into(), "image".into()), ("B".into(), "secret".into())]));
        assert_eq!(found.options.command, Some(vec!["entry".into(), "cmd".into()]));
        assert_eq!((found.options.cwd.as_deref(), found.spec.timeout_secs), (Some("/image"), 300));
        let definition = wire::Sandbox {
            entrypoint_args: vec!["x".into()],
            workdir: Some("/w".into()),
            timeout_secs: 9,
            ..Default::default()
        };
        let found = plan(definition, &image, secrets).expect("it can be made");
        assert_eq!(found.options.command, Some(vec!["entry".into(), "x".into()]));
        assert_eq!((found.options.cwd.as_deref(), found.options.timeout), (Some("/w"), Some(Duration::from_secs(9))));
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        let refused = |definition: wire::Sandbox| {
            let status = plan_of(definition).err().expect("refused");
            assert_eq!(status.code(), Code::Unimplemented);
            status.message().to_owned()
        };
        let gpu = wire::GpuConfig { count: 1, gpu_type: "T4".into() };
        let resources = wire::Resources { gpu_config: Some(gpu), ..Default::default() };
        assert!(refused(wire::Sandbox { resources: Some(resources), ..Default::default() }).starts_with("GPUs"));
        let options = std::collections::HashMap::from([("enable_docker".into(), "True".into())]);
        assert!(
            refused(wire::Sandbox { experimental_options_v2: options, ..Default::default() }).contains("enable_docker")
        );
        let volumes = vec![bytes::Bytes::from_static(b"\x0a\x01x")];
        assert!(refused(wire::Sandbox { volume_mounts: volumes, ..Default::default() }).starts_with("volumes"));
        // Clients always send an empty one.
        let resources = wire::Resources { gpu_config: Some(wire::GpuConfig::default()), ..Default::default() };
        assert!(plan_of(wire::Sandbox { resources: Some(resources), ..Default::default() }).is_ok());
    }

    #[test]
    fn networks_are_told_apart() {
        let of = |kind: NetworkAccessType, cidrs: &[&str], domains: &[&str]| {
            let list = |list: &[&str]| list.iter().map(|&entry| entry.into()).collect();
            let access = wire::NetworkAccess {
                network_access_type: kind.into(),
                allowed_cidrs: list(cidrs),
                allowed_domains: list(domains),
            };
            network(Some(&access), false)
        };
        assert_eq!(of(NetworkAccessType::Open, &[], &[]).expect("fine"), Network::Egress);
        assert_eq!(of(NetworkAccessType::Blocked, &[], &[]).expect("fine"), Network::None);
        assert_eq!(of(NetworkAccessType::Allowlist, &[], &[]).expect("fine"), Network::None);
        let ranges = of(NetworkAccessType::Allowlist, &["10.0.0.0/8"], &[]).expect("fine");
        assert_eq!(ranges, Network::Cidr(vec!["10.0.0.0/8".into()]));
        let bad = of(NetworkAccessType::Allowlist, &["not-an-ip/8"], &[]).expect_err("no range");
        assert_eq!((bad.code(), bad.message()), (Code::InvalidArgument, "Invalid CIDR: not-an-ip/8"));
        assert_eq!(network(None, true).expect("fine"), Network::None);
    }

    #[test]
    fn placement_is_checked_and_nothing_more() {
        let of = |cloud: &str, region: &str| {
            let regions = if region.is_empty() { vec![] } else { vec![region.into()] };
            let placement = wire::SchedulerPlacement { regions, ..Default::default() };
            let definition = wire::Sandbox {
                cloud_provider_str: cloud.into(),
                scheduler_placement: Some(placement),
                ..Default::default()
            };
            plan_of(definition).map(|_| ()).map_err(|status| status.code())
        };
        assert_eq!(of("aws", "us-east-1"), Ok(()));
        assert_eq!(of("", "us-west-2"), Ok(()));
        assert_eq!(of("invalid-cloud", ""), Err(Code::InvalidArgument));
        assert_eq!(of("", "invalid-region"), Err(Code::InvalidArgument));
    }
}
