//! Reading files and directories, making and removing them: what a standard library would have.

use alloc::ffi::CString;
use alloc::string::String;
use alloc::vec::Vec;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// The content of a regular file of at most `limit` bytes. A sandbox may put anything anywhere: nothing here waits for a
/// FIFO or a device.
pub(super) fn read(path: &[u8], limit: usize) -> Result<Vec<u8>, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    let mut content = Vec::new();
    let mut filled = 0;
    loop {
        content.resize(filled + 16 * 1024, 0);
        match rustix::io::read(&file, &mut content[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        if filled > limit {
            return Err(Errno::FBIG);
        }
    }
    content.truncate(filled);
    Ok(content)
}

/// A small text file, empty if it cannot be read.
pub(super) fn text(path: &[u8]) -> String {
    let bytes = read(path, 16 << 20).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An entry of a directory.
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    /// What the directory says of its type; not every file system does.
    pub(super) kind: FileType,
}

/// What is in a directory, without itself and its parent.
pub(super) fn entries(path: &[u8]) -> Result<Vec<Entry>, Errno> {
    entries_of(open_dir(CWD, path, OFlags::empty())?)
}

fn open_dir(at: BorrowedFd<'_>, name: &[u8], more: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK | more;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

fn entries_of(dir: impl AsFd) -> Result<Vec<Entry>, Errno> {
    let mut found = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            found.push(Entry { name: name.to_vec(), kind: entry.file_type() });
        }
    }
    Ok(found)
}

/// Makes a directory with its parents; one that exists is fine.
pub(super) fn make_dirs(path: &[u8]) -> Result<(), Errno> {
    let is_dir = |path: &[u8]| {
        rustix::fs::stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    };
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o777)) {
        Ok(()) => Ok(()),
        Err(Errno::NOENT) => {
            let above = super::path::parent(path);
            if above.len() >= path.len() {
                return Err(Errno::NOENT);
            }
            make_dirs(above)?;
            match rustix::fs::mkdir(path, Mode::from_raw_mode(0o777)) {
                // Somebody else was faster.
                Err(Errno::EXIST) if is_dir(path) => Ok(()),
                result => result,
            }
        }
        // Also where it may not be made because it cannot be: `/`, a read-only file system.
        Err(_) if is_dir(path) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Removes a file or a tree. Directories are opened one in the other and never through a link, so that nothing outside
/// of the tree can be put in their place meanwhile.
pub(super) fn remove_tree(path: &[u8]) -> Result<(), Errno> {
    remove_at(CWD, path)
}

fn remove_at(at: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // A directory; EPERM is what POSIX wants for it.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let dir = match open_dir(at, name, OFlags::NOFOLLOW) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(()),
        // It could not be removed as a file either.
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(Errno::PERM),
        Err(errno) => return Err(errno),
    };
    // Entries that appear meanwhile are found the next time round.
    for _ in 0..8 {
        for entry in entries_of(&dir)? {
            remove_at(dir.as_fd(), &entry.name)?;
        }
        match rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::NOTEMPTY)
}

/// Copies what is left of one file to another.
pub(super) fn copy(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let mut buffer = alloc::vec![0; 128 * 1024];
    loop {
        let count = match rustix::io::read(from, &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        write_all(to, &buffer[..count])?;
    }
}

/// Writes all of it.
pub(super) fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// A path or an argument for a system call.
pub(super) fn c_string(bytes: impl Into<Vec<u8>>) -> Result<CString, Errno> {
    CString::new(bytes).map_err(|_| Errno::INVAL)
}
