//! The four functions on memory that the compiler calls by itself, and the allocator's pages.
//!
//! They are instructions of the processor or plain loops in assembly: written in Rust, the compiler would turn them into
//! calls of themselves.

use core::arch::asm;
use core::ffi::c_int;

// SAFETY: no other definition is linked; this program has no C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller promises `count` bytes at both that do not overlap.
    unsafe { copy_up(to, from, count) };
    to
}

// SAFETY: no other definition is linked.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // Upwards is right unless the target begins inside of the source.
    if to.addr().wrapping_sub(from.addr()) >= count {
        // SAFETY: the caller promises `count` bytes at both; what is overwritten has been read before.
        unsafe { copy_up(to, from, count) };
    } else {
        // SAFETY: the same, from the end.
        unsafe { copy_down(to, from, count) };
    }
    to
}

// SAFETY: no other definition is linked.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: c_int, count: usize) -> *mut u8 {
    // SAFETY: the caller promises `count` bytes.
    unsafe { fill(to, value.cast_unsigned(), count) };
    to
}

// SAFETY: no other definition is linked.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> c_int {
    let mut at = 0;
    while at < count {
        // SAFETY: the caller promises `count` bytes at `a`. Volatile, so that this loop stays one.
        let x = unsafe { a.wrapping_add(at).read_volatile() };
        // SAFETY: and at `b`.
        let y = unsafe { b.wrapping_add(at).read_volatile() };
        if x != y {
            return c_int::from(x) - c_int::from(y);
        }
        at += 1;
    }
    0
}

// SAFETY: no other definition is linked.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> c_int {
    // SAFETY: the same promise.
    unsafe { memcmp(a, b, count) }
}

// SAFETY: no other definition is linked.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut count = 0;
    // SAFETY: the caller promises a NUL, up to which everything can be read.
    while unsafe { text.wrapping_add(count).read_volatile() } != 0 {
        count += 1;
    }
    count
}

#[cfg(target_arch = "x86_64")]
unsafe fn copy_up(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: the caller's promise; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
             options(nostack, preserves_flags));
    }
}

#[cfg(target_arch = "x86_64")]
unsafe fn copy_down(to: *mut u8, from: *const u8, count: usize) {
    let (to, from) = (to.wrapping_add(count).wrapping_sub(1), from.wrapping_add(count).wrapping_sub(1));
    // SAFETY: the caller's promise; the direction flag is put back as the ABI wants it.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
             options(nostack));
    }
}

#[cfg(target_arch = "x86_64")]
unsafe fn fill(to: *mut u8, value: u32, count: usize) {
    // SAFETY: the caller's promise; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("eax") value,
             options(nostack, preserves_flags));
    }
}

#[cfg(target_arch = "aarch64")]
unsafe fn copy_up(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("cbz {n}, 3f", "2:", "ldrb {b:w}, [{f}], 1", "strb {b:w}, [{t}], 1", "subs {n}, {n}, 1", "b.ne 2b", "3:",
             n = inout(reg) count => _, t = inout(reg) to => _, f = inout(reg) from => _, b = out(reg) _,
             options(nostack));
    }
}

#[cfg(target_arch = "aarch64")]
unsafe fn copy_down(to: *mut u8, from: *const u8, count: usize) {
    let (to, from) = (to.wrapping_add(count), from.wrapping_add(count));
    // SAFETY: the caller's promise.
    unsafe {
        asm!("cbz {n}, 3f", "2:", "ldrb {b:w}, [{f}, -1]!", "strb {b:w}, [{t}, -1]!", "subs {n}, {n}, 1", "b.ne 2b",
             "3:", n = inout(reg) count => _, t = inout(reg) to => _, f = inout(reg) from => _, b = out(reg) _,
             options(nostack));
    }
}

#[cfg(target_arch = "aarch64")]
unsafe fn fill(to: *mut u8, value: u32, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("cbz {n}, 3f", "2:", "strb {v:w}, [{t}], 1", "subs {n}, {n}, 1", "b.ne 2b", "3:",
             n = inout(reg) count => _, t = inout(reg) to => _, v = in(reg) value, options(nostack));
    }
}
