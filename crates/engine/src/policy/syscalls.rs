//! The system calls by name: allowed, and refused with EPERM. What is in no list is answered with ENOSYS.
//!
//! ENOSYS is the answer for the unknown because libraries then fall back to an older call; EPERM is for calls that
//! programs know to be privileged and report as such. The numbers come from `libc`, so a name that an architecture
//! lacks does not compile there: such names stand in the lists of that architecture. Calls that `libc` does not name
//! yet stand with their numbers, which are the same everywhere from 424 on.

/// A system call: its name in `libc`, and its number on this architecture.
pub(super) type Call = (&'static str, i64);

macro_rules! calls {
    ($($name:ident)*) => { &[$((stringify!($name), libc::$name),)*] };
}

/// Allowed on every architecture. `clone`, `unshare`, `personality`, `ioctl`, `socket` and `socketpair` have
/// conditions besides (see `seccomp`).
pub(super) const ALLOWED: &[Call] = calls! {
    // Files and directories. `chroot` and `mknodat` are bounded by capabilities and by the user namespace (no devices).
    SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev SYS_preadv2 SYS_pwritev2
    SYS_openat SYS_openat2 SYS_close SYS_close_range SYS_lseek SYS_dup SYS_dup3 SYS_fcntl SYS_flock SYS_ioctl
    SYS_fstat SYS_newfstatat SYS_statx SYS_statfs SYS_fstatfs SYS_getdents64 SYS_getcwd SYS_chdir SYS_fchdir SYS_chroot
    SYS_mkdirat SYS_mknodat SYS_unlinkat SYS_linkat SYS_symlinkat SYS_readlinkat SYS_renameat2
    SYS_faccessat SYS_faccessat2 SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_umask
    SYS_truncate SYS_ftruncate SYS_fallocate SYS_fadvise64 SYS_readahead SYS_utimensat
    SYS_sync SYS_fsync SYS_fdatasync SYS_syncfs SYS_sync_file_range SYS_copy_file_range SYS_sendfile SYS_splice SYS_tee
    SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_llistxattr
    SYS_flistxattr SYS_removexattr SYS_lremovexattr SYS_fremovexattr
    SYS_inotify_init1 SYS_inotify_add_watch SYS_inotify_rm_watch
    // Useless without `fanotify_init`, which is refused: the answer is then a clean EBADF.
    SYS_fanotify_mark

    // Memory. `memfd_create` is how the agent gets code and large environments.
    SYS_brk SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_mincore SYS_msync SYS_mlock SYS_mlock2
    SYS_munlock SYS_mlockall SYS_munlockall SYS_memfd_create SYS_membarrier SYS_remap_file_pages
    SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_mseal
    // NUMA policy of the caller's own memory: numpy and the JVM ask for it. Moving pages of others is refused.
    SYS_mbind SYS_get_mempolicy SYS_set_mempolicy SYS_set_mempolicy_home_node

    // Processes and threads. `clone` without new namespaces only; `clone3` is in no list on purpose: its flags lie in
    // memory where a filter cannot look, and ENOSYS makes libraries use `clone`.
    SYS_clone SYS_unshare SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4 SYS_waitid
    SYS_getpid SYS_getppid SYS_gettid SYS_getpgid SYS_setpgid SYS_getsid SYS_setsid SYS_set_tid_address
    SYS_set_robust_list SYS_get_robust_list SYS_rseq SYS_futex SYS_futex_waitv SYS_prctl SYS_personality SYS_getcpu SYS_restart_syscall
    SYS_pidfd_open SYS_pidfd_send_signal SYS_pidfd_getfd SYS_process_mrelease
    // Debuggers. Safe since Linux 4.8, where the filter runs after the tracer had its turn, and the process namespace
    // has nobody else to trace.
    SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev
    // Filters can only be narrowed; browsers and `systemd`-like tools bring their own.
    SYS_seccomp SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self

    // Signals.
    SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigpending SYS_rt_sigtimedwait SYS_rt_sigsuspend
    SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo SYS_sigaltstack SYS_kill SYS_tkill SYS_tgkill SYS_signalfd4

    // Users and capabilities.
    SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getresuid SYS_getresgid SYS_getgroups SYS_setuid SYS_setgid
    SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid SYS_setfsuid SYS_setfsgid SYS_setgroups SYS_capget SYS_capset

    // Scheduling and limits.
    SYS_sched_yield SYS_sched_getaffinity SYS_sched_setaffinity SYS_sched_getparam SYS_sched_setparam
    SYS_sched_getscheduler SYS_sched_setscheduler SYS_sched_getattr SYS_sched_setattr SYS_sched_get_priority_max
    SYS_sched_get_priority_min SYS_sched_rr_get_interval SYS_getpriority SYS_setpriority SYS_ioprio_get SYS_ioprio_set
    SYS_getrlimit SYS_setrlimit SYS_prlimit64 SYS_getrusage SYS_times

    // Time. Reading only: the clock is the host's.
    SYS_clock_gettime SYS_clock_getres SYS_clock_nanosleep SYS_nanosleep SYS_gettimeofday SYS_getitimer SYS_setitimer
    SYS_timer_create SYS_timer_settime SYS_timer_gettime SYS_timer_getoverrun SYS_timer_delete
    SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime

    // Waiting and pipes. `io_setup` and its kin are the old asynchronous i/o that databases use, not io_uring.
    SYS_ppoll SYS_pselect6 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_pipe2
    SYS_io_setup SYS_io_destroy SYS_io_submit SYS_io_cancel SYS_io_getevents

    // Sockets.
    SYS_socket SYS_socketpair SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_shutdown SYS_getsockname
    SYS_getpeername SYS_getsockopt SYS_setsockopt SYS_sendto SYS_recvfrom SYS_sendmsg SYS_recvmsg SYS_sendmmsg
    SYS_recvmmsg

    // System V and POSIX inter-process communication, in an own namespace.
    SYS_semget SYS_semop SYS_semtimedop SYS_semctl SYS_shmget SYS_shmat SYS_shmdt SYS_shmctl SYS_msgget SYS_msgsnd
    SYS_msgrcv SYS_msgctl SYS_mq_open SYS_mq_unlink SYS_mq_timedsend SYS_mq_timedreceive SYS_mq_notify
    SYS_mq_getsetattr

    // The machine.
    SYS_uname SYS_sysinfo SYS_getrandom
};

/// Allowed on x86-64 only: the older forms that newer architectures left out.
#[cfg(target_arch = "x86_64")]
pub(super) const ALLOWED_HERE: &[Call] = calls! {
    SYS_open SYS_creat SYS_stat SYS_lstat SYS_access SYS_dup2 SYS_pipe SYS_getdents SYS_mkdir SYS_rmdir SYS_mknod
    SYS_unlink SYS_link SYS_symlink SYS_readlink SYS_rename SYS_renameat SYS_chmod SYS_chown SYS_lchown SYS_utime
    SYS_utimes SYS_futimesat SYS_poll SYS_select SYS_epoll_create SYS_epoll_ctl_old SYS_epoll_wait SYS_epoll_wait_old
    SYS_eventfd SYS_signalfd SYS_inotify_init SYS_fork SYS_vfork SYS_getpgrp SYS_alarm SYS_pause SYS_time
    // Thread-local storage of every program; the two others are its forerunners.
    SYS_arch_prctl SYS_set_thread_area SYS_get_thread_area
};

/// Allowed on aarch64 only.
#[cfg(target_arch = "aarch64")]
pub(super) const ALLOWED_HERE: &[Call] = calls! { SYS_renameat };

/// Allowed, and not named by `libc` on every target.
pub(super) const ALLOWED_BY_NUMBER: &[Call] = &[
    ("SYS_io_pgetevents", if cfg!(target_arch = "x86_64") { 333 } else { 292 }),
    ("SYS_cachestat", 451),
    ("SYS_fchmodat2", 452),
    ("SYS_map_shadow_stack", 453),
    ("SYS_futex_wake", 454),
    ("SYS_futex_wait", 455),
    ("SYS_futex_requeue", 456),
    ("SYS_setxattrat", 463),
    ("SYS_getxattrat", 464),
    ("SYS_listxattrat", 465),
    ("SYS_removexattrat", 466),
];

/// Refused with EPERM on every architecture.
pub(super) const REFUSED: &[Call] = calls! {
    // Mounts, old and new interface: no sandbox process changes what the sandbox sees.
    SYS_mount SYS_umount2 SYS_pivot_root SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig SYS_fsmount SYS_fspick
    SYS_mount_setattr SYS_setns
    // File handles reach files that no directory of the sandbox leads to.
    SYS_open_by_handle_at SYS_name_to_handle_at
    // Keyrings belong to a user, not to a namespace.
    SYS_keyctl SYS_add_key SYS_request_key
    // Large, often attacked parts of the kernel that programs can do without.
    SYS_bpf SYS_perf_event_open SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register SYS_userfaultfd
    SYS_vmsplice SYS_fanotify_init
    // Memory of other processes, and memory that a snapshot or a kill could not account for.
    SYS_move_pages SYS_migrate_pages SYS_process_madvise SYS_memfd_secret SYS_kcmp
    // The machine: kernel, modules, swap, accounting, quota, clock, names, log.
    SYS_kexec_load SYS_reboot SYS_init_module SYS_finit_module SYS_delete_module SYS_swapon
    SYS_swapoff SYS_acct SYS_quotactl SYS_quotactl_fd SYS_settimeofday SYS_clock_settime SYS_clock_adjtime SYS_adjtimex
    SYS_sethostname SYS_setdomainname SYS_syslog SYS_vhangup SYS_nfsservctl
};

/// Refused, and not named by `libc` on every target.
pub(super) const REFUSED_BY_NUMBER: &[Call] = &[
    ("SYS_kexec_file_load", if cfg!(target_arch = "x86_64") { 320 } else { 294 }),
    ("SYS_statmount", 457),
    ("SYS_listmount", 458),
    ("SYS_open_tree_attr", 467),
];

/// Refused on x86-64 only: port access, and a kernel-profiling leftover.
#[cfg(target_arch = "x86_64")]
pub(super) const REFUSED_HERE: &[Call] = calls! { SYS_iopl SYS_ioperm SYS_lookup_dcookie };

/// Refused on aarch64 only.
#[cfg(target_arch = "aarch64")]
pub(super) const REFUSED_HERE: &[Call] = calls! { SYS_lookup_dcookie };

/// Every allowed call of this architecture.
pub(super) fn allowed() -> impl Iterator<Item = Call> {
    [ALLOWED, ALLOWED_HERE, ALLOWED_BY_NUMBER].into_iter().flatten().copied()
}

/// Every refused call of this architecture.
pub(super) fn refused() -> impl Iterator<Item = Call> {
    [REFUSED, REFUSED_HERE, REFUSED_BY_NUMBER].into_iter().flatten().copied()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the local engine has system-call lists for x86_64 and aarch64 only");
