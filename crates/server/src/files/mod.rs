//! The files of a sandbox, in the two ways that clients of different ages ask for them, both over [`computesdk_core::Files`].
//!
//! ```text
//! helper   exec of /__modal/.bin/modal-sandbox-fs-tools JSON    one operation, with the stdio of a process
//! old      ContainerFilesystemExec, …GetOutput                  open files and outputs, kept per sandbox
//!             └── both: operation (what Files alone does not tell apart), watch, trouble (why something failed)
//! ```
//!
//! Nothing here looks at a path: the sandbox resolves it. What is kept for a client that may come back is bounded, and gone with the
//! sandbox. Where `Files` is coarser than what clients know (errors, removing without recursion), its error's number tells more
//! ([`Error::errno`](computesdk_core::Error::errno)), else a look at the path. The specification is sections 7.7 and 7.8 of the notes
//! on Modal's wire.

mod entry;
pub(crate) mod helper;
pub(crate) mod old;
mod operation;
mod pipe;
mod trouble;
mod watch;

#[cfg(test)]
mod tests;
