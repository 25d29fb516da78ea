//! Answers about files and sockets, given where the sandbox's own view of them is.
//!
//! Nothing here can block on a FIFO or a device: files are opened without blocking and looked at before anything else
//! is done with them. Links of `/proc` that lead anywhere (`root`, `cwd`, `fd/N`) are not followed.

use super::path::{check, join, parent};
use super::users::Names;
use super::{disk, sys};
use alloc::ffi::CString;
use alloc::string::String;
use alloc::vec::Vec;
use computesdk_guest_protocol::MAX_SPILLED;
use computesdk_guest_protocol::agent::{Answer, Ask, Kind, Open, Stat};
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

pub(super) fn answer(ask: &Ask) -> Result<(Answer, Option<OwnedFd>), Errno> {
    match ask {
        Ask::Open { path, how, mode } => Ok((Answer::Done, Some(open(check(path)?, *how, *mode)?))),
        Ask::Stat { path, follow } => Ok((Answer::Stat(stat(check(path)?, *follow, &Names::load())?), None)),
        Ask::List { path } => list(check(path)?).map(|entries| (Answer::Entries(entries), None)),
        Ask::MakeDir { path } => disk::make_dirs(check(path)?).map(|()| (Answer::Done, None)),
        Ask::Remove { path } => remove(check(path)?).map(|()| (Answer::Done, None)),
        Ask::Rename { from, to } => rename(check(from)?, check(to)?).map(|()| (Answer::Done, None)),
        Ask::Connect { port } => Ok((Answer::Done, Some(connect(*port)?))),
        // Needs a process and a pipe of its own.
        Ask::Watch { .. } => Err(Errno::INVAL),
    }
}

fn open(path: &[u8], how: Open, mode: u32) -> Result<OwnedFd, Errno> {
    let flags = match how {
        Open::Read => OFlags::RDONLY,
        Open::Write => OFlags::WRONLY | OFlags::CREATE,
        Open::Append => OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND,
        Open::ReadWrite => OFlags::RDWR | OFlags::CREATE,
    };
    if how != Open::Read {
        disk::make_dirs(parent(path))?;
    }
    let mode = if how == Open::Read { Mode::empty() } else { Mode::from_raw_mode(mode & 0o7777) };
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    // Looked at before it is opened: opening a device can already do something.
    let known = rustix::fs::stat(path).map(|stat| FileType::from_raw_mode(stat.st_mode));
    if known.is_ok_and(|kind| !matches!(kind, FileType::RegularFile | FileType::Directory)) {
        return Err(Errno::INVAL);
    }
    let file = rustix::fs::openat2(CWD, path, flags, mode, ResolveFlags::NO_MAGICLINKS)?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Errno::ISDIR),
        _ => return Err(Errno::INVAL),
    }
    if how == Open::Write {
        // Not O_TRUNC: only now is it known to be a file.
        rustix::fs::ftruncate(&file, 0)?;
    }
    Ok(file)
}

fn stat(path: &[u8], follow: bool, names: &Names) -> Result<Stat, Errno> {
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    let stat = rustix::fs::statat(CWD, path, flags)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Other,
    };
    let target = match kind {
        Kind::Symlink => rustix::fs::readlink(path, Vec::new()).ok().map(CString::into_bytes),
        _ => None,
    };
    Ok(Stat {
        kind,
        size: if kind == Kind::Directory { 0 } else { u64::try_from(stat.st_size).unwrap_or(0) },
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        owner: names.user(stat.st_uid),
        group: names.group(stat.st_gid),
        mtime: stat.st_mtime,
        mtime_nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        target,
    })
}

