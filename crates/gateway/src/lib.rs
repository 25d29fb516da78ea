//! What a sandbox may reach over the network, decided and carried out outside of it.

mod address;
#[allow(dead_code, reason = "the flows that use it follow")]
mod dns;
mod domain;
#[allow(dead_code, reason = "the flows that use it follow")]
mod hello;
#[allow(dead_code, reason = "the flows that use it follow")]
mod http;
mod policy;
#[cfg(test)]
mod prng;
#[allow(dead_code, reason = "the flows that use it follow")]
mod proxy;
#[allow(dead_code, reason = "the flows that use it follow")]
mod resolver_config;

pub use address::{special, special_range};
pub use domain::{Names, normal_name};
pub use policy::{Policy, PolicyError, Refusal};
