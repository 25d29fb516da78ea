//! The embedded guest programs, ready to be executed.
//!
//! Each lives in a sealed memfd: nothing to install, and nobody, not even through `/proc/PID/exe`, can change it while it
//! runs. Where `vm.memfd_noexec` forbids executing a memfd, a private file in the cache directory stands in.

use crate::EngineError;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guest {
    name: &'static str,
    program: &'static [u8],
}

/// Makes sandboxes, outside of them.
pub(crate) const LAUNCHER: Guest = Guest { name: "launcher", program: include_bytes!(env!("COMPUTESDK_LAUNCHER")) };
/// The first process in each.
pub(crate) const AGENT: Guest = Guest { name: "agent", program: include_bytes!(env!("COMPUTESDK_AGENT")) };

/// `MFD_EXEC` (`memfd_create(2)`, Linux 6.3): asks for an executable memfd where the default is not.
const MFD_EXEC: u32 = 0x0010;

/// A descriptor of the program that can be executed through `/proc/self/fd`.
pub(crate) fn program(guest: Guest, cache_dir: &Path) -> Result<OwnedFd, EngineError> {
    if guest.program.is_empty() {
        return Err(EngineError::HostLost(String::from("this build has no guest program (it was made for docs.rs)")));
    }
    match in_memory(guest) {
        Ok(fd) => Ok(fd),
        Err(Errno::ACCESS | Errno::PERM) => {
            on_disk(guest, cache_dir).map_err(EngineError::host("write the guest program to the cache directory"))
        }
        Err(errno) => Err(EngineError::host("put the guest program into memory")(errno.into())),
    }
}

fn in_memory(guest: Guest) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = match memfd_create(guest.name, flags | MemfdFlags::from_bits_retain(MFD_EXEC)) {
        // Before Linux 6.3 the flag is unknown, and every memfd is executable.
        Err(Errno::INVAL) => memfd_create(guest.name, flags)?,
        result => result?,
    };
    let mut file = File::from(memfd);
    file.write_all(guest.program).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    // execve(2): ETXTBSY while anybody has it open for writing. Opened again for reading, and the first one closed.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

fn on_disk(guest: Guest, cache_dir: &Path) -> io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = cache_dir.join(format!("{}-{}-{}", guest.name, env!("CARGO_PKG_VERSION"), guest.program.len()));
    // Compared, not trusted: what is there may be another build's.
    if std::fs::read(&path).ok().as_deref() != Some(guest.program) {
        let temporary = path.with_extension(crate::engine::random_name());
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o700).open(&temporary)?;
        file.write_all(guest.program)?;
        drop(file);
        std::fs::rename(&temporary, &path)?;
    }
    Ok(File::open(&path)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_programs_run_from_memory_and_from_disk_and_are_static() {
        let dir = tempfile::tempdir().unwrap();
        for fd in [in_memory(LAUNCHER).unwrap(), on_disk(LAUNCHER, dir.path()).unwrap()] {
            let output = Command::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).env_clear().output().unwrap();
            assert_eq!(output.status.code(), Some(2));
            assert!(String::from_utf8_lossy(&output.stderr).contains("started by ComputeSDK's engine"));
        }
        for fd in [in_memory(AGENT).unwrap(), on_disk(AGENT, dir.path()).unwrap()] {
            // Without a socket where it looks for one, it has nothing to do.
            let status = Command::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).env_clear().status().unwrap();
            assert_eq!(status.code(), Some(1));
        }
        for Guest { name, program } in [LAUNCHER, AGENT] {
            // elf(5): no program header asks for an interpreter, so nothing of the host's libraries is needed to run it.
            let word = |at: usize| usize::from(u16::from_le_bytes([program[at], program[at + 1]]));
            let (first, size, count) = (word(0x20), word(0x36), word(0x38));
            assert!(count > 0);
            assert!((0..count).all(|header| program[first + header * size] != 3), "PT_INTERP in the {name}");
        }
        assert!(AGENT.program.len() < 200_000, "every sandbox has one: {} bytes", AGENT.program.len());
    }

    #[test]
    fn the_memfd_cannot_be_changed() {
        let fd = in_memory(AGENT).unwrap();
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        assert!(File::options().write(true).open(path).and_then(|mut file| file.write(b"x")).is_err());
    }
}
