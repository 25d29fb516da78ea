//! One output stream of a process: everything it wrote, by offset, for any number of readers.
//!
//! The newest [`RECENT`] bytes are in memory; what is older goes to a nameless file, made when it is first needed. A process is not
//! stopped because nobody reads, until the cap; then what somebody has read is given up first, and only if nobody has, the process
//! waits, which [`Output::is_blocked`] tells.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::{Notify, watch};

/// As much of a stream stays in memory.
const RECENT: usize = 1 << 20;
/// So much goes to the file at a time.
const BATCH: usize = 512 << 10;
/// At most so much is handed out at a time. Clients that look for lines do so in one message at a time, and with larger ones take many
/// times as long.
const HANDED: usize = 64 << 10;
/// Smaller writes than this are gathered, in pieces of so many bytes: each piece has a price of its own.
const SMALL: usize = 4 << 10;
const GATHERED: usize = 16 << 10;
/// So many moments are remembered at which something was written.
const MOMENTS: usize = 1024;

/// How much is kept of a stream, and where.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    /// Where the nameless files are made.
    pub(crate) dir: PathBuf,
    /// Most bytes of one stream.
    pub(crate) cap: u64,
}

/// What a reader cannot have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("output before byte {start} is not kept any more")]
    Dropped { start: u64 },
    #[error("output that was set aside cannot be read")]
    Io(#[from] io::Error),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Output {
    spool: Spool,
    inner: Mutex<Inner>,
    /// Something was written, read, or came to an end.
    changed: Notify,
    /// How many read it to its end just now.
    followers: watch::Sender<usize>,
}

/// Somebody who reads an output to its end.
#[derive(Debug)]
pub(crate) struct Follower {
    output: Arc<Output>,
}

impl Follower {
    pub(crate) fn new(output: Arc<Output>) -> Self {
        output.followers.send_modify(|count| *count += 1);
        Self { output }
    }

