//! The only `unsafe` code of the checker: system calls that are made *because* they should fail, through every entry.
//!
//! [`call`] takes any number and any arguments. It is called with the numbers of `checks.txt` and with addresses that
//! lead into a [`Page`] of this program, into a buffer of the caller's that outlives the call, or nowhere.

#![allow(unsafe_code, reason = "this module is the checker's home of unsafe code")]

use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// A way into the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The machine's own.
    Native,
    /// x32: the native instruction with bit 30 set in the number.
    X32,
    /// i386: `int 0x80`.
    I386,
}

/// Makes a system call; the error is its number.
pub(crate) fn call(entry: Entry, number: u64, arguments: &[u64]) -> Result<u64, i32> {
    let mut all = [0_u64; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    let result = match entry {
        Entry::Native => native(number, all),
        Entry::X32 => native(number | 0x4000_0000, all),
        Entry::I386 => i386(number, all),
    };
    if (-4095..0).contains(&result) { Err(i32::try_from(-result).unwrap_or(0)) } else { Ok(result.cast_unsigned()) }
}

/// [`call`] by the machine's own entry.
pub(crate) fn native_call(number: libc::c_long, arguments: &[u64]) -> Result<u64, i32> {
    call(Entry::Native, number.cast_unsigned(), arguments)
}

fn native(number: u64, a: [u64; 6]) -> i64 {
    // SAFETY: see the head of this module; what the kernel writes, it writes into pages and buffers that are not
    // otherwise in use.
    let result = unsafe { libc::syscall(number.cast_signed(), a[0], a[1], a[2], a[3], a[4], a[5]) };
    if result == -1 { -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)) } else { result }
}

#[cfg(target_arch = "x86_64")]
fn i386(number: u64, a: [u64; 6]) -> i64 {
    // The instruction reads the lower halves. rbx and rbp cannot be named as operands.
    let words = [number, a[0], a[1], a[2], a[3], a[4], a[5]];
    let result: u64;
    // SAFETY: as for `native`. rbx and rbp are saved and restored; everything else that the kernel may change is named.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "push rbp",
            "mov rax, [rdi]",
            "mov rbx, [rdi + 8]",
            "mov rcx, [rdi + 16]",
            "mov rdx, [rdi + 24]",
            "mov rsi, [rdi + 32]",
            "mov rbp, [rdi + 48]",
            "mov rdi, [rdi + 40]",
            "int 0x80",
            "pop rbp",
            "pop rbx",
            inout("rdi") words.as_ptr() => _,
            out("rax") result, out("rcx") _, out("rdx") _, out("rsi") _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    // An i386 result is 32 bits wide.
    #[allow(clippy::cast_possible_truncation, reason = "the upper half has no meaning")]
    i64::from(result as u32 as i32)
}

#[cfg(not(target_arch = "x86_64"))]
fn i386(_: u64, _: [u64; 6]) -> i64 {
    -i64::from(libc::ENOSYS)
}

/// A page of zeros that a 32-bit pointer reaches. It is never freed.
#[derive(Clone, Copy)]
pub(crate) struct Page(pub(crate) u64);

impl Page {
    pub(crate) fn new() -> Self {
        #[cfg(target_arch = "x86_64")]
        let low = libc::MAP_32BIT;
        #[cfg(not(target_arch = "x86_64"))]
        let low = 0;
        // SAFETY: a fresh anonymous mapping, in nobody's way.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | low,
                -1,
                0,
            )
        };
        assert_ne!(address, libc::MAP_FAILED, "no memory for a page");
        Self(address as u64)
    }

    /// A page that begins with these bytes (at most a page of them).
    pub(crate) fn with(bytes: &[u8]) -> Self {
        let page = Self::new();
        // SAFETY: the page is 4096 bytes long, fresh, and only ours; no caller has more bytes.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), page.0 as *mut u8, bytes.len().min(4096)) };
        page
    }

    /// Its first bytes.
    pub(crate) fn bytes<const N: usize>(self) -> [u8; N] {
        assert!(N <= 4096, "a page is no longer");
        // SAFETY: the page is 4096 bytes long, initialised by the kernel, and never freed.
        unsafe { std::ptr::read_unaligned(self.0 as *const [u8; N]) }
    }
}

/// A socket of its own: `std` binds or connects those that it makes.
pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> std::io::Result<OwnedFd> {
    let words = [family, kind | libc::SOCK_CLOEXEC, protocol].map(|word| u64::from(word.cast_unsigned()));
    let fd = native_call(libc::SYS_socket, &words).map_err(std::io::Error::from_raw_os_error)?;
    // SAFETY: the kernel has just made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) })
}

/// `setsockopt(2)`
pub(crate) fn set_option(socket: &OwnedFd, level: i32, option: i32, value: &[u8]) -> Result<u64, i32> {
    let words = [socket.as_raw_fd(), level, option].map(|word| u64::from(word.cast_unsigned()));
    let length = value.len() as u64;
    native_call(libc::SYS_setsockopt, &[words[0], words[1], words[2], Page::with(value).0, length])
}

/// `bind(2)` or `connect(2)`, by its number.
pub(crate) fn with_address(number: libc::c_long, socket: &OwnedFd, address: SocketAddr) -> std::io::Result<()> {
    // `ip(7)` and `ipv6(7)`
    let port = address.port().to_be_bytes();
    let bytes = match address {
        SocketAddr::V4(v4) => [&2_u16.to_ne_bytes()[..], &port, &v4.ip().octets(), &[0; 8]].concat(),
        SocketAddr::V6(v6) => {
            [&10_u16.to_ne_bytes()[..], &port, &[0; 4], &v6.ip().octets(), &v6.scope_id().to_ne_bytes()].concat()
        }
    };
    let fd = u64::from(socket.as_raw_fd().cast_unsigned());
    let done = native_call(number, &[fd, Page::with(&bytes).0, bytes.len() as u64]);
    done.map(drop).map_err(std::io::Error::from_raw_os_error)
}

/// Runs `work` in a child process that is ended after ten seconds; returns what it said and its wait status.
pub(crate) fn in_child(work: impl FnOnce() -> String) -> (String, i32) {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0, "no pipe");
    // SAFETY: this program has one thread, so the child is a whole copy.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "no process: {}", std::io::Error::last_os_error());
    if pid == 0 {
        // SAFETY: a plain number; the default action of the signal ends the child.
        unsafe { libc::alarm(10) };
        let said = work();
        // SAFETY: `said` lives through the call.
        unsafe { libc::write(ends[1], said.as_ptr().cast(), said.len()) };
        exit(0);
    }
    // SAFETY: the number is this process's, and is not used again.
    unsafe { libc::close(ends[1]) };
    // SAFETY: the descriptor is open and owned by nobody else.
    let mut reader = unsafe { std::fs::File::from_raw_fd(ends[0]) };
    let mut said = Vec::new();
    let _ = std::io::Read::read_to_end(&mut reader, &mut said);
    let mut status = 0;
    // SAFETY: `status` is a valid place for one.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0
        && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted
    {}
    (String::from_utf8_lossy(&said).into_owned(), status)
}

/// Ends this process at once.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: does not return and runs no code of this program.
    unsafe { libc::_exit(code) }
}
