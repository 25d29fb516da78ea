//! The calls: what clients ask, checked, turned into calls of the provider, and answered in Modal's words.
//!
//! ```text
//!  control: service ModalClient ───┬─ identity, apps, secrets, images
//!                                  ├─ create ── definition: what a sandbox is to be
//!                                  ├─ lifecycle, listing, reach, stdio, usage
//!                                  └─ container: execs and files as old clients ask for them
//!  router:  service TaskCommandRouter ── exec, stdio, reach
//!                                  all of them on a Host: provider, state, table
//! ```
//!
//! Who calls is known before a call is read (`auth`); a handler gets a [`Call`] and looks up only what belongs to its workspace. What is
//! not there and what is somebody else's are answered alike.

mod apps;
mod container;
mod control;
mod create;
mod definition;
mod host;
mod identity;
mod images;
mod lifecycle;
mod listing;
mod reach;
mod router;
mod secrets;
mod status;
mod stdio;
mod unimplemented;
mod usage;

pub(crate) use control::Control;
pub(crate) use create::end_all;
pub(crate) use host::{Host, HostOptions};
pub(crate) use router::Router;
pub(crate) use unimplemented::sentence;
