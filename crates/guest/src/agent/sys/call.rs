//! System calls by number (`syscall(2)` has the registers of each architecture).

use core::arch::asm;
use rustix::io::Errno;

/// Makes a system call.
///
/// # Safety
/// What the call does must be sound with these arguments: pointers valid for what the kernel does with them, descriptors
/// that nobody else owns where they are closed.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn call(number: u32, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the registers of the calling convention; the kernel changes rcx and r11 besides the result. The caller
    // answers for the call itself.
    unsafe {
        asm!("syscall", inlateout("rax") number as usize => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
             in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    checked(result)
}

/// Makes a system call.
///
/// # Safety
/// What the call does must be sound with these arguments: pointers valid for what the kernel does with them, descriptors
/// that nobody else owns where they are closed.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn call(number: u32, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the registers of the calling convention. The caller answers for the call itself.
    unsafe {
        asm!("svc 0", in("x8") number as usize, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d,
             in("x4") e, in("x5") f, options(nostack));
    }
    checked(result)
}

/// The kernel returns errors as small negative numbers.
pub(super) fn checked(result: isize) -> Result<usize, Errno> {
    match i32::try_from(result) {
        Ok(error @ -4095..=-1) => Err(Errno::from_raw_os_error(-error)),
        _ => Ok(result.cast_unsigned()),
    }
}
