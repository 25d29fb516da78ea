//! A sandbox's root file system, built by its first process in its own mount namespace.
//!
//! ```text
//! staging (tmpfs, the writable part; on a directory of the host, seen by nobody else)
//!   l/I_J   lower directory J of layer I, attached from the launcher's detached mounts
//!   u/I w/I upper and work directory of layer I
//!   b       the sandbox's boot id
//!   r       the new root: layer 0 at /, the others at their targets, then /proc, /dev, /sys
//! ```
//!
//! All paths are relative to the staging directory and short, because `/proc/self/mountinfo` shows overlay's options
//! to the sandbox: nothing of the host's paths is in them. At the end the root is pivoted and the old one detached.

use super::{failure, step};
use crate::sys;
use computesdk_guest_protocol::launcher::{Create, Failure, Layer, Policy};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount_bind, move_mount, unmount,
};
use rustix::process::{Gid, Uid};
use std::ffi::CString;

/// Directories of the host on which the staging file system can be put, in our own mount namespace. `/proc` must stay
/// visible until the sandbox has its own (`user_namespaces(7)`: a fresh proc needs a fully visible one).
const STAGING: [&str; 5] = ["/tmp", "/run", "/mnt", "/var/tmp", "/srv"];

/// Leaves out the parts of `/proc` that need no cover: those that this kernel does not have, and those that are closed
/// already, because they belong to the host's root, who is mapped in no sandbox, and are not for everybody. Found out once,
/// as it is the same in every `/proc` of a kernel.
pub(super) fn leave_out_closed(policy: &mut Policy) {
    // One that shows processes only (`subset=pid`) tells nothing about the others.
    let shows_all = rustix::fs::stat("/proc/meminfo").is_ok();
    let needs_cover = |name: &String| match rustix::fs::stat(format!("/proc/{name}")) {
        Ok(stat) => stat.st_mode & 0o004 != 0,
        Err(Errno::NOENT) => !shows_all,
        Err(_) => true,
    };
    policy.proc_masked_files.retain(needs_cover);
    policy.proc_masked_dirs.retain(needs_cover);
    policy.proc_read_only.retain(|name| !shows_all || rustix::fs::stat(format!("/proc/{name}")).is_ok());
}

pub(super) fn build(create: &Create, policy: &Policy, trees: &[OwnedFd]) -> Result<(), Failure> {
    step("make the mounts private", sys::make_private())?;
    stage(create.disk_bytes)?;
    let mut trees = trees.iter();
    for (index, layer) in create.layers.iter().enumerate() {
        attach_layer(index, layer, create.ids.1, &mut trees)?;
    }
    // /dev first: its null device covers files of /proc.
    dev(policy)?;
    sys_directory()?;
    proc(policy, create.without_proc)?;
    enter()
}

fn stage(bytes: u64) -> Result<(), Failure> {
    let mut options = vec![("mode", String::from("0755"))];
    if bytes > 0 {
        options.push(("size", bytes.to_string()));
    }
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = new_mount("tmpfs", &options, &[], attributes)?;
    let place = STAGING.iter().find(|path| {
        rustix::fs::stat(**path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    });
    let place = place.ok_or_else(|| failure("find a directory to build the root on", Errno::NOENT))?;
    attach(&mount, place)?;
    step("enter the staging directory", rustix::process::chdir(*place))?;
    for name in ["l", "u", "w", "r"] {
        make_dir(name, 0o755)?;
    }
    Ok(())
}

fn attach_layer<'a>(
    index: usize,
    layer: &Layer,
    ids: u32,
    trees: &mut impl Iterator<Item = &'a OwnedFd>,
) -> Result<(), Failure> {
    let mut lowers = Vec::new();
    for (number, tree) in trees.take(layer.lowers.len()).enumerate() {
        let name = format!("l/{index}_{number}");
        make_dir(&name, 0o755)?;
        attach(tree, &name)?;
        lowers.push(name);
    }
    let (upper, work) = (format!("u/{index}"), format!("w/{index}"));
    make_dir(&upper, 0o755)?;
    make_dir(&work, 0o755)?;
    for owned in &layer.owned {
        let path = format!("{upper}/{}", owned.path);
        make_dirs(&path, owned.mode)?;
        if owned.owner != 0 && owned.owner < ids {
            let (uid, gid) = (Uid::from_raw(owned.owner), Gid::from_raw(owned.owner));
            step(format!("set the owner of {path}"), rustix::fs::chown(&*path, Some(uid), Some(gid)))?;
        }
    }
    let options = [("lowerdir", lowers.join(":")), ("upperdir", upper), ("workdir", work)];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    // overlay(5): attributes of its own go to user.* where trusted.* needs privilege over the host.
    let mount = new_mount("overlay", &options, &["userxattr"], attributes).map_err(|mut failure| {
        failure.step = format!("{} for {}", failure.step, layer.target);
        failure
    })?;
    attach(&mount, &format!("r{}", layer.target))
}