    /// As [`Output::read`].
    pub(crate) async fn read(&self, offset: u64) -> Result<Option<Bytes>, ReadError> {
        self.output.read(offset).await
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.output.followers.send_modify(|count| *count -= 1);
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// The first byte that is kept.
    start: u64,
    /// The first byte in memory; what is before is in the file, at its offset modulo the cap.
    in_memory: u64,
    end: u64,
    recent: VecDeque<Bytes>,
    /// Small writes, after `recent`.
    tail: BytesMut,
    file: Option<Arc<File>>,
    /// How far somebody has read.
    read: u64,
    blocked: bool,
    finished: bool,
    moments: VecDeque<(u64, SystemTime)>,
}

impl Output {
    pub(crate) fn new(spool: Spool) -> Self {
        Self { spool, inner: Mutex::default(), changed: Notify::new(), followers: watch::Sender::new(0) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much was written so far.
    pub(crate) fn len(&self) -> u64 {
        self.inner().end
    }

    /// How much of it is in memory.
    pub(crate) fn held(&self) -> u64 {
        let inner = self.inner();
        inner.end - inner.in_memory
    }

    /// Whether nothing more comes, and somebody has had all of it.
    pub(crate) fn is_read(&self) -> bool {
        let inner = self.inner();
        inner.finished && inner.read >= inner.end
    }

    /// The first byte that is kept.
    pub(crate) fn start(&self) -> u64 {
        self.inner().start
    }

    /// Whether the process waits because so much is unread.
    #[cfg(test)]
    fn is_blocked(&self) -> bool {
        self.inner().blocked
    }

    /// Adds what a process wrote, and leaves `data` empty; waits at the cap.
    pub(crate) async fn push(&self, data: &mut BytesMut) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.make_room(data.len() as u64).await;
        let batch = {
            let mut inner = self.inner();
            if inner.moments.len() == MOMENTS {
                inner.moments.pop_front();
            }
            let at = inner.end;
            inner.moments.push_back((at, SystemTime::now()));
            inner.append(data);
            inner.oldest_batch()
        };
        self.changed.notify_waiters();
        match batch {
            Some((at, chunks)) => self.set_aside(at, chunks).await,
            None => Ok(()),
        }
    }

    /// Waits until so many bytes more stay within the cap.
    async fn make_room(&self, more: u64) {
        loop {
            let changed = self.changed.notified();
            {
                let mut inner = self.inner();
                let over = (inner.end + more).saturating_sub(inner.start).saturating_sub(self.spool.cap);
                if over == 0 {
                    inner.blocked = false;
                    return;
                }
                // What is in memory is never given up: the file alone is a ring.
                let given_up = inner.read.min(inner.in_memory).min(inner.start + over.max(BATCH as u64));
                if given_up > inner.start {
                    inner.start = given_up;
                    continue;
                }
                if !inner.blocked {
                    tracing::warn!(cap = self.spool.cap, "output that nobody reads has met its cap: its process waits");
                }
                inner.blocked = true;
            }
            changed.await;
        }
    }

    /// Moves the oldest chunks from memory to the file. They stay readable in memory meanwhile.
    async fn set_aside(&self, at: u64, chunks: Vec<Bytes>) -> io::Result<()> {
        let known = self.inner().file.clone();
        let (dir, cap) = (self.spool.dir.clone(), self.spool.cap);
        let count = chunks.len();
        let work = move || -> io::Result<(Arc<File>, u64)> {
            let file = match known {
                Some(file) => file,
                None => Arc::new(tempfile::tempfile_in(dir)?),
            };
            let mut offset = at;
            for chunk in chunks {
                write_ring(&file, &chunk, offset, cap)?;
                offset += chunk.len() as u64;
            }
            Ok((file, offset))
        };
        let (file, until) = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
        let mut inner = self.inner();
        inner.file.get_or_insert(file);
        inner.recent.drain(..count);
        inner.in_memory = until;
        Ok(())
    }

    /// Nothing more will be written.
    pub(crate) fn finish(&self) {
        {
            let mut inner = self.inner();
            inner.finished = true;
            inner.blocked = false;
        }
        self.changed.notify_waiters();
    }

    /// Whether nothing more will be written.
    pub(crate) fn is_finished(&self) -> bool {
        self.inner().finished
    }

    /// Returns when nobody follows it.
    pub(crate) async fn unfollowed(&self) {
        // The sender is part of `self`.
        let _ = self.followers.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Returns when nothing more will be written.
    pub(crate) async fn finished(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_finished() {
                return;
            }
            changed.await;
        }
    }

    /// What was written from this offset on, as much as is at hand, at least a byte; waits for it. `None` is the end.
    pub(crate) async fn read(&self, offset: u64) -> Result<Option<Bytes>, ReadError> {
        loop {
            let changed = self.changed.notified();
            if let Some(found) = self.try_read(offset).await? {
                return Ok(Some(found));
            }
            if self.is_finished() && offset >= self.len() {
                return Ok(None);
            }
            changed.await;
        }
    }

    /// The same without waiting: `None` if nothing is there (yet).
    pub(crate) async fn try_read(&self, offset: u64) -> Result<Option<Bytes>, ReadError> {
        let (file, length) = {
            let mut inner = self.inner();
            if offset < inner.start {
                return Err(ReadError::Dropped { start: inner.start });
            }
            if offset >= inner.end {
                return Ok(None);
            }
            if offset >= inner.in_memory {
                let found = inner.in_memory_from(offset);
                self.note_read(&mut inner, offset + found.len() as u64);
                return Ok(Some(found));
            }
            let Some(file) = inner.file.clone() else {
                return Err(io::Error::from(io::ErrorKind::NotFound).into());
            };
            (file, usize::try_from(inner.in_memory - offset).unwrap_or(HANDED).min(HANDED))
        };
        let cap = self.spool.cap;
        let read = move || read_ring(&file, offset, length, cap);
        let found = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
        let mut inner = self.inner();
        if offset < inner.start {
            // It was given up, and perhaps overwritten, while it was being read.
            return Err(ReadError::Dropped { start: inner.start });
        }
        self.note_read(&mut inner, offset + found.len() as u64);
        Ok(Some(found))
    }

    fn note_read(&self, inner: &mut Inner, until: u64) {
        if until > inner.read {
            inner.read = until;
            if inner.blocked {
                self.changed.notify_waiters();
            }
        }
    }

    /// When the byte at this offset was written, as far as that is remembered.
    pub(crate) fn written_at(&self, offset: u64) -> Option<SystemTime> {
        let inner = self.inner();
        let after = inner.moments.partition_point(|(at, _)| *at <= offset);
        inner.moments.get(after.checked_sub(1)?).map(|(_, when)| *when)
    }

    /// The end of it, at most so many bytes, and the offset at which that starts. Nothing is waited for.
    pub(crate) async fn tail(&self, most: u64) -> Result<(u64, Vec<u8>), ReadError> {
        let (start, end) = {
            let inner = self.inner();
            (inner.start.max(inner.end.saturating_sub(most)), inner.end)
        };
        let mut found = Vec::new();
        let mut at = start;
        while at < end {
            match self.try_read(at).await? {
                Some(bytes) => {
                    at += bytes.len() as u64;
                    found.extend_from_slice(&bytes);
                }
                None => break,
            }
        }
        Ok((start, found))
    }
}

impl Inner {
    fn append(&mut self, data: &mut BytesMut) {
        self.end += data.len() as u64;
        if data.len() < SMALL {
            self.tail.extend_from_slice(data);
            data.clear();
        } else {
            self.gather();
            self.recent.push_back(data.split().freeze());
        }
        if self.tail.len() >= GATHERED {
            self.gather();
        }
    }

