//! Network interfaces (`netdevice(7)`) and options of sockets (`setsockopt(2)`).

use super::last_errno;
use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;
use std::ffi::CStr;

/// Brings an interface of the current network namespace up; `socket` is any socket of it.
pub(crate) fn bring_up(socket: impl AsFd, name: &CStr) -> Result<(), Errno> {
    // SAFETY: an all-zero ifreq is valid: it is plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.to_bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which lives through the call.
    if unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) } == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Sets an option of a socket that is a number.
pub(crate) fn set_option(socket: impl AsFd, level: i32, name: i32, value: i32) -> Result<(), Errno> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` lives through the call, and `len` is its size.
    let result = unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, (&raw const value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}
