//! The mount table and the cgroup files.

use super::Done;
use super::files::writable;
use crate::generic::{needed, not_the_first, refusal};
use crate::sys::{self, Page};
use crate::{Facts, Verdict};
use std::fs;
use std::path::Path;

pub(super) fn run(name: &str, facts: &Facts) -> Option<Done> {
    let other = |word: &'static str| move |mount: &Mount| mount.kind == word;
    Some(match name {
        "mounts_propagate" => none(|mount| mount.shared),
        "mounts_devices" => none(|mount| mount.source.starts_with("/dev/")),
        "mounts_paths" => (|| {
            let words: Vec<String> = facts.get("host.paths")?.split(',').map(str::to_owned).collect();
            // Not the targets: an interpreter is mounted where the host has it.
            none(|mount| {
                let told = [&mount.root, &mount.source, &mount.options];
                words.iter().any(|word| told.iter().any(|text| text.contains(word)))
            })
        })(),
        "mounts_overlay_paths" => none(|mount| {
            mount.options.split(',').any(|option| {
                ["lowerdir", "lowerdir+", "upperdir", "workdir"]
                    .iter()
                    .any(|name| option.strip_prefix(name).is_some_and(|rest| rest.starts_with("=/")))
            })
        }),
        "mounts_nosuid" => none(|mount| mount.is_writable_dir() && !mount.has("nosuid")),
        "mounts_nodev" => none(|mount| mount.is_writable_dir() && mount.kind != "devpts" && !mount.has("nodev")),
        "mounts_cgroup" => none(|mount| mount.kind.starts_with("cgroup")),
        "mounts_sysfs" => none(other("sysfs")),
        "mounts_debugfs" => none(|mount| {
            ["debugfs", "tracefs", "bpf", "securityfs", "configfs", "pstore", "efivarfs"].contains(&&*mount.kind)
        }),
        "self_root" => cgroup_root("/proc/self/cgroup"),
        "pid1_root" => not_the_first().and_then(|()| cgroup_root("/proc/1/cgroup")),
        "mount_v1" => Ok(mount_cgroup()),
        _ => return None,
    })
}

/// A line of `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`).
struct Mount {
    line: String,
    root: String,
    target: String,
    flags: String,
    shared: bool,
    kind: String,
    source: String,
    options: String,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let before: Vec<&str> = before.split(' ').collect();
        let mut after = after.split(' ').map(str::to_owned);
        Some(Self {
            line: line.to_owned(),
            root: (*before.get(3)?).to_owned(),
            target: (*before.get(4)?).to_owned(),
            flags: (*before.get(5)?).to_owned(),
            shared: before[6..].iter().any(|tag| tag.starts_with("shared:") || tag.starts_with("master:")),
            kind: after.next()?,
            source: after.next()?,
            options: after.next().unwrap_or_default(),
        })
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.split(',').any(|other| other == flag)
    }

    fn is_writable_dir(&self) -> bool {
        self.has("rw") && Path::new(&self.target).is_dir()
    }
}

/// Held if no mount is like this.
fn none(is_bad: impl Fn(&Mount) -> bool) -> Done {
    let text = needed("the mount table", fs::read_to_string("/proc/self/mountinfo"))?;
    let mounts: Vec<Mount> = text.lines().filter_map(Mount::parse).collect();
    Ok(match mounts.iter().find(|mount| is_bad(mount)) {
        Some(mount) => Verdict::NotHeld(mount.line.clone()),
        None => Verdict::when(!mounts.is_empty(), format!("none of {} mounts", mounts.len())),
    })
}

fn cgroup_root(path: &str) -> Done {
    let text = needed(path, fs::read_to_string(path))?;
    let other = text.lines().find(|line| !line.ends_with(":/"));
    Ok(other.map_or(Verdict::Held("every line ends in :/".into()), |line| Verdict::NotHeld(line.to_owned())))
}

fn mount_cgroup() -> Verdict {
    let Some(base) = writable() else { return Verdict::Held("no directory to mount it on".into()) };
    let dir = base.join("computesdk-cgroup");
    let _ = fs::create_dir(&dir);
    let target = Page::with(dir.as_os_str().as_encoded_bytes());
    let mut verdict = Verdict::Held(String::new());
    for (kind, data) in [("cgroup", "memory"), ("cgroup", "none,name=computesdk"), ("cgroup2", "")] {
        let [source, data] = [kind, data].map(|text| Page::with(text.as_bytes()));
        let mounted = sys::native_call(libc::SYS_mount, &[source.0, target.0, source.0, 0, data.0]);
        let worked = mounted.is_ok();
        verdict = refusal(mounted);
        if worked {
            let _ = sys::native_call(libc::SYS_umount2, &[target.0, 0]);
            break;
        }
    }
    let _ = fs::remove_dir(&dir);
    verdict
}