    fn gather(&mut self) {
        if !self.tail.is_empty() {
            self.recent.push_back(Bytes::copy_from_slice(&self.tail));
            self.tail.clear();
        }
    }

    /// The chunks that leave memory next, with the offset of the first.
    fn oldest_batch(&self) -> Option<(u64, Vec<Bytes>)> {
        let held = usize::try_from(self.end - self.in_memory).unwrap_or(usize::MAX);
        if held < RECENT + BATCH {
            return None;
        }
        let mut left = held - RECENT;
        let fits = |chunk: &&Bytes| {
            left = match left.checked_sub(chunk.len()) {
                Some(rest) => rest,
                None => return false,
            };
            true
        };
        let chunks: Vec<Bytes> = self.recent.iter().take_while(fits).cloned().collect();
        (!chunks.is_empty()).then_some((self.in_memory, chunks))
    }

    fn in_memory_from(&self, offset: u64) -> Bytes {
        let mut at = self.in_memory;
        for chunk in &self.recent {
            let until = at + chunk.len() as u64;
            if offset < until {
                let skip = usize::try_from(offset - at).unwrap_or(0);
                return chunk.slice(skip..chunk.len().min(skip + HANDED));
            }
            at = until;
        }
        let skip = usize::try_from(offset - at).unwrap_or(0).min(self.tail.len());
        Bytes::copy_from_slice(&self.tail[skip..])
    }
}

fn write_ring(file: &File, mut data: &[u8], offset: u64, cap: u64) -> io::Result<()> {
    let mut at = offset % cap;
    while !data.is_empty() {
        let fits = usize::try_from(cap - at).unwrap_or(usize::MAX).min(data.len());
        file.write_all_at(&data[..fits], at)?;
        data = &data[fits..];
        at = 0;
    }
    Ok(())
}

fn read_ring(file: &File, offset: u64, length: usize, cap: u64) -> io::Result<Bytes> {
    let at = offset % cap;
    // Up to the end of the ring: the next read has the rest.
    let length = usize::try_from(cap - at).unwrap_or(usize::MAX).min(length);
    let mut found = BytesMut::zeroed(length);
    file.read_exact_at(&mut found, at)?;
    Ok(found.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn output(cap: u64) -> Arc<Output> {
        Arc::new(Output::new(Spool { dir: std::env::temp_dir(), cap }))
    }

    /// Bytes that tell where they are.
    fn pattern(from: u64, length: usize) -> BytesMut {
        (from..from + length as u64).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect()
    }

    async fn all(output: &Output, mut at: u64) -> Vec<u8> {
        let mut found = Vec::new();
        while let Some(bytes) = output.read(at).await.expect("it is kept") {
            assert!(!bytes.is_empty());
            at += bytes.len() as u64;
            found.extend_from_slice(&bytes);
        }
        found
    }

    #[tokio::test]
    async fn everything_is_there_from_any_offset_also_what_left_memory() {
        let output = output(64 << 20);
        let mut written = 0;
        for size in [
            1,
            10,
            70_000,
            5_000,
            7,
            20,
            4_095,
            4_096,
            3_000,
            3_000,
            3_000,
            3_000,
            3_000,
            3_000,
            300_000,
            1 << 20,
            3 << 20,
            5,
        ] {
            output.push(&mut pattern(written, size)).await.expect("room");
            written += size as u64;
        }
        output.finish();
        for offset in [0, 1, 11, 70_010, 1 << 20, (1 << 20) + 1, written - 5, written - 1, written] {
            let expected = pattern(offset, usize::try_from(written - offset).expect("small"));
            assert_eq!(all(&output, offset).await, &expected[..], "from {offset}");
        }
        assert_eq!(output.tail(3).await.expect("kept"), (written - 3, pattern(written - 3, 3).to_vec()));
    }

    #[tokio::test]
    async fn a_reader_waits_for_more_and_for_the_end() {
        let output = output(64 << 20);
        let reader = tokio::spawn({
            let output = Arc::clone(&output);
            async move { all(&output, 0).await }
        });
        for at in 0..100 {
            output.push(&mut pattern(at, 1)).await.expect("room");
            tokio::task::yield_now().await;
        }
        output.finish();
        assert_eq!(
            timeout(Duration::from_secs(10), reader).await.expect("it ends").expect("no panic"),
            pattern(0, 100)
        );
    }

    #[tokio::test]
    async fn at_the_cap_what_was_read_is_given_up_and_else_the_writer_waits() {
        let cap = 4 << 20;
        let output = output(cap);
        let writer = tokio::spawn({
            let output = Arc::clone(&output);
            async move {
                for at in 0..24_u64 {
                    output.push(&mut pattern(at << 19, 1 << 19)).await.expect("room");
                }
                output.finish();
            }
        });
        timeout(Duration::from_secs(10), async {
            while !output.is_blocked() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("nobody reads: it waits");
        assert!(!writer.is_finished() && output.len() <= cap && output.start() == 0);
        assert_eq!(timeout(Duration::from_secs(10), all(&output, 0)).await.expect("it ends"), pattern(0, 12 << 20));
        writer.await.expect("no panic");
        assert!(matches!(output.read(0).await, Err(ReadError::Dropped { start }) if start > 0));
        let start = output.start();
        assert_eq!(all(&output, start).await, pattern(start, usize::try_from((12 << 20) - start).expect("small")));
    }

    #[tokio::test]
    async fn moments_are_remembered() {
        let output = output(1 << 20);
        assert_eq!(output.written_at(0), None);
        output.push(&mut pattern(0, 10)).await.expect("room");
        let first = output.written_at(3).expect("remembered");
        output.push(&mut pattern(10, 10)).await.expect("room");
        assert_eq!(output.written_at(9), Some(first));
        assert!(output.written_at(10).expect("remembered") >= first);
    }
}
