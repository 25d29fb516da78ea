//! `compute serve`: Modal's API in front of any sandbox provider.
//!
//! ```text
//!            front            fault, auth              wire                    live                     core
//!  socket ──► sniffed: TLS? ──► tower layers ──► control, router ──► sandboxes, execs, output ──► dyn Provider
//!                 └► HTTP/1: http (admin, JSON)       │   └ files: the helper program, the old file calls
//!                                                     ├ image: lines of a Dockerfile
//!                                                     └ state: SQLite, secrets encrypted
//! ```
#![allow(dead_code, reason = "rooms are filled one after the other")]

mod auth;
pub mod fault;
mod files;
pub mod front;
pub mod http;
mod ids;
mod image;
mod live;
mod state;
mod wire;
