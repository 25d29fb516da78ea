//! Waiting for children, with what they used (`wait4(2)`).

use std::ffi::c_int;

/// A child that was reaped.
#[derive(Default)]
pub(crate) struct Ended {
    pub(crate) pid: i32,
    /// As `waitpid(2)` gives it.
    pub(crate) status: c_int,
    /// CPU time of it and the descendants it waited for, in microseconds.
    pub(crate) cpu_micros: u64,
}

/// Reaps a child that has ended, if there is one.
pub(crate) fn wait_any() -> Option<Ended> {
    wait(-1, libc::WNOHANG)
}

/// Waits for the end of a child that is not reaped yet.
pub(crate) fn wait_for(pid: i32) -> Ended {
    wait(pid, 0).unwrap_or(Ended { pid, ..Ended::default() })
}

fn wait(pid: i32, options: c_int) -> Option<Ended> {
    // SAFETY: an all-zero rusage is valid: it is plain data.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let mut status = 0;
    loop {
        // SAFETY: both places are valid for the duration of the call.
        let pid = unsafe { libc::wait4(pid, &raw mut status, options, &raw mut usage) };
        if pid > 0 {
            let micros = |time: libc::timeval| time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_usec.unsigned_abs();
            let cpu_micros = micros(usage.ru_utime) + micros(usage.ru_stime);
            return Some(Ended { pid, status, cpu_micros });
        }
        if pid == 0 || super::last_errno() != rustix::io::Errno::INTR {
            return None;
        }
    }
}