fn dev(policy: &Policy) -> Result<(), Failure> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let options = [("mode", String::from("0755")), ("size", String::from("64m"))];
    // The devices are mounts of their own; one that is made here is none.
    let no_devices = attributes | MountAttrFlags::MOUNT_ATTR_NODEV;
    attach(&new_mount("tmpfs", &options, &[], no_devices)?, "r/dev")?;
    for name in &policy.devices {
        let (source, target) = (format!("/dev/{name}"), format!("r/dev/{name}"));
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        step(format!("make {target}"), rustix::fs::open(&*target, flags, Mode::from_raw_mode(0o666)))?;
        step(format!("bind {source}"), mount_bind(&*source, &*target))?;
    }
    make_dir("r/dev/pts", 0o755)?;
    make_dir("r/dev/shm", 0o1777)?;
    // devpts: an instance of its own, so that no terminal of the host is in it. Group 5 is `tty`.
    let mut options = vec![("ptmxmode", String::from("0666")), ("mode", String::from("0620"))];
    if has_group(5) {
        options.push(("gid", String::from("5")));
    }
    attach(&new_mount("devpts", &options, &[], attributes)?, "r/dev/pts")?;
    for (name, target) in &policy.device_links {
        step(format!("link /dev/{name}"), rustix::fs::symlink(&**target, format!("r/dev/{name}")))?;
    }
    Ok(())
}

/// Whether this user namespace maps a group id.
fn has_group(gid: u32) -> bool {
    std::fs::read_to_string("/proc/self/gid_map").is_ok_and(|map| {
        map.lines().any(|line| {
            let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
            matches!((numbers.next(), numbers.nth(1)), (Some(first), Some(count)) if gid >= first && gid - first < count)
        })
    })
}

fn proc(policy: &Policy, may_be_missing: bool) -> Result<(), Failure> {
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    match new_mount("proc", &[], &[], attributes).and_then(|mount| attach(&mount, "r/proc")) {
        Ok(()) => {}
        Err(_) if may_be_missing => return Ok(()),
        Err(failure) => return Err(failure),
    }
    for name in &policy.proc_read_only {
        let path = format!("r/proc/{name}");
        if bind_if_present(&path, &path)? {
            let c_path = CString::new(path.clone()).map_err(|_| failure(path.clone(), Errno::INVAL))?;
            step(format!("make {path} read-only"), sys::set_read_only(&c_path))?;
        }
    }
    for name in &policy.proc_masked_files {
        bind_if_present("r/dev/null", &format!("r/proc/{name}"))?;
    }
    // By the directory that is empty and read-only already.
    for name in &policy.proc_masked_dirs {
        bind_if_present("r/sys", &format!("r/proc/{name}"))?;
    }
    // This process will be the agent. It is closed to inspection, but for the names of its descriptors, which the owner
    // of a process's files may always list (`proc_pid_fd(5)`).
    for path in ["r/proc/1/fd", "r/proc/1/task/1/fd"] {
        bind_if_present("r/sys", path)?;
    }
    boot_id()
}

