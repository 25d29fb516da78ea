//! A sandbox's first process, from its clone to the moment it becomes the agent.
//!
//! The order matters: identity before anything is created, mounts while there is privilege, then everything that takes
//! privilege away, the filters last. What fails is written to the status pipe, and the process exits.

use super::create::{PREPARED, Parts, may_set_groups};
use super::{rootfs, step};
use crate::sys;
use computesdk_guest_protocol::launcher::{Create, Failure, Policy, Privilege};
use computesdk_guest_protocol::{AGENT_FD, encode};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::thread::{Gid, Uid, UnshareFlags};

/// Becomes the agent, or says why not and exits.
pub(super) fn run(create: &Create, policy: &Policy, privilege: Privilege, parts: &Parts<'_>) -> ! {
    // Out of the range that the agent's descriptors are laid into below.
    let Ok(status) = rustix::io::fcntl_dupfd_cloexec(parts.status, 16) else { sys::exit_now() };
    let failure = match prepare(create, policy, privilege, parts) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    if let Ok(bytes) = encode(&failure) {
        let _ = rustix::io::write(&status, &bytes);
    }
    // Not `exit`: nothing of the launcher, whose copy this is, may run here.
    sys::exit_now()
}

enum Never {}

/// Waits for the launcher. No byte: it gave up.
fn go_on(parts: &Parts<'_>, what: &str) -> Result<(), Failure> {
    match rustix::io::read(parts.go, &mut [0_u8]) {
        Ok(1) => Ok(()),
        Ok(_) => Err(super::failure(what, Errno::PIPE)),
        Err(errno) => Err(super::failure(what, errno)),
    }
}

/// Where memory runs out on the whole machine, sandboxes go before anything that did not ask to be special
/// (`proc_pid_oom_score_adj(5)`).
const OOM_SCORE_ADJ: &str = "500";

/// Descriptors that the agent may need besides those of the program that it starts.
const AGENT_FILES: u64 = 256;

fn prepare(create: &Create, policy: &Policy, privilege: Privilege, parts: &Parts<'_>) -> Result<Never, Failure> {
    // A host without this file, or one that refuses, is left as it is: nobody is promised it.
    let _ = super::create::write_proc("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
    // Version 1 lets in whoever has the id of its maker (`cgroup1_procs_write`): now, before this process gets others.
    for door in parts.doors {
        step("enter a control group", rustix::io::write(door, b"0").map(drop))?;
    }
    go_on(parts, "wait for the ids to be mapped")?;
    // Until now this process's ids are unmapped, and what it creates would belong to nobody.
    if may_set_groups(privilege) {
        step("drop supplementary groups", rustix::thread::set_thread_groups(&[]))?;
    }
    step("become the sandbox's root group", rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT))?;
    step("become the sandbox's root", rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT))?;
    let _ = rustix::process::umask(Mode::empty());
    step("set the host name", rustix::system::sethostname(create.hostname.as_bytes()))?;

    rootfs::build(create, policy, parts.trees)?;

    go_on(parts, "wait for the control groups")?;
    // Only now: the groups that a process is in when it makes this namespace are the roots of what it sees.
    step("make a cgroup namespace", sys::unshare(UnshareFlags::NEWCGROUP))?;

    let _ = rustix::process::umask(Mode::WGRP | Mode::WOTH);
    step("start a session", rustix::process::setsid())?;
    sys::new_session_keyring();
    for &(resource, soft, hard) in &policy.rlimits {
        let asked = create.open_files.saturating_add(AGENT_FILES);
        let is_asked = resource == libc::RLIMIT_NOFILE && create.open_files > 0;
        let hard = if is_asked { hard.min(asked) } else { hard };
        step(format!("set resource limit {resource}"), sys::set_limit(resource, soft.min(hard), hard))?;
    }
    // Move what must survive out of the way, then lay it where the agent looks for it.
    let program = step("keep the program", rustix::io::fcntl_dupfd_cloexec(parts.program, 16))?;
    let socket = step("keep the agent's socket", rustix::io::fcntl_dupfd_cloexec(parts.socket, 16))?;
    let null = step("open /dev/null", rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()))?;
    // The engine may begin to talk: what is said waits in the socket for the agent. What follows only takes away, and does not
    // fail where it worked before.
    step("say that the sandbox is there", rustix::io::write(parts.status, PREPARED))?;
    for number in 0..3 {
        step("point the standard streams at /dev/null", sys::place(&null, number))?;
    }
    step("place the agent's socket", sys::place(&socket, AGENT_FD))?;

    sys::reset_broken_pipes();
    step("limit capabilities", sys::limit_capabilities(policy.capabilities))?;
    step("set no_new_privs", rustix::thread::set_no_new_privs(true))?;
    // After the last change of identity, which would clear it. If the launcher died before this line, its end of the
    // socket is closed and the agent ends at once.
    step("set the parent-death signal", rustix::process::set_parent_process_death_signal(Some(Signal::KILL)))?;
    for filter in &policy.filters {
        step("load a seccomp filter", sys::load_filter(filter))?;
    }
    let errno = sys::exec_fd(&program, c"computesdk-agent");
    Err(super::failure("execute the agent", errno))
}
