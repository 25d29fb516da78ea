//! The only `unsafe` code of the engine.

#![allow(unsafe_code, reason = "this module is the engine's home of unsafe code")]

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;

/// A descriptor that stays open, and the same, until its last owner is gone.
pub(crate) trait Owned: std::os::fd::AsRawFd {}

impl Owned for OwnedFd {}
impl Owned for Arc<OwnedFd> {}

/// Registers a descriptor with the current runtime.
///
/// # Errors
/// If there is no runtime with I/O, or it takes no more descriptors.
pub(crate) fn register<T: Owned>(fd: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the descriptor must stay open, and the same, as long as it is registered. An owner closes it only when it is
    // dropped, which AsyncFd does after it has taken it out of the runtime; of a shared one, AsyncFd is an owner.
    let registered = unsafe { AsyncFd::register(fd) };
    registered.map_err(io::Error::from)
}
