//! Signals.

use super::last_errno;
use rustix::fd::{AsFd, FromRawFd, OwnedFd};
use rustix::io::Errno;

/// The number after the last signal.
const SIGNALS: i32 = 65;

/// `struct sigaction` as `rt_sigaction(2)` takes it on x86-64 and, with one field less used, on aarch64.
#[repr(C)]
#[derive(Default)]
struct KernelSigaction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// Gives every signal its default meaning. What a parent process ignored is inherited by exec, from here by every program of
/// every sandbox.
pub(crate) fn reset_all() {
    let default = KernelSigaction::default();
    for signal in 1..SIGNALS {
        // The system call, as libc refuses the two signals it keeps for itself; its own posix_spawn leaves them ignored.
        // SAFETY: `default` is a sigaction of the kernel with SIG_DFL, which installs no handler, and a mask of 8 bytes.
        // SIGKILL and SIGSTOP are refused, which is fine.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const default,
                std::ptr::null_mut::<KernelSigaction>(),
                size_of::<u64>(),
            )
        };
    }
}

/// Makes writing to nobody an error instead of the end of this process.
pub(crate) fn ignore_broken_pipes() {
    // SAFETY: SIG_IGN installs no handler that could run.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Undoes [`ignore_broken_pipes`], for what is executed next.
pub(crate) fn reset_broken_pipes() {
    // SAFETY: SIG_DFL installs no handler that could run.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// A descriptor (`signalfd(2)`) that becomes readable when a child has ended. Blocks SIGCHLD in the calling thread and
/// in those it starts.
pub(crate) fn child_exits() -> Result<OwnedFd, Errno> {
    // SAFETY: an all-zero sigset_t is overwritten by sigemptyset before it is used.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid place for a signal set.
    unsafe { libc::sigemptyset(&raw mut set) };
    // SAFETY: `set` was initialised above.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) };
    // SAFETY: `set` lives through the call; the old mask is not asked for.
    if unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } != 0 {
        return Err(last_errno());
    }
    // SAFETY: `set` lives through the call.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: signalfd returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Empties a signalfd.
pub(crate) fn drain_signals(fd: impl AsFd) {
    let mut buffer = [0; 128 * 8];
    while matches!(rustix::io::read(&fd, &mut buffer), Ok(n) if n > 0) {}
}
