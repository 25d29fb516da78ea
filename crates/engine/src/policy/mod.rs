//! What a sandboxed process may do to the kernel, as data.
//!
//! The parts: [`syscalls`] lists the system calls, [`seccomp`] turns the lists into two filter programs,
//! [`capabilities`] is what sandbox root keeps, [`proc`] says which parts of `/proc` are hidden or read-only, and
//! [`defaults`] holds devices, resource limits and network settings.
//!
//! Nothing here acts: the launcher and the guest apply it. All of it holds for every process of a sandbox, the agent
//! (its process 1) included, on every rung; none of it depends on what the sandbox was asked to do.

pub(crate) mod capabilities;
pub(crate) mod defaults;
pub(crate) mod proc;
pub(crate) mod seccomp;
mod syscalls;

#[cfg(test)]
mod tests;
