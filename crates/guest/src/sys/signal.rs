//! Signals.

use super::last_errno;
use rustix::fd::{AsFd, FromRawFd, OwnedFd};
use rustix::io::Errno;

/// The number after the last signal.
pub(crate) const SIGNALS: i32 = 65;

/// Ignores a signal.
pub(crate) fn ignore(signal: i32) {
    // SAFETY: SIG_IGN installs no handler that could run.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
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
