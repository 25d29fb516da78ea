//! Where this process may make groups.
//!
//! | | version 1 | version 2 |
//! |---|---|---|
//! | given by option or `COMPUTESDK_CGROUP` | below that group, in each hierarchy that has it | below that group |
//! | else | below the own group | beside the own group: its parent gives both the same controllers, and a group with processes in it cannot give any |
//!
//! Root may write everywhere. An ordinary user needs a group that was delegated: owned by them, by `systemd-run --user
//! --scope -p Delegate=yes`, or by an administrator's `mkdir` and `chown`.

use super::{Controller, Hierarchy, Version};
use crate::EngineError;
use rustix::fs::Access;
use std::path::{Path, PathBuf};

/// The environment variable that names a delegated group, as it stands in `/proc/PID/cgroup`.
pub(crate) const VARIABLE: &str = "COMPUTESDK_CGROUP";

/// The hierarchies in which groups can be made here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) hierarchies: Vec<Hierarchy>,
}

impl Places {
    /// Whether a controller can be used here.
    pub(crate) fn have(&self, controller: Controller) -> bool {
        self.hierarchies.iter().any(|hierarchy| hierarchy.controllers.contains(&controller))
    }
}

/// Looks for them; `chosen` wins over the environment.
pub(crate) fn find(chosen: Option<&Path>) -> Places {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let (mounts, own) = (read("/proc/self/mountinfo"), read("/proc/self/cgroup"));
    find_in(&mounts, &own, chosen.map(Path::to_path_buf).or_else(named).as_deref())
}

fn named() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// Refuses a group that was named and is none, or not this user's: whoever names one relies on it.
pub(crate) fn check(chosen: Option<&Path>, found: &Places) -> Result<(), EngineError> {
    let (field, group) = match (chosen, named()) {
        (Some(chosen), _) => ("cgroup", chosen.to_path_buf()),
        (None, Some(named)) => (VARIABLE, named),
        (None, None) => return Ok(()),
    };
    if !found.hierarchies.is_empty() {
        return Ok(());
    }
    let problem = format!("{} is no control group in which this user can make others", group.display());
    Err(EngineError::Invalid { field, problem })
}

/// A mounted hierarchy.
struct Mount {
    version: Version,
    /// Which group of the hierarchy is seen at `point`.
    root: String,
    point: PathBuf,
    /// Names of its controllers (version 1).
    controllers: Vec<String>,
}

pub(super) fn find_in(mountinfo: &str, own: &str, chosen: Option<&Path>) -> Places {
    let mut hierarchies = Vec::new();
    let mut taken = Vec::new();
    for mount in mountinfo.lines().filter_map(parse_mount) {
        let Some((dir, controllers)) = place(&mount, own, chosen) else { continue };
        let controllers: Vec<_> = controllers.into_iter().filter(|one| !taken.contains(one)).collect();
        if controllers.is_empty() || !is_writable(&dir) {
            continue;
        }
        taken.extend(&controllers);
        hierarchies.push(Hierarchy { version: mount.version, dir, controllers });
    }
    // The one that matters most first; the order is that of the launcher's messages.
    hierarchies.sort_by(|a, b| a.controllers.cmp(&b.controllers));
    Places { hierarchies }
}

/// Where groups would be made in this hierarchy, and what they could do.
fn place(mount: &Mount, own: &str, chosen: Option<&Path>) -> Option<(PathBuf, Vec<Controller>)> {
    match mount.version {
        Version::One => {
            let controllers: Vec<_> = mount.controllers.iter().filter_map(|name| controller_of(name)).collect();
            let group = own.lines().find_map(|line| {
                let (names, path) = line.split_once(':')?.1.split_once(':')?;
                names.split(',').any(|name| mount.controllers.iter().any(|other| other == name)).then_some(path)
            });
            let dir = match chosen {
                Some(chosen) => existing(mount, chosen)?,
                None => visible(mount, group?),
            };
            (!controllers.is_empty()).then_some((dir, controllers))
        }
        Version::Two => {
            let dir = match chosen {
                Some(chosen) => existing(mount, chosen)?,
                None => {
                    let group = own.lines().find_map(|line| line.strip_prefix("0::"))?;
                    let dir = visible(mount, group);
                    if dir == mount.point { dir } else { dir.parent()?.to_path_buf() }
                }
            };
            let controllers = enable(&dir, &[Controller::Memory, Controller::Pids, Controller::Cpu]);
            (!controllers.is_empty()).then_some((dir, controllers))
        }
    }
}

