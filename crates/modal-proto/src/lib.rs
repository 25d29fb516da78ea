//! The part of Modal's gRPC protocol that sandboxes need, for client and server.
//!
//! `proto/` holds our own description of it, written from the numbers and names on the wire; `src/generated/` what
//! `tonic-prost-build` makes of it, checked in so that nobody needs `protoc`. `tests/fresh.rs` compares the two, and writes the code
//! anew with `COMPUTESDK_REGENERATE=1`. Messages and fields that nothing here reads are left out: protobuf
//! skips what it does not know. Fields that a server must refuse and need not understand are declared as `bytes`.
//!
//! The wire's rules beyond the messages (ids, headers, retries, what must be absent) are told by whoever keeps them:
//! `computesdk-server` and `computesdk-modal`.

/// Package `modal.client`: the control plane.
pub mod client {
    #![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
    include!("generated/modal.client.rs");
}

/// Package `modal.task_command_router`: what is said to the machine that a sandbox runs on.
pub mod router {
    #![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
    include!("generated/modal.task_command_router.rs");
}