fn list(path: &[u8]) -> Result<Vec<(Vec<u8>, Stat)>, Errno> {
    let names = Names::load();
    let mut entries = Vec::new();
    let mut bytes = 0;
    for disk::Entry { name, .. } in disk::entries(path)? {
        // One that vanished meanwhile is not listed.
        if let Ok(stat) = stat(&join(path, &name), false, &names) {
            bytes += written(&name, &stat);
            // More than an answer can hold: an error now, not an answer that cannot be sent.
            if bytes > MAX_SPILLED {
                return Err(Errno::OVERFLOW);
            }
            entries.push((name, stat));
        }
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

/// At most so many bytes of an answer.
fn written(name: &[u8], stat: &Stat) -> u64 {
    // Kind and presence of three things, and every number and length in its longest form.
    const FIXED: usize = 4 + 10 + 3 * 5 + 10 + 5 + 4 * 5;
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let target = stat.target.as_ref().map_or(0, Vec::len);
    (FIXED + name.len() + text(&stat.owner) + text(&stat.group) + target) as u64
}

fn remove(path: &[u8]) -> Result<(), Errno> {
    // `/`, `//`, `/.`, `/a/..`: whatever is the root, but by a link, which may go.
    let own = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW);
    let root = rustix::fs::stat(c"/");
    if let (Ok(own), Ok(root)) = (own, root)
        && (own.st_dev, own.st_ino) == (root.st_dev, root.st_ino)
    {
        return Err(Errno::BUSY);
    }
    match disk::remove_tree(path) {
        // A directory on the way is missing, and so is what would be in it.
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn rename(from: &[u8], to: &[u8]) -> Result<(), Errno> {
    disk::make_dirs(parent(to))?;
    match rustix::fs::rename(from, to) {
        // From one overlay to another: a file is copied, as mv(1) does. A directory stays an error.
        Err(Errno::XDEV) => {
            // Opened first and looked at then: what the name means can change at any time. NONBLOCK, for a FIFO.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let source = rustix::fs::open(from, flags, Mode::empty()).map_err(|errno| match errno {
                Errno::LOOP => Errno::XDEV,
                other => other,
            })?;
            let found = rustix::fs::fstat(&source)?;
            if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
                return Err(Errno::XDEV);
            }
            // As rename(2) does, replaces the name and not what a link of that name leads to.
            match rustix::fs::unlink(to) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let copy = rustix::fs::open(to, flags, Mode::from_raw_mode(0o600))?;
            disk::copy(&source, &copy)?;
            rustix::fs::fchmod(&copy, Mode::from_raw_mode(found.st_mode & 0o7777))?;
            rustix::fs::unlink(from)
        }
        result => result,
    }
}

/// Servers that were told `localhost` may have taken it for either address.
fn connect(port: u16) -> Result<OwnedFd, Errno> {
    match connect_to(AddressFamily::INET, SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
        Err(Errno::CONNREFUSED) => connect_to(AddressFamily::INET6, SocketAddr::from((Ipv6Addr::LOCALHOST, port)))
            .map_err(|_| Errno::CONNREFUSED),
        connected => connected,
    }
}

fn connect_to(family: AddressFamily, address: SocketAddr) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        // Loopback answers within the call, or at the latest in the softirq after it.
        Ok(()) => Ok(socket),
        Err(Errno::INPROGRESS) => {
            let mut fds = [rustix::event::PollFd::new(&socket, rustix::event::PollFlags::OUT)];
            let limit = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
            if rustix::event::poll(&mut fds, Some(&limit))? == 0 {
                return Err(Errno::TIMEDOUT);
            }
            sys::pending_error(&socket)?;
            Ok(socket)
        }
        Err(errno) => Err(errno),
    }
}

/// Whether a program that wants to write more than a few pages is refused. Overlays tell the space of the file system that
/// holds what is written.
pub(super) fn disk_is_full() -> bool {
    const FEW: u64 = 16;
    [c"/", c"/dev/shm"].into_iter().any(|path| {
        rustix::fs::statfs(path).is_ok_and(|fs| {
            let no_blocks = fs.f_blocks > 0 && fs.f_bavail < FEW;
            let no_files = fs.f_files > 0 && fs.f_ffree < FEW;
            no_blocks || no_files
        })
    })
}
