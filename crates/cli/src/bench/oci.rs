//! The bundle that container runtimes are given: this machine's `/usr`, read-only, and a program to run.
//!
//! The form is that of `runc spec` (<https://github.com/opencontainers/runtime-spec>), with the limits that our own sandboxes
//! have.

use super::ECHO;
use super::machine::Limits;
use super::scratch::Scratch;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// What stands beside `/usr` on most machines as links into it, and as directories on others.
pub(crate) const BESIDE_USR: [&str; 4] = ["/bin", "/lib", "/lib64", "/sbin"];

/// The period that CPU quotas are of, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

/// Makes it in a fresh directory, as `bundle`.
pub(crate) fn bundle(limits: &Limits) -> io::Result<Scratch> {
    let scratch = Scratch::anywhere()?;
    let root = scratch.path("bundle/rootfs");
    for dir in ["usr", "proc", "dev", "sys", "tmp", "etc"] {
        fs::create_dir_all(root.join(dir))?;
    }
    let mut binds = vec![String::from("/usr")];
    for name in BESIDE_USR {
        let place = root.join(name.trim_start_matches('/'));
        match fs::read_link(name) {
            Ok(target) => symlink(target, place)?,
            Err(_) if Path::new(name).is_dir() => {
                fs::create_dir(place)?;
                binds.push(name.to_owned());
            }
            Err(_) => {}
        }
    }
    fs::write(scratch.path("bundle/config.json"), serde_json::to_vec(&config(&binds, limits))?)?;
    Ok(scratch)
}

fn config(binds: &[String], limits: &Limits) -> Value {
    let mount = |at: &str, kind: &str, options: &[&str]| json!({ "destination": at, "type": kind, "source": kind, "options": options });
    let mut mounts = vec![
        mount("/proc", "proc", &[]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/tmp", "tmpfs", &["nosuid", "nodev"]),
    ];
    mounts.extend(
        binds.iter().map(|at| json!({ "destination": at, "type": "bind", "source": at, "options": ["rbind", "ro"] })),
    );
    let mut resources = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    if let Some(bytes) = limits.memory_bytes {
        resources["memory"] = json!({ "limit": bytes });
    }
    if let Some(pids) = limits.pids {
        resources["pids"] = json!({ "limit": pids });
    }
    if let Some(cpus) = limits.cpus {
        resources["cpu"] = json!({ "quota": (cpus * PERIOD as f64) as u64, "period": PERIOD });
    }
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({ "type": kind }));
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ECHO,
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "bench",
        "mounts": mounts,
        "linux": {
            "resources": resources,
            "namespaces": namespaces,
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}
