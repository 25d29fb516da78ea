//! What a program has written and nobody has read yet: first in memory, then in a file without a name.

use crate::EngineError;
use rustix::fs::{CWD, Mode, OFlags};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Bytes of one stream that are kept in memory.
const IN_MEMORY: usize = 1 << 20;

/// How much unread output of one stream is kept, unless the engine's options say otherwise: 1 GiB.
pub(crate) const DEFAULT_CAP: u64 = 1 << 30;

/// Where the part that does not stay in memory goes, and how much there may be.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) dir: PathBuf,
    /// Most bytes of one stream, memory included.
    pub(crate) cap: u64,
}

/// Unread output, in its order: what is in memory is older than what is in the file.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    memory: VecDeque<u8>,
    file: Option<File>,
    /// The unread part of the file.
    read: u64,
    written: u64,
}

impl Spool {
    /// Unread bytes.
    pub(crate) fn len(&self) -> u64 {
        self.memory.len() as u64 + (self.written - self.read)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds to the end. On an error nothing was added.
    pub(crate) fn push(&mut self, bytes: &[u8], store: &Store) -> io::Result<()> {
        if self.read == self.written && self.memory.len() + bytes.len() <= IN_MEMORY {
            self.memory.extend(bytes);
            return Ok(());
        }
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(nameless(&store.dir)?),
        };
        file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Takes from the front, into all of `buffer` or as much of it as there is.
    pub(crate) fn pop(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.memory.is_empty() {
            let (front, _) = self.memory.as_slices();
            let count = front.len().min(buffer.len());
            buffer[..count].copy_from_slice(&front[..count]);
            self.memory.drain(..count);
            if self.memory.is_empty() {
                self.memory = VecDeque::new();
            }
            return Ok(count);
        }
        let Some(file) = &self.file else { return Ok(0) };
        let unread = usize::try_from(self.written - self.read).unwrap_or(usize::MAX);
        let count = unread.min(buffer.len());
        file.read_exact_at(&mut buffer[..count], self.read)?;
        self.read += count as u64;
        if self.read == self.written {
            // Its space is free again.
            self.file = None;
            (self.read, self.written) = (0, 0);
        }
        Ok(count)
    }
}

/// A file that no path leads to: it is gone when it is closed, however this process ends.
fn nameless(dir: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(fd) = rustix::fs::openat(CWD, dir, flags, Mode::from_raw_mode(0o600)) {
        return Ok(File::from(fd));
    }
    // A file system without O_TMPFILE.
    let path = dir.join(crate::engine::random_name());
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Refuses a cap that could never hold what a pipe does.
pub(crate) fn check_cap(cap: u64) -> Result<(), EngineError> {
    if cap < IN_MEMORY as u64 {
        let problem = format!("{cap} is less than the {IN_MEMORY} bytes that are kept in memory");
        return Err(EngineError::Invalid { field: "unread_output_bytes", problem });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_and_the_file_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store { dir: dir.path().to_path_buf(), cap: DEFAULT_CAP };
        let mut spool = Spool::default();
        let mut expected = VecDeque::new();
        let mut state = 7_u32;
        let mut random = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % below
        };
        for round in 0..400 {
            let chunk: Vec<u8> = (0..random(60_000)).map(|at| (at ^ round) as u8).collect();
            spool.push(&chunk, &store).unwrap();
            expected.extend(chunk);
            let mut buffer = vec![0; random(50_000)];
            let count = spool.pop(&mut buffer).unwrap();
            assert!(buffer[..count].iter().copied().eq(expected.drain(..count)));
            assert_eq!(spool.len(), expected.len() as u64);
        }
        assert!(spool.file.is_some(), "it grew beyond memory");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
        let mut buffer = [0; 65_536];
        while !spool.is_empty() {
            let count = spool.pop(&mut buffer).unwrap();
            assert!(buffer[..count].iter().copied().eq(expected.drain(..count)));
        }
        assert!(expected.is_empty() && spool.file.is_none());
    }
}
