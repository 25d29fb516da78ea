//! Processes and their ends.

use super::call::call;
use computesdk_guest_protocol::agent::Exit;
use linux_raw_sys::general::{
    __NR_clone, __NR_exit_group, __NR_rt_sigprocmask, __NR_signalfd4, __NR_wait4, O_CLOEXEC, O_NONBLOCK, SIG_BLOCK,
    SIGCHLD, WNOHANG, rusage,
};
use rustix::fd::{AsFd, FromRawFd as _, OwnedFd};
use rustix::io::Errno;

/// A signal set of the kernel: bit `n - 1` for signal `n`.
const CHILD_SET: u64 = 1 << (SIGCHLD - 1);
const SET_SIZE: usize = size_of::<u64>();

/// Which side of a fork this is.
pub(crate) enum Forked {
    Child,
    /// The old process, with the child's id.
    Parent(i32),
}

/// `fork(2)`.
pub(crate) fn fork() -> Result<Forked, Errno> {
    // SAFETY: without CLONE_VM the child has a copy of the memory; this process has one thread, so nothing is half done
    // in it. A null stack means the same address in that copy.
    match unsafe { call(__NR_clone, [SIGCHLD as usize, 0, 0, 0, 0, 0]) }? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(i32::try_from(pid).unwrap_or(i32::MAX))),
    }
}

/// Ends this process.
pub(crate) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: ends the process; it does not return.
        let _ = unsafe { call(__NR_exit_group, [code.cast_unsigned() as usize, 0, 0, 0, 0, 0]) };
    }
}

/// A descriptor (`signalfd(2)`) that becomes readable when a child has ended. Blocks SIGCHLD.
pub(crate) fn child_exits() -> Result<OwnedFd, Errno> {
    let set = CHILD_SET;
    // SAFETY: `set` is a signal set of the given size and lives through the call; the old one is not asked for.
    unsafe {
        call(__NR_rt_sigprocmask, [SIG_BLOCK as usize, (&raw const set).expose_provenance(), 0, SET_SIZE, 0, 0])
    }?;
    // SFD_CLOEXEC and SFD_NONBLOCK are these.
    let flags = (O_CLOEXEC | O_NONBLOCK) as usize;
    // SAFETY: as above. All bits set asks for a new descriptor.
    let fd =
        unsafe { call(__NR_signalfd4, [usize::MAX, (&raw const set).expose_provenance(), SET_SIZE, flags, 0, 0]) }?;
    // SAFETY: signalfd returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(|_| Errno::BADF)?) })
}

/// Empties a signalfd.
pub(crate) fn drain_signals(fd: impl AsFd) {
    let mut buffer = [0; 128 * 4];
    while matches!(rustix::io::read(&fd, &mut buffer), Ok(n) if n > 0) {}
}

/// A child that was reaped, with what it used (`wait4(2)`).
pub(crate) struct Ended {
    pub(crate) pid: i32,
    status: i32,
    /// CPU time of it and the descendants it waited for, in microseconds.
    pub(crate) cpu_micros: u64,
    /// The largest resident set among the same, in KiB.
    pub(crate) peak_kib: u64,
}

impl Ended {
    /// How it ended (`waitpid(2)`: the signal in the lower seven bits, else the code above them).
    pub(crate) fn exit(&self) -> Exit {
        match self.status & 0x7f {
            0 => Exit::Code((self.status >> 8) & 0xff),
            signal => Exit::Signal(signal),
        }
    }
}

/// Reaps a child that has ended, if there is one.
pub(crate) fn wait_any() -> Option<Ended> {
    // SAFETY: an all-zero rusage is valid: it is plain data.
    let mut usage: rusage = unsafe { core::mem::zeroed() };
    let mut status = 0_i32;
    loop {
        let places = ((&raw mut status).expose_provenance(), (&raw mut usage).expose_provenance());
        // SAFETY: both places are valid for the duration of the call. All bits set means any child.
        match unsafe { call(__NR_wait4, [usize::MAX, places.0, WNOHANG as usize, places.1, 0, 0]) } {
            Err(Errno::INTR) => {}
            Ok(0) | Err(_) => return None,
            Ok(pid) => {
                let micros = |seconds: i64, micros: i64| seconds.unsigned_abs() * 1_000_000 + micros.unsigned_abs();
                let user = micros(usage.ru_utime.tv_sec, usage.ru_utime.tv_usec);
                let system = micros(usage.ru_stime.tv_sec, usage.ru_stime.tv_usec);
                let peak_kib = usage.ru_maxrss.unsigned_abs();
                return Some(Ended { pid: i32::try_from(pid).ok()?, status, cpu_micros: user + system, peak_kib });
            }
        }
    }
}
