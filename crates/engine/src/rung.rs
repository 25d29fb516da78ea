//! The ladder: how strong the isolation can be on this host.
//!
//! | rung | needs | |
//! |---|---|---|
//! | A | root with `CAP_SYS_ADMIN` | every sandbox has ids of its own, and its root owns the image |
//! | B | an ordinary user with subordinate ids and `newuidmap` | 65536 ids in a sandbox, none of them the user's |
//! | C | an ordinary user | one id in a sandbox: the user's |
//! | D | as A to C, but the kernel refuses a fresh `/proc` (in containers) | `/proc` stays empty; only when asked for |
//!
//! Found out by doing: the first of A, B, C in which a sandbox can really be made is taken.

use computesdk_guest_protocol::launcher::Privilege;
use rustix::process::{geteuid, getuid};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// How strong the isolation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Rung {
    /// Root.
    A,
    /// Rootless with subordinate ids.
    B,
    /// Rootless with a single id.
    C,
    /// Without a `/proc` of its own. Only when the caller asked for less.
    D,
}

impl Rung {
    /// The letter with what it stands for.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::A => "A (root)",
            Self::B => "B (rootless, subuid)",
            Self::C => "C (rootless, single id)",
            Self::D => "D (degraded: empty /proc)",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One way to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) privilege: PrivilegeName,
    pub(crate) idmapped: bool,
    pub(crate) without_proc: bool,
}

/// [`Privilege`], as it stands in the cache file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PrivilegeName {
    Root,
    SubordinateIds,
    SingleId,
}

impl Attempt {
    pub(crate) fn rung(&self) -> Rung {
        match (self.without_proc, self.privilege) {
            (true, _) => Rung::D,
            (false, PrivilegeName::Root) => Rung::A,
            (false, PrivilegeName::SubordinateIds) => Rung::B,
            (false, PrivilegeName::SingleId) => Rung::C,
        }
    }

    pub(crate) fn privilege(&self) -> Privilege {
        match self.privilege {
            PrivilegeName::Root => Privilege::Root,
            PrivilegeName::SubordinateIds => Privilege::SubordinateIds,
            PrivilegeName::SingleId => Privilege::SingleId,
        }
    }
}

/// What is worth trying here, best first, and why the rest is not.
pub(crate) fn attempts(degraded: bool) -> (Vec<Attempt>, Vec<crate::RungFailure>) {
    let mut attempts = Vec::new();
    let mut failures = Vec::new();
    let attempt = |privilege, idmapped| Attempt { privilege, idmapped, without_proc: false };
    if geteuid().is_root() {
        // Without idmapped mounts (a root file system that is an overlay itself) the isolation is the same; the image's
        // files then belong to nobody.
        attempts.extend([attempt(PrivilegeName::Root, true), attempt(PrivilegeName::Root, false)]);
    } else {
        failures.push(crate::RungFailure { rung: Rung::A.label(), why: String::from("it needs root"), hint: None });
        match Subordinate::find() {
            Ok(_) => attempts.push(attempt(PrivilegeName::SubordinateIds, false)),
            Err((why, hint)) => {
                failures.push(crate::RungFailure { rung: Rung::B.label(), why, hint: Some(hint) });
            }
        }
    }
    attempts.push(attempt(PrivilegeName::SingleId, false));
    if degraded {
        let without: Vec<_> = attempts.iter().map(|a| Attempt { without_proc: true, ..a.clone() }).collect();
        attempts.extend(without);
    }
    (attempts, failures)
}

/// The subordinate ids of this user (`subuid(5)`), and the programs that map them.
#[derive(Debug, Clone)]
pub(crate) struct Subordinate {
    pub(crate) uids: (u32, u32),
    pub(crate) gids: (u32, u32),
    pub(crate) programs: (PathBuf, PathBuf),
}

impl Subordinate {
    /// Finds them, or says what is missing and what to do.
    pub(crate) fn find() -> Result<Self, (String, String)> {
        let package =
            || String::from("install the package `uidmap` (Debian, Ubuntu) or `shadow-utils` (Fedora) for newuidmap");
        let program = |name: &str| find_program(name).ok_or_else(|| (format!("{name} is not installed"), package()));
        let programs = (program("newuidmap")?, program("newgidmap")?);
        let uid = getuid().as_raw();
        let user = user_name(uid);
        let range = |file: &str, id: u32| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            subordinate_range(&text, user.as_deref(), id).ok_or_else(|| {
                let name = user.clone().unwrap_or_else(|| uid.to_string());
                (
                    format!("{file} gives this user no range of {} ids", crate::ids::COUNT),
                    format!("as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"),
                )
            })
        };
        Ok(Self { uids: range("/etc/subuid", uid)?, gids: range("/etc/subgid", uid)?, programs })
    }
}

/// The first range of at least 65536 ids of a user in `subuid(5)` format.
fn subordinate_range(text: &str, user: Option<&str>, uid: u32) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        let is_mine = Some(owner) == user || owner == uid.to_string();
        let (first, count) = (first.parse().ok()?, count.parse().ok()?);
        (is_mine && count >= crate::ids::COUNT).then_some((first, count))
    })
}

fn user_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

/// A program in the places where system programs are, not on the caller's `PATH`: it runs with privilege.
fn find_program(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"]
        .iter()
        .map(|dir| PathBuf::from(dir).join(name))
        .find(|path| path.is_file())
}

/// What to do about an attempt that failed, from what the kernel said.
pub(crate) fn advise(step: &str, errno: i32) -> Option<String> {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") && !geteuid().is_root() {
        return Some(String::from(
            "user namespaces are restricted by AppArmor: run as root, or, as root, \
             `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or choose another provider",
        ));
    }
    if read("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return Some(String::from("user namespaces are off: as root, `sysctl -w kernel.unprivileged_userns_clone=1`"));
    }
    if read("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        return Some(String::from("user namespaces are off: as root, `sysctl -w user.max_user_namespaces=15000`"));
    }
    if step.contains("proc") && errno == libc::EPERM {
        return Some(String::from(
            "this looks like a container whose /proc is partly covered: start it with `--privileged` or \
             `--security-opt systempaths=unconfined`, or accept an empty /proc with `--isolation degraded`",
        ));
    }
    if step.contains("overlay") {
        return Some(String::from(
            "overlayfs in a user namespace needs Linux 5.11 and a kernel with overlayfs (`modprobe overlay` as root)",
        ));
    }
    if step.contains("namespace") && matches!(errno, libc::EPERM | libc::ENOSYS | libc::ENOSPC | libc::EUSERS) {
        return Some(String::from(
            "in a container: start it with `--privileged`, or with seccomp and AppArmor unconfined \
             (`--security-opt seccomp=unconfined --security-opt apparmor=unconfined \
             --security-opt systempaths=unconfined`)",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_by_name_or_number_and_only_large_ones() {
        let text = "other:1:65536\nme:100000:1000\nme:200000:65536\n4711:300000:70000\n";
        assert_eq!(subordinate_range(text, Some("me"), 1), Some((200_000, 65_536)));
        assert_eq!(subordinate_range(text, None, 4711), Some((300_000, 70_000)));
        assert_eq!(subordinate_range(text, Some("nobody"), 9), None);
    }

    #[test]
    fn degraded_ways_come_last_and_only_when_asked_for() {
        assert!(attempts(false).0.iter().all(|attempt| !attempt.without_proc));
        let (ways, _) = attempts(true);
        assert_eq!(ways.last().map(Attempt::rung), Some(Rung::D));
        assert_ne!(ways.first().map(Attempt::rung), Some(Rung::D));
    }
}
