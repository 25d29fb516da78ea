//! The launcher's part of `sys`: its only `unsafe` code. System calls that rustix does not wrap.
//!
//! Each function has one intention and returns an [`Errno`]; what must hold for it to be sound stands at its block.

#![allow(unsafe_code, reason = "this module is the guest's home of unsafe code")]

mod clone;
mod exec;
mod mount;
mod net;
mod seccomp;
mod signal;
mod start;
mod wait;

pub(crate) use clone::{Forked, clone_into_namespaces, fork};
pub(crate) use exec::exec_fd;
pub(crate) use mount::{idmap_mount, make_private, set_read_only};
pub(crate) use net::{bring_up, set_option};
pub(crate) use seccomp::load_filter;
pub(crate) use signal::{child_exits, drain_signals, ignore_broken_pipes, reset_all, reset_broken_pipes};
pub(crate) use wait::{Ended, wait_any, wait_for};

use rustix::io::Errno;

/// The error of the system call that just failed.
fn last_errno() -> Errno {
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: u32) {
    // SAFETY: close_range(2) takes plain numbers. The caller owns no descriptor object at or above `first` that is
    // used afterwards: it is called right before exec, or at the start of a program.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Sets one resource limit by its number (`getrlimit(2)`). Never raises what was inherited: that needs privilege over
/// the host, and a host that allows less is right.
pub(crate) fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let mut current = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `current` is a valid place for an rlimit; an unknown resource is EINVAL.
    if unsafe { libc::getrlimit(resource, &raw mut current) } != 0 {
        return Err(last_errno());
    }
    let hard = hard.min(current.rlim_max);
    let limit = libc::rlimit { rlim_cur: soft.min(hard), rlim_max: hard };
    // SAFETY: `limit` is a valid rlimit for the duration of the call.
    if unsafe { libc::setrlimit(resource, &raw const limit) } == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Lets this process have as many open files as it may.
pub(crate) fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for an rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is a valid rlimit for the duration of the call. If it is refused, fewer will do.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}

/// Reduces permitted and effective capabilities to `mask`, empties the inheritable set and drops the rest from the
/// bounding set (`capabilities(7)`).
pub(crate) fn limit_capabilities(mask: u64) -> Result<(), Errno> {
    for capability in 0..64_u32 {
        if mask & (1 << capability) == 0 {
            // SAFETY: prctl(2) with plain numbers; a capability the kernel does not know is EINVAL, which ends the list.
            if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) } != 0 {
                match last_errno() {
                    Errno::INVAL => break,
                    errno => return Err(errno),
                }
            }
        }
    }
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    // `_LINUX_CAPABILITY_VERSION_3`, linux/capability.h
    let header = Header { version: 0x2008_0522, pid: 0 };
    #[allow(clippy::cast_possible_truncation, reason = "the two halves of the mask")]
    let data = [mask as u32, (mask >> 32) as u32].map(|half| Data { effective: half, permitted: half, inheritable: 0 });
    // SAFETY: capset(2) version 3 reads a header and two data structs, which live through the call.
    if unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) } == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Puts a copy of `fd` at `number`, without close-on-exec, closing what was there.
pub(crate) fn place(fd: impl rustix::fd::AsFd, number: i32) -> Result<(), Errno> {
    use rustix::fd::AsRawFd as _;
    // SAFETY: dup2 takes plain numbers. Called right before exec, for numbers that no owner in this process holds.
    if unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) } < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Gives this process a session keyring of its own, so that none of the host's keys are attached to it
/// (`KEYCTL_JOIN_SESSION_KEYRING`, `keyctl(2)`). Kernels without keyrings refuse, which is as good.
pub(crate) fn new_session_keyring() {
    // SAFETY: a null name asks for an anonymous keyring; nothing is read or written.
    unsafe { libc::syscall(libc::SYS_keyctl, 1, std::ptr::null::<libc::c_char>()) };
}

/// Moves this process into new namespaces (`unshare(2)`).
pub(crate) fn unshare(flags: rustix::thread::UnshareFlags) -> Result<(), Errno> {
    // SAFETY: the danger is CLONE_FILES, under which borrowed descriptors change meaning; it is never passed here.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Ends this process without running anything on the way out.
pub(crate) fn exit_now() -> ! {
    // SAFETY: _exit never returns and runs no code of this process.
    unsafe { libc::_exit(127) }
}
