//! Starting programs.
//!
//! [`start`] is a vfork: the child shares the agent's memory, and its stack, until it execs, so nothing is copied.
//! Between the two the child may only make system calls on data that was laid out before.

use super::call::{call, checked};
use core::arch::asm;
use core::ffi::{CStr, c_char};
use core::ptr;
use linux_raw_sys::general::{
    __NR_clone, __NR_close_range, __NR_dup3, __NR_execve, __NR_rt_sigprocmask, CLONE_VFORK, CLONE_VM, RLIMIT_NOFILE,
    SIG_SETMASK, SIGCHLD,
};
use rustix::fd::{AsRawFd as _, BorrowedFd};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};
use rustix::thread::{Gid, Uid};

use alloc::ffi::CString;
use alloc::vec::Vec;

/// `CLOSE_RANGE_CLOEXEC` of `linux/close_range.h`.
const CLOSE_RANGE_CLOEXEC: usize = 1 << 2;

/// Everything a child needs to know.
pub(crate) struct Program<'a> {
    /// The file, resolved.
    pub(crate) path: &'a CStr,
    pub(crate) argv: &'a [CString],
    pub(crate) env: &'a [CString],
    pub(crate) cwd: &'a CStr,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// `None` where the sandbox has one id only and its groups cannot be set.
    pub(crate) groups: Option<&'a [Gid]>,
    pub(crate) stdio: [BorrowedFd<'a>; 3],
    /// Standard input is a terminal, and becomes the controlling one.
    pub(crate) terminal: bool,
    /// A `cgroup.procs` to enter.
    pub(crate) group: Option<BorrowedFd<'a>>,
    /// Most open files; 0 leaves what is inherited.
    pub(crate) open_files: u64,
}

/// What the child was doing when it failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Clone,
    Limits,
    Session,
    Stdio,
    Identity,
    WorkingDirectory,
    Exec,
}

/// Why a program was not started.
pub(crate) struct StartError {
    pub(crate) stage: Stage,
    pub(crate) errno: Errno,
}

struct Shared<'a> {
    program: &'a Program<'a>,
    argv: *const *const c_char,
    envp: *const *const c_char,
    failed: Option<StartError>,
}

/// Starts a program and returns its process id, or why it could not be started. Returns when it has exec'd.
pub(crate) fn start(program: &Program<'_>) -> Result<i32, StartError> {
    fn pointers(strings: &[CString]) -> Vec<*const c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
    }
    let argv = pointers(program.argv);
    let envp = pointers(program.env);
    let mut shared = Shared { program, argv: argv.as_ptr(), envp: envp.as_ptr(), failed: None };
    // SAFETY: `shared` and what it points to outlive the child's use of it: this process goes on when the child has exec'd
    // or exited.
    let pid = match unsafe { vfork(&raw mut shared) } {
        Ok(pid) => i32::try_from(pid).unwrap_or(i32::MAX),
        Err(errno) => return Err(StartError { stage: Stage::Clone, errno }),
    };
    // SAFETY: `shared` is ours again. Read as what another process may have written.
    match unsafe { ptr::read_volatile(&raw const shared) }.failed {
        None => Ok(pid),
        Some(error) => {
            // It has exited already: reap this one child, so that nobody takes it for a program.
            let _ = rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty());
            Err(error)
        }
    }
}

const FLAGS: usize = (CLONE_VM | CLONE_VFORK | SIGCHLD) as usize;

/// A child that shares memory and stack, and runs [`child`].
///
/// # Safety
/// `shared` must be valid until this returns.
#[cfg(target_arch = "x86_64")]
unsafe fn vfork(shared: *mut Shared<'_>) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: clone(2) with a null stack: the child goes on with the same stack pointer, below which nothing is in use (this
    // block has no `nostack`, so there is no red zone either), and never returns to the frames above. It has registers of its own,
    // and this process is stopped until the child has exec'd or exited, so what the child leaves below the stack pointer is
    // as if a function had been called here.
    unsafe {
        asm!("syscall", "test rax, rax", "jnz 2f", "mov rdi, r12", "call {child}", "ud2", "2:",
             child = sym child, in("r12") shared, inlateout("rax") __NR_clone as usize => result,
             in("rdi") FLAGS, in("rsi") 0_usize, in("rdx") 0_usize, in("r10") 0_usize, in("r8") 0_usize,
             clobber_abi("C"));
    }
    checked(result)
}

