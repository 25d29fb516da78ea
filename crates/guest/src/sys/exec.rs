//! Starting programs.
//!
//! [`start`] is a vfork: the child shares the agent's memory until it execs, so nothing is copied, however large the
//! agent is. Between the two the child may only make system calls on data that was laid out before.

use super::last_errno;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{Gid, Uid};
use std::ffi::{CStr, CString, c_char, c_int, c_void};

/// Executes an open program file. Returns only if that fails.
pub(crate) fn exec_fd(program: impl AsFd, arg0: &CStr) -> Errno {
    let argv: [*const c_char; 2] = [arg0.as_ptr(), std::ptr::null()];
    let envp: [*const c_char; 1] = [std::ptr::null()];
    // SAFETY: both arrays are NULL-terminated and, like their strings, live through the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_fd().as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    last_errno()
}

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
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    }
    let argv = pointers(program.argv);
    let envp = pointers(program.env);
    let mut shared = Shared { program, argv: argv.as_ptr(), envp: envp.as_ptr(), failed: None };
    // 64 KiB: the child calls a handful of shallow functions. Aligned as the ABI wants it.
    let mut stack = vec![0_u128; 4096];
    let top = stack.as_mut_ptr_range().end;
    // SAFETY: the child runs `child` on `stack`, which, like `shared`, outlives it here: with CLONE_VFORK this thread
    // continues only when the child has exec'd or exited. `child` allocates nothing and takes no lock.
    let pid = unsafe {
        libc::clone(
            child,
            top.cast::<c_void>(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            (&raw mut shared).cast::<c_void>(),
        )
    };
    if pid < 0 {
        return Err(StartError { stage: Stage::Clone, errno: last_errno() });
    }
    match shared.failed.take() {
        None => Ok(pid),
        Some(error) => {
            // It has exited already: reap this one child, so that nobody takes it for a program.
            let _ = rustix::process::waitpid(Pid::from_raw(pid), rustix::process::WaitOptions::empty());
            Err(error)
        }
    }
}

extern "C" fn child(shared: *mut c_void) -> c_int {
    // SAFETY: `start` passes a Shared that lives until this process execs or exits, and does not touch it meanwhile.
    let shared = unsafe { &mut *shared.cast::<Shared<'_>>() };
    let (stage, errno) = prepare(shared.program).map_or_else(
        |failure| failure,
        |()| {
            // SAFETY: the arrays are NULL-terminated and live in the parent, which waits.
            unsafe { libc::execve(shared.program.path.as_ptr(), shared.argv, shared.envp) };
            (Stage::Exec, last_errno())
        },
    );
    shared.failed = Some(StartError { stage, errno });
    // SAFETY: ends this process alone, running no exit handlers of the parent whose memory it shares.
    unsafe { libc::_exit(127) }
}

/// `struct sigaction` as `rt_sigaction(2)` takes it on x86-64 and, with one field less used, on aarch64.
#[repr(C)]
#[derive(Default)]
struct KernelSigaction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// Everything between vfork and exec: system calls only.
fn prepare(program: &Program<'_>) -> Result<(), (Stage, Errno)> {
    if let Some(group) = program.group {
        // `0` is whoever writes (`cgroups(7)`).
        rustix::io::write(group, b"0").map_err(|errno| (Stage::Limits, errno))?;
    }
    if program.open_files > 0 {
        let limit = program.open_files;
        super::set_limit(libc::RLIMIT_NOFILE, limit, limit).map_err(|errno| (Stage::Limits, errno))?;
    }
    // The parent blocks SIGCHLD and ignores some signals; a program starts with defaults.
    // Dispositions are this process's own: CLONE_SIGHAND is not given.
    let default = KernelSigaction::default();
    for signal in 1..super::SIGNALS {
        // The system call, as libc refuses the two signals it keeps for itself, which may be ignored all the same.
        // SAFETY: `default` is a sigaction of the kernel with SIG_DFL, which installs no handler, and a mask of 8 bytes.
        // SIGKILL and SIGSTOP are refused, which is fine.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const default,
                std::ptr::null_mut::<KernelSigaction>(),
                size_of::<u64>(),
            )
        };
    }
    // SAFETY: an all-zero sigset_t is the empty set on Linux.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `none` lives through the call.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) };

    // A session of its own: signals to its group reach it and its children, and no one else.
    rustix::process::setsid().map_err(|errno| (Stage::Session, errno))?;
    if program.terminal {
        rustix::process::ioctl_tiocsctty(program.stdio[0]).map_err(|errno| (Stage::Session, errno))?;
    }
    for (number, fd) in program.stdio.iter().enumerate() {
        // SAFETY: dup2 takes plain numbers. All three sources are above 2 (the agent keeps 0 to 2 on /dev/null), so
        // none is overwritten before it is used.
        if unsafe { libc::dup2(fd.as_raw_fd(), number as c_int) } < 0 {
            return Err((Stage::Stdio, last_errno()));
        }
    }
    // CLOSE_RANGE_CLOEXEC, not closing: the memory of the parent holds owners of these descriptors, and without
    // CLONE_FILES the table is ours.
    // SAFETY: plain numbers.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
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
