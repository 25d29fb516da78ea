//! Modal's protocol, call by call: what every request carries, and what is done when it fails.
//!
//! ```text
//! Control: token pair, auth token, 4 attempts         Router: the sandbox's own token, 11 attempts
//!    └── headers · retry · token · channel ──────────────┘
//! ```
//!
//! Both answer with the server's [`Status`](tonic::Status) once attempts are of no more use; turning it into an error of ours is up to who
//! called. Described in the notes on Modal's wire, sections 2 to 5.

mod channel;
mod control;
mod family;
mod headers;
mod retry;
mod router;
mod token;

pub(crate) use control::{Control, Deadline};
pub(crate) use family::{Family, created_at};
pub(crate) use retry::{Backoff, is_transient};
pub(crate) use router::Router;
