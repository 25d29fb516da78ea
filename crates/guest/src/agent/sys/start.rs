//! The entry point, and what happens on a panic.

use core::arch::global_asm;

// The kernel puts the stack where it likes and aligns it to 16 bytes; the ABI wants it so before a call. Nothing of what
// lies on it (arguments, environment, auxiliary vector) is needed.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {entry}",
    "ud2",
    entry = sym entry,
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "bl {entry}",
    "brk 1",
    entry = sym entry,
);

extern "C" fn entry() -> ! {
    super::exit(crate::run())
}

/// A defect. The sandbox ends with its first process, and the engine says so.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    super::exit(101)
}

// The precompiled `alloc` is made for unwinding and names these two. With `panic=abort` nothing ever unwinds.

// SAFETY: no other definition is linked, and nobody calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

// SAFETY: no other definition is linked; if it were called after all, ending is right.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    super::exit(101)
}
