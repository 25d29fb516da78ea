//! What a sandbox may reach over the network, decided and carried out outside of it.
mod host;
mod log;
mod packet;
