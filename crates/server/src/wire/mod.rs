//! wire

mod unimplemented;
