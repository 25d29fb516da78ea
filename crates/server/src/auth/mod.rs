//! Who may call, checked before anything of a call is read.
//!
//! ```text
//!  /modal.client.ModalClient/*                    token id and secret ─┐
//!                                                 auth token, if sent ─┼─► layer ─► Caller in the extensions
//!  /modal.task_command_router.TaskCommandRouter/* router token ────────┴─► layer ─► RouterCaller
//!  HTTP routes                                    Bearer or Basic ───────► bearer ► Identity
//! ```
//!
//! Token ids and secrets are the identity (modal-wire notes, sections 3 and 4). Signed tokens are given out on top: one that
//! clients fetch and send back, and one for the router, where it is all that they send. Whatever is wrong, the answer is
//! the same.

mod caller;
mod jwt;
mod layer;

pub(crate) use caller::{Caller, RouterCaller};
pub(crate) use jwt::{AuthClaims, RouterClaims, Signer};
pub(crate) use layer::{AuthLayer, bearer};
