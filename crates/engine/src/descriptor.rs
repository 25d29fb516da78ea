//! Checks of descriptors that come out of a sandbox.
//!
//! Whoever controls the agent chooses what it sends. A descriptor is taken only if its type **and** its file system are
//! what was asked for: a file of `/proc` or of a cgroup tree would act with the host's privilege when it is written. None
//! is ever mapped, and no ioctl is done but on a terminal that passed.

use crate::EngineError;
use rustix::fs::{FileType, OFlags, fcntl_setfl, fstat, fstatfs, major, minor};
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::fs::File;
use std::os::fd::OwnedFd;

// Magic numbers of statfs(2).
const OVERLAYFS: u64 = 0x794c_7630;
const TMPFS: u64 = 0x0102_1994;
const DEVPTS: u64 = 0x1cd1;

fn magic(fd: &OwnedFd) -> Result<u64, EngineError> {
    #[allow(clippy::cast_sign_loss, reason = "a file system magic is a bit pattern")]
    fstatfs(fd).map(|fs| fs.f_type as u64).map_err(|errno| EngineError::File(errno.into()))
}

/// A regular file of the sandbox's own file systems.
pub(crate) fn regular_file(fd: OwnedFd) -> Result<File, EngineError> {
    let stat = fstat(&fd).map_err(|errno| EngineError::File(errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(EngineError::NotAFile("it is no regular file"));
    }
    if !matches!(magic(&fd)?, OVERLAYFS | TMPFS) {
        return Err(EngineError::NotAFile(
            "it is no file on a disk (files of /proc are read with a command, such as `cat`)",
        ));
    }
    Ok(File::from(fd))
}

/// The master side of a terminal, made non-blocking.
pub(crate) fn terminal(fd: OwnedFd) -> Result<OwnedFd, EngineError> {
    let stat = fstat(&fd).map_err(|errno| EngineError::File(errno.into()))?;
    // devices.txt: 5:2 is /dev/ptmx.
    let is_master = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (5, 2)
        && magic(&fd)? == DEVPTS;
    if !is_master {
        return Err(EngineError::NotAFile("what the sandbox sent is no terminal"));
    }
    non_blocking(fd)
}

/// A connected TCP socket, made non-blocking.
pub(crate) fn tcp_socket(fd: OwnedFd) -> Result<std::net::TcpStream, EngineError> {
    let is_tcp = matches!(sockopt::socket_domain(&fd), Ok(AddressFamily::INET | AddressFamily::INET6))
        && sockopt::socket_type(&fd) == Ok(SocketType::STREAM)
        && sockopt::socket_protocol(&fd) == Ok(Some(rustix::net::ipproto::TCP));
    if !is_tcp {
        return Err(EngineError::NotAFile("what the sandbox sent is no TCP socket"));
    }
    non_blocking(fd).map(Into::into)
}

fn non_blocking(fd: OwnedFd) -> Result<OwnedFd, EngineError> {
    rustix::fs::fcntl_getfl(&fd)
        .and_then(|flags| fcntl_setfl(&fd, flags | OFlags::NONBLOCK))
        .map_err(|errno| EngineError::File(errno.into()))?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_proc_and_things_that_are_no_files_are_refused() {
        regular_file(File::open("/proc/self/status").unwrap().into()).unwrap_err();
        regular_file(File::open("/dev/null").unwrap().into()).unwrap_err();
        regular_file(File::open("/").unwrap().into()).unwrap_err();
        let (read, _write) = rustix::pipe::pipe().unwrap();
        regular_file(read).unwrap_err();
        let memfd = rustix::fs::memfd_create(c"x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        regular_file(memfd).unwrap();
    }

    #[test]
    fn only_a_terminal_is_a_terminal() {
        terminal(File::open("/dev/null").unwrap().into()).unwrap_err();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        tcp_socket(udp.into()).unwrap_err();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        tcp_socket(client.into()).unwrap();
    }
}
