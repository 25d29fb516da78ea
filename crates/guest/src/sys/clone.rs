//! New processes of the launcher.

use super::last_errno;
use rustix::io::Errno;

/// Which side of a fork this is.
pub(crate) enum Forked {
    /// The new process.
    Child,
    /// The old one, with the child's id.
    Parent(i32),
}

/// `struct clone_args` of `clone3(2)`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks into fresh user, mount, pid, ipc and uts namespaces. The network namespace stays the caller's: it belongs to the
/// launcher's user namespace, so that the sandbox's root has no power over it. The cgroup namespace is the child's to
/// make, once it is in its groups.
pub(crate) fn clone_into_namespaces() -> Result<Forked, Errno> {
    #[allow(clippy::cast_sign_loss, reason = "flags are bit patterns")]
    let args = CloneArgs {
        flags: (libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS)
            as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    // SAFETY: without CLONE_VM this is a fork: the child gets a copy of the memory. The launcher is single-threaded, so
    // no lock of libc can be held by a thread that the child lacks. `args` lives through the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    forked(pid)
}

/// `fork(2)`.
pub(crate) fn fork() -> Result<Forked, Errno> {
    // SAFETY: the launcher is single-threaded, see above.
    let pid = unsafe { libc::fork() };
    forked(i64::from(pid))
}

fn forked(pid: i64) -> Result<Forked, Errno> {
    match i32::try_from(pid) {
        Ok(0) => Ok(Forked::Child),
        Ok(pid) if pid > 0 => Ok(Forked::Parent(pid)),
        _ => Err(last_errno()),
    }
}