/// A boot id of the sandbox's own (`random(4)`): the host's is the same in every sandbox and stays until it reboots. It
/// is a file of the staging directory, which nobody sees.
fn boot_id() -> Result<(), Failure> {
    let mut random = [0_u8; 16];
    let path = "r/proc/sys/kernel/random/boot_id";
    step("get random bytes", rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()))?;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    // Version 4 and variant 1 of RFC 9562, as the kernel's.
    let id = format!("{}-{}-4{}-a{}-{}\n", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..]);
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = step("make a boot id", rustix::fs::open(BOOT_ID, flags, Mode::from_raw_mode(0o444)))?;
    step("write the boot id", rustix::io::write(&file, id.as_bytes()))?;
    if bind_if_present(BOOT_ID, path)? {
        let c_path = CString::new(path).map_err(|_| failure(path, Errno::INVAL))?;
        step("make the boot id read-only", sys::set_read_only(&c_path))?;
    }
    Ok(())
}

/// Where it is, in the staging directory.
const BOOT_ID: &str = "b";

fn bind_if_present(source: &str, target: &str) -> Result<bool, Failure> {
    match mount_bind(source, target) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(failure(format!("cover {target}"), errno)),
    }
}

/// `/sys` is there, empty and read-only.
fn sys_directory() -> Result<(), Failure> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_RDONLY;
    let options = [("mode", String::from("0555")), ("size", String::from("4k"))];
    attach(&new_mount("tmpfs", &options, &[], attributes)?, "r/sys")
}

/// `pivot_root(2)`, the form without a directory for the old root: both are stacked, and the old one is detached.
fn enter() -> Result<(), Failure> {
    step("enter the new root", rustix::process::chdir("r"))?;
    step("pivot the root", rustix::process::pivot_root(".", "."))?;
    step("detach the old root", unmount(".", UnmountFlags::DETACH))?;
    step("go to the root", rustix::process::chdir("/"))
}

/// A new file system, mounted nowhere yet. What the kernel said about it goes into the failure.
fn new_mount(
    kind: &str,
    options: &[(&str, String)],
    flags: &[&str],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Failure> {
    let fs = step(format!("open a {kind} file system"), fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC))?;
    let configured = options
        .iter()
        .try_for_each(|(key, value)| fsconfig_set_string(&fs, *key, &**value))
        .and_then(|()| flags.iter().try_for_each(|flag| fsconfig_set_flag(&fs, *flag)))
        .and_then(|()| fsconfig_create(&fs))
        .and_then(|()| fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes));
    configured.map_err(|errno| {
        // fsopen(2): messages are read from the context; the read overwrites errno, hence after.
        let mut said = [0; 1024];
        let n = rustix::io::read(&fs, &mut said).unwrap_or(0);
        Failure {
            step: format!("mount {kind}"),
            errno: errno.raw_os_error(),
            detail: String::from_utf8_lossy(&said[..n]).trim().to_owned(),
        }
    })
}

fn attach(mount: impl AsFd, path: &str) -> Result<(), Failure> {
    step(
        format!("attach a mount at {}", path.strip_prefix('r').filter(|p| p.starts_with('/')).unwrap_or(path)),
        move_mount(mount, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH),
    )
}

fn make_dir(path: &str, mode: u32) -> Result<(), Failure> {
    step(format!("make the directory {path}"), rustix::fs::mkdir(path, Mode::from_raw_mode(mode)))
}

/// Makes a directory with its parents; the last one gets `mode`.
fn make_dirs(path: &str, mode: u32) -> Result<(), Failure> {
    let mut end = 0;
    while let Some(next) = path[end..].find('/') {
        end += next + 1;
        match rustix::fs::mkdir(&path[..end], Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failure(format!("make the directory {}", &path[..end]), errno)),
        }
    }
    match rustix::fs::mkdir(path, Mode::from_raw_mode(mode)) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => step(
            format!("set the mode of {path}"),
            rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty()),
        ),
        Err(errno) => Err(failure(format!("make the directory {path}"), errno)),
    }
}
