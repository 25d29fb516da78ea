//! How the launcher comes to the privilege of making sandboxes.
//!
//! Root has it. An ordinary user's launcher moves into **one** user namespace of its own, in which it is root; every
//! sandbox then gets a namespace below it. Ids come from `newuidmap` (a range of subordinate ids) or there is just one.

use super::create::write_proc;
use super::step;
use crate::sys::{self, Forked};
use computesdk_guest_protocol::launcher::{Failure, Init, Privilege};
use rustix::fd::OwnedFd;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, getgid, getuid};
use rustix::thread::UnshareFlags;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

pub(super) fn acquire(init: &Init) -> Result<(), Failure> {
    match init.privilege {
        Privilege::Root => Ok(()),
        Privilege::SingleId => {
            let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
            enter()?;
            // user_namespaces(7): without privilege, the group map needs setgroups to be denied first.
            write_proc("/proc/self/setgroups", "deny")?;
            // Not 0: the sandbox's root is then mapped to nobody's root, as on the other rungs.
            write_proc("/proc/self/uid_map", &format!("1 {uid} 1"))?;
            write_proc("/proc/self/gid_map", &format!("1 {gid} 1"))
        }
        Privilege::SubordinateIds => subordinate(init),
    }
}

fn enter() -> Result<(), Failure> {
    step("make a user namespace", sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS))
}

/// `newuidmap` must be started from the outer namespace, where it is privileged: a helper is forked first, and told
/// when there is a namespace to map.
fn subordinate(init: &Init) -> Result<(), Failure> {
    let (go_read, go_write) = step("make a pipe", pipe_with(PipeFlags::CLOEXEC))?;
    let (said_read, said_write) = step("make a pipe", pipe_with(PipeFlags::CLOEXEC))?;
    let launcher = std::process::id();
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let helper = match step("fork a helper", sys::fork())? {
        Forked::Child => {
            drop((go_write, said_read));
            help(init, launcher, (uid, gid), &go_read, &said_write);
            // Nothing of the launcher, whose copy this is, may run here.
            sys::exit_now();
        }
        Forked::Parent(pid) => pid,
    };
    drop((go_read, said_write));
    enter()?;
    step("tell the helper to map ids", rustix::io::write(&go_write, b"g").map(drop))?;
    drop(go_write);
    let mut said = vec![0; 4096];
    let n = rustix::io::read(&said_read, &mut said).unwrap_or(0);
    let _ = rustix::process::waitpid(Pid::from_raw(helper), WaitOptions::empty());
    if n == 0 {
        return Ok(());
    }
    Err(Failure {
        step: String::from("map subordinate ids with newuidmap and newgidmap"),
        errno: 0,
        detail: String::from_utf8_lossy(&said[..n]).trim().to_owned(),
    })
}

/// Runs in the helper. Says nothing if all went well.
fn help(init: &Init, launcher: u32, own: (u32, u32), go: &OwnedFd, said: &OwnedFd) {
    // No byte: the launcher gave up.
    if !matches!(rustix::io::read(go, &mut [0_u8]), Ok(1)) {
        return;
    }
    let maps = [(&init.map_programs.0, own.0, init.subuid), (&init.map_programs.1, own.1, init.subgid)];
    for (program, own, (first, count)) in maps {
        // Inside: 0 is the user, 1 and up are the subordinate ids.
        let output = std::process::Command::new(OsStr::from_bytes(program))
            .args([launcher, 0, own, 1, 1, first, count].map(|number| number.to_string()))
            .stdin(std::process::Stdio::null())
            .output();
        let complaint = match output {
            Ok(output) if output.status.success() => continue,
            Ok(output) => format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
            Err(error) => format!("{}: {error}", String::from_utf8_lossy(program)),
        };
        let _ = rustix::io::write(said, complaint.as_bytes());
        return;
    }
}
