//! Where the sources of the guest programs are.
//!
//! There are two, both static: the **launcher** (`src/main.rs`, feature `launcher`), which makes sandboxes, and the **agent**
//! (`src/agent/`, feature `agent`), the first process in each. The engine has this package as a build dependency, so that
//! the sources and everything they need are there, and builds the programs in its build script.

/// The folder of this package.
pub const SOURCE_DIR: &str = env!("CARGO_MANIFEST_DIR");
