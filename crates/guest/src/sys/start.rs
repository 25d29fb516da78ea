//! The entry point that the C library calls.

use std::ffi::{c_char, c_int};

// SAFETY: this program is not linked with anything else that defines `main`, and the C library calls it once, with the
// arguments, which std has already taken from where the C library keeps them.
#[unsafe(no_mangle)]
extern "C" fn main(_: c_int, _: *const *const c_char) -> c_int {
    c_int::from(crate::run())
}