/// The group that the user named, in this hierarchy. A path below the mount point is understood too.
fn existing(mount: &Mount, chosen: &Path) -> Option<PathBuf> {
    let relative = chosen.strip_prefix(&mount.point).or_else(|_| chosen.strip_prefix("/")).unwrap_or(chosen);
    let dir = mount.point.join(relative);
    // Not out of the hierarchy.
    let inside = relative.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    (inside && dir.is_dir()).then_some(dir)
}

/// Where a group of the hierarchy is seen. In a container the mount may begin below the root, or the path may be one of
/// another namespace: then the mount's own root is the best there is.
fn visible(mount: &Mount, group: &str) -> PathBuf {
    let below = if mount.root == "/" { Some(group) } else { group.strip_prefix(mount.root.as_str()) };
    let dir = below.map(|below| mount.point.join(below.trim_start_matches('/')));
    dir.filter(|dir| dir.is_dir()).unwrap_or_else(|| mount.point.clone())
}

fn is_writable(dir: &Path) -> bool {
    rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// `proc_pid_mountinfo(5)`: id, parent, device, root, mount point, options, optional fields, `-`, type, source, options.
fn parse_mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (unescape(before.next()?), unescape(before.next()?));
    let mut after = after.split(' ');
    let version = match after.next()? {
        "cgroup" => Version::One,
        "cgroup2" => Version::Two,
        _ => return None,
    };
    let controllers = after.nth(1)?.split(',').map(str::to_owned).collect();
    Some(Mount { version, root, point: PathBuf::from(point), controllers })
}

/// Blanks in paths stand as `\040`.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

fn controller_of(name: &str) -> Option<Controller> {
    Some(match name {
        "memory" => Controller::Memory,
        "pids" => Controller::Pids,
        "cpu" => Controller::Cpu,
        "cpuacct" => Controller::CpuAccounting,
        _ => return None,
    })
}

/// Version 2: has the groups below `dir` get these controllers, as far as they can be had, and returns them.
pub(super) fn enable(dir: &Path, wanted: &[Controller]) -> Vec<Controller> {
    let names = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap_or_default();
    let has = |text: &str, name: &str| text.split_whitespace().any(|word| word == name);
    let offered = names("cgroup.controllers");
    let mut given = names("cgroup.subtree_control");
    for name in wanted.iter().filter_map(|controller| name_of(*controller)) {
        if has(&offered, name) && !has(&given, name) {
            // One at a time: a refused one must not take the others with it.
            let _ = std::fs::write(dir.join("cgroup.subtree_control"), format!("+{name}"));
        }
    }
    given = names("cgroup.subtree_control");
    let mut found: Vec<_> =
        wanted.iter().copied().filter(|one| name_of(*one).is_some_and(|name| has(&given, name))).collect();
    if !found.is_empty() && !found.contains(&Controller::CpuAccounting) {
        // Every group of version 2 has a `cpu.stat`.
        found.push(Controller::CpuAccounting);
    }
    found
}

fn name_of(controller: Controller) -> Option<&'static str> {
    match controller {
        Controller::Memory => Some("memory"),
        Controller::Pids => Some("pids"),
        Controller::Cpu => Some("cpu"),
        Controller::CpuAccounting => None,
    }
}

/// What to do where a limit cannot be kept.
pub(crate) fn advice() -> String {
    if rustix::process::geteuid().is_root() {
        return format!(
            "no control group can be made here: mount one writable (in a container: `--privileged`, or \
             `--cgroupns=host` with `/sys/fs/cgroup` writable), or name one with {VARIABLE}"
        );
    }
    format!(
        "an ordinary user needs a delegated control group: start the program by `systemd-run --user --scope -p \
         Delegate=yes`, or have an administrator make a group that belongs to you and name it with {VARIABLE}"
    )
}