/// A child that shares memory and stack, and runs [`child`].
///
/// # Safety
/// `shared` must be valid until this returns.
#[cfg(target_arch = "aarch64")]
unsafe fn vfork(shared: *mut Shared<'_>) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: as on x86-64.
    unsafe {
        asm!("svc 0", "cbnz x0, 2f", "mov x0, x20", "bl {child}", "brk 1", "2:",
             child = sym child, in("x20") shared, in("x8") __NR_clone as usize, inlateout("x0") FLAGS => result,
             in("x1") 0_usize, in("x2") 0_usize, in("x3") 0_usize, in("x4") 0_usize,
             clobber_abi("C"));
    }
    checked(result)
}

extern "C" fn child(shared: *mut Shared<'_>) -> ! {
    // SAFETY: `start` passes a Shared that lives until this process execs or exits, and does not touch it meanwhile.
    let shared = unsafe { &mut *shared };
    let (stage, errno) = match prepare(shared.program) {
        Err(failure) => failure,
        Ok(()) => {
            let (path, argv, envp) = (shared.program.path.as_ptr(), shared.argv, shared.envp);
            let arguments = [path.expose_provenance(), argv.expose_provenance(), envp.expose_provenance(), 0, 0, 0];
            // SAFETY: the arrays are NULL-terminated and live in the parent, which waits. It returns only on failure.
            let failed = unsafe { call(__NR_execve, arguments) };
            (Stage::Exec, failed.err().unwrap_or(Errno::IO))
        }
    };
    shared.failed = Some(StartError { stage, errno });
    super::exit(127)
}

/// Everything between vfork and exec: system calls only.
fn prepare(program: &Program<'_>) -> Result<(), (Stage, Errno)> {
    if let Some(group) = program.group {
        // `0` is whoever writes (`cgroups(7)`).
        rustix::io::write(group, b"0").map_err(|errno| (Stage::Limits, errno))?;
    }
    if program.open_files > 0 {
        super::set_limit(RLIMIT_NOFILE, program.open_files).map_err(|errno| (Stage::Limits, errno))?;
    }
    // The agent blocks SIGCHLD; a program starts with nothing blocked. (No signal has a handler here or is ignored: the
    // launcher saw to that.)
    let none = 0_u64;
    let arguments = [SIG_SETMASK as usize, (&raw const none).expose_provenance(), 0, size_of::<u64>(), 0, 0];
    // SAFETY: `none` is a signal set of the given size and lives through the call; the old one is not asked for.
    unsafe { call(__NR_rt_sigprocmask, arguments) }.map_err(|errno| (Stage::Session, errno))?;

    // A session of its own: signals to its group reach it and its children, and no one else.
    rustix::process::setsid().map_err(|errno| (Stage::Session, errno))?;
    if program.terminal {
        rustix::process::ioctl_tiocsctty(program.stdio[0]).map_err(|errno| (Stage::Session, errno))?;
    }
    for (number, fd) in program.stdio.iter().enumerate() {
        let fd = fd.as_raw_fd().cast_unsigned() as usize;
        // SAFETY: plain numbers. All three sources are above 2 (the agent keeps 0 to 2 on /dev/null), so none is overwritten
        // before it is used.
        unsafe { call(__NR_dup3, [fd, number, 0, 0, 0, 0]) }.map_err(|errno| (Stage::Stdio, errno))?;
    }
    // CLOSE_RANGE_CLOEXEC, not closing: the memory of the parent holds owners of these descriptors, and without
    // CLONE_FILES the table is ours.
    // SAFETY: plain numbers.
    unsafe { call(__NR_close_range, [3, u32::MAX as usize, CLOSE_RANGE_CLOEXEC, 0, 0, 0]) }
        .map_err(|errno| (Stage::Stdio, errno))?;
    let identity = |errno| (Stage::Identity, errno);
    if let Some(groups) = program.groups {
        rustix::thread::set_thread_groups(groups).map_err(identity)?;
        let gid = Gid::from_raw(program.gid);
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(identity)?;
        let uid = Uid::from_raw(program.uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(identity)?;
    }
    rustix::process::chdir(program.cwd).map_err(|errno| (Stage::WorkingDirectory, errno))
}
