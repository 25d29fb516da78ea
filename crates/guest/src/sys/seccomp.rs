//! Seccomp filters (`seccomp(2)`).

use super::last_errno;
use rustix::io::Errno;

/// Puts this process and all it starts under a filter. `no_new_privs` must be set.
pub(crate) fn load_filter(program: &[(u16, u8, u8, u32)]) -> Result<(), Errno> {
    let instructions: Vec<libc::sock_filter> =
        program.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let len = u16::try_from(instructions.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog { len, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, which lives through the call, and verifies it.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}
