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

#[allow(unused_imports, reason = "for rooms that are not there yet")]
pub(crate) use caller::{Caller, ClientKind, RouterCaller};
#[allow(unused_imports, reason = "for rooms that are not there yet")]
pub(crate) use jwt::{AUTH_TOKEN_LIFE, AuthClaims, JwtError, ROUTER_TOKEN_LIFE, RouterClaims, Signer};
#[allow(unused_imports, reason = "for rooms that are not there yet")]
pub(crate) use layer::{AuthLayer, AuthService, bearer};
