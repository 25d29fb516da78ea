//! The only `unsafe` code of the engine.

#![allow(unsafe_code, reason = "this module is the engine's home of unsafe code")]

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor with the current runtime.
///
/// # Errors
/// If there is no runtime with I/O, or it takes no more descriptors.
pub(crate) fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor must stay open, and the same, as long as it is registered. An OwnedFd is closed only when
    // it is dropped, which AsyncFd does after it has taken it out of the runtime.
    let registered = unsafe { AsyncFd::register(fd) };
    registered.map_err(io::Error::from)
}
