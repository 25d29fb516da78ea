//! The agent's part of `sys`: the only `unsafe` code of the agent. System calls that rustix does not wrap, and what a
//! program without a C library must bring along.
//!
//! Each function has one intention and returns an [`Errno`]; what must hold for it to be sound stands at its block.

#![allow(unsafe_code, reason = "this module is the agent's home of unsafe code")]

#[cfg(not(test))]
mod alloc;
mod call;
mod exec;
#[cfg(not(test))]
mod memory;
mod process;
#[cfg(not(test))]
mod start;

pub(crate) use exec::{Program, Stage, StartError, start};
pub(crate) use process::{Forked, child_exits, drain_signals, exit, fork, wait_any};

use call::call;
use linux_raw_sys::general::{__NR_close_range, __NR_prlimit64, rlimit64};
use rustix::fd::{AsFd, FromRawFd as _, OwnedFd};
use rustix::io::Errno;

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: u32) {
    // SAFETY: close_range(2) takes plain numbers. Called at the start of the program, when nothing owns a descriptor at or
    // above `first`. It cannot fail with valid numbers.
    let _ = unsafe { call(__NR_close_range, [first as usize, u32::MAX as usize, 0, 0, 0, 0]) };
}

/// Sets a resource limit of this process by its number (`prlimit(2)`).
pub(crate) fn set_limit(resource: u32, limit: u64) -> Result<(), Errno> {
    let limit = rlimit64 { rlim_cur: limit, rlim_max: limit };
    // SAFETY: `limit` is a valid rlimit64 for the duration of the call, and the old one is not asked for.
    unsafe { call(__NR_prlimit64, [0, resource as usize, (&raw const limit).expose_provenance(), 0, 0, 0]) }.map(drop)
}

/// The control socket, which the launcher put at a fixed number before this program was executed.
pub(crate) fn inherited(number: i32) -> OwnedFd {
    // SAFETY: called once, at the start of the program, for a descriptor that the parent process promised to have left open
    // there; nothing else in this process owns it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// The pending error of a socket, which a connect that went on in the background leaves there.
pub(crate) fn pending_error(socket: impl AsFd) -> Result<(), Errno> {
    rustix::net::sockopt::socket_error(socket)?
}
