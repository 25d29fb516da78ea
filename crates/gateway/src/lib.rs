//! What a sandbox may reach over the network, decided and carried out outside of it.

mod address;
mod domain;
mod policy;

pub use address::{special, special_range};
pub use domain::{Names, normal_name};
pub use policy::{Policy, PolicyError, Refusal};
