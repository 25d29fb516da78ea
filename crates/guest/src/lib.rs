//! Where the sources of the guest program are.
//!
//! The program (`src/main.rs`, feature `program`) is one static executable with two modes: the **launcher**, which
//! makes sandboxes, and the **agent**, the first process in each. The engine has this package as a build dependency,
//! so that the sources and everything they need are there, and builds the program in its build script.

/// The folder of this package.
pub const SOURCE_DIR: &str = env!("CARGO_MANIFEST_DIR");
