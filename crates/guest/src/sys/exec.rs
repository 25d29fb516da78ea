//! Becoming the agent.

use super::last_errno;
use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;
use std::ffi::{CStr, c_char};

/// Executes an open program file. Returns only if that fails.
pub(crate) fn exec_fd(program: impl AsFd, arg0: &CStr) -> Errno {
    let argv: [*const c_char; 2] = [arg0.as_ptr(), std::ptr::null()];
    let envp: [*const c_char; 1] = [std::ptr::null()];
    // SAFETY: both arrays are NULL-terminated and, like their strings, live through the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_fd().as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    last_errno()
}
