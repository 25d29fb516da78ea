//! Watching files with `inotify(7)`.

use super::disk;
use super::path::join;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use computesdk_guest_protocol::agent::{Change, ChangeKind};
use computesdk_guest_protocol::encode;
use core::mem::MaybeUninit;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::fs::FileType;
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;

/// A set of watches that is not running yet.
pub(super) struct Watch {
    inotify: OwnedFd,
    /// Watch descriptor to path.
    paths: BTreeMap<i32, Vec<u8>>,
    recursive: bool,
}

impl Watch {
    pub(super) fn new(path: &[u8], recursive: bool) -> Result<Self, Errno> {
        let path = super::path::check(path)?;
        let mut watch =
            Self { inotify: init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?, paths: BTreeMap::new(), recursive };
        watch.add(path)?;
        if recursive {
            watch.add_below(path, &mut Vec::new());
        }
        Ok(watch)
    }

    fn add(&mut self, path: &[u8]) -> Result<(), Errno> {
        let interest = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        let descriptor = add_watch(&self.inotify, path, interest)?;
        self.paths.insert(descriptor, path.to_vec());
        Ok(())
    }

    /// Watches every directory below `path`. What is found is reported as created, as it may have come before the watch.
    fn add_below(&mut self, path: &[u8], found: &mut Vec<Vec<u8>>) {
        for entry in disk::entries(path).unwrap_or_default() {
            let child = join(path, &entry.name);
            found.push(child.clone());
            let is_dir = match entry.kind {
                FileType::Unknown => rustix::fs::lstat(&*child)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
                kind => kind == FileType::Directory,
            };
            if is_dir && self.add(&child).is_ok() {
                self.add_below(&child, found);
            }
        }
    }

    /// Writes changes into the pipe until its reader is gone or nothing is watched any more.
    pub(super) fn run(mut self, pipe: &OwnedFd) {
        loop {
            {
                let mut fds = [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(pipe, PollFlags::empty())];
                match poll(&mut fds, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(_) => return,
                }
                // POLLERR on the writing end of a pipe: nobody reads it any more (`poll(2)`).
                if !fds[1].revents().is_empty() {
                    return;
                }
            }
            for change in self.read() {
                if write(pipe, &change).is_err() {
                    return;
                }
            }
            if self.paths.is_empty() {
                return;
            }
        }
    }

    fn read(&mut self) -> Vec<Change> {
        let Ok(inotify) = rustix::io::fcntl_dupfd_cloexec(&self.inotify, 3) else { return Vec::new() };
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = Reader::new(inotify, &mut buffer);
        let mut changes = Vec::new();
        loop {
            let (descriptor, events, name) = match reader.next() {
                Ok(event) => (event.wd(), event.events(), event.file_name().map(|name| name.to_bytes().to_vec())),
                Err(Errno::INTR) => continue,
                Err(_) => return changes,
            };
            self.take(descriptor, events, name, &mut changes);
        }
    }

    fn take(&mut self, descriptor: i32, events: ReadFlags, name: Option<Vec<u8>>, changes: &mut Vec<Change>) {
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            changes.push(Change { kind: ChangeKind::Overflow, path: Vec::new() });
            return;
        }
        let Some(dir) = self.paths.get(&descriptor).cloned() else { return };
        if events.contains(ReadFlags::IGNORED) {
            self.paths.remove(&descriptor);
            return;
        }
        let path = name.map_or_else(|| dir.clone(), |name| join(&dir, &name));
        let kind = if events.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            ChangeKind::Created
        } else if events
            .intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF)
        {
            ChangeKind::Removed
        } else {
            ChangeKind::Modified
        };
        changes.push(Change { kind, path: path.clone() });
        if kind == ChangeKind::Created && self.recursive && events.contains(ReadFlags::ISDIR) {
            let mut found = Vec::new();
            if self.add(&path).is_ok() {
                self.add_below(&path, &mut found);
            }
            changes.extend(found.into_iter().map(|path| Change { kind: ChangeKind::Created, path }));
        }
    }
}

fn write(pipe: &OwnedFd, change: &Change) -> Result<(), Errno> {
    let bytes = encode(change).map_err(|_| Errno::INVAL)?;
    let mut frame = u32::try_from(bytes.len()).map_err(|_| Errno::INVAL)?.to_le_bytes().to_vec();
    frame.extend(bytes);
    disk::write_all(pipe, &frame)
}
