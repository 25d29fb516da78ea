//! One output stream of a program: read directly by its caller, or set aside when nobody reads.
//!
//! ```text
//! program ──► pipe ──► ReadStream            as long as somebody reads: no copy, no task in between
//!               └────► Spool ──► ReadStream  when nobody did for a while: `Drains` takes what is there
//! ```
//!
//! A program is never stopped because nobody reads, until [`Store::cap`](super::spool::Store) is reached; then it waits as
//! it would at any pipe. What was read from the pipe is counted, and the end of it kept, for the account of how it ended.

use super::spool::{Spool, Store};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Bytes of the end of its output that are kept of a program.
const TAIL: usize = 2048;

/// What was read of a program's output, both streams together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    bytes: u64,
    tail: VecDeque<u8>,
}

impl Tally {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let last = &bytes[bytes.len().saturating_sub(TAIL)..];
        let surplus = (self.tail.len() + last.len()).saturating_sub(TAIL);
        self.tail.drain(..surplus.min(self.tail.len()));
        self.tail.extend(last);
    }
}

/// The output of every program of a sandbox.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Bytes that were read.
    pub(crate) bytes: AtomicU64,
    /// Streams whose programs wait because the cap is reached.
    pub(crate) held_back: AtomicU64,
}

/// A [`Tally`] that a program's streams share.
#[derive(Debug, Default)]
pub(crate) struct SharedTally {
    tally: Mutex<Tally>,
    totals: Arc<Totals>,
}

impl SharedTally {
    pub(crate) fn new(totals: Arc<Totals>) -> Self {
        Self { tally: Mutex::default(), totals }
    }

    fn add(&self, bytes: &[u8]) {
        self.totals.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.lock().add(bytes);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// The last lines, as text; the first one may have lost its beginning.
    pub(crate) fn tail(&self) -> String {
        let tail: Vec<u8> = self.lock().tail.iter().copied().collect();
        String::from_utf8_lossy(&tail).into_owned()
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Output {
    state: Mutex<State>,
    tally: Arc<SharedTally>,
    store: Store,
    /// Somebody sets aside what comes.
    followed: AtomicBool,
}

/// Being the one who sets aside what comes.
pub(crate) struct Following<'a>(&'a Output);

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.0.followed.store(false, Ordering::Release);
    }
}

#[derive(Debug)]
struct State {
    /// `None` when it has ended, or its reader is gone: with the last copy the pipe is closed.
    pipe: Option<Arc<OwnedFd>>,
    spool: Spool,
    /// Nobody will ever read: what comes is counted and forgotten.
    unread: bool,
    /// Bytes that the caller took since `Drains` last looked.
    taken: usize,
    /// The cap was reached.
    held_back: bool,
    /// Why the spool could not be written or read; told to the reader.
    broken: Option<io::ErrorKind>,
    reader: Option<Waker>,
}

/// What `Drains` has to do about a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing: it is empty, or somebody reads it.
    Fine,
    /// Something is there and nobody takes it.
    Waiting,
    /// It has ended.
    Over,
}

/// What came of draining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    /// The pipe is empty now.
    All,
    /// There is more.
    Some,
    /// No more for now: somebody reads again, or the cap is reached.
    Stop,
    /// It has ended.
    Over,
}

impl Output {
    pub(crate) fn new(pipe: Arc<OwnedFd>, tally: Arc<SharedTally>, store: Store) -> Arc<Self> {
        let state = State {
            pipe: Some(pipe),
            spool: Spool::default(),
            unread: false,
            taken: 0,
            held_back: false,
            broken: None,
            reader: None,
        };
        Arc::new(Self { state: Mutex::new(state), tally, store, followed: AtomicBool::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pipe, unless it has ended.
    pub(crate) fn pipe(&self) -> Option<Arc<OwnedFd>> {
        self.lock().pipe.clone()
    }

    /// Reads what was set aside, else from the pipe. `WouldBlock` if there is nothing; `waker` is then woken as soon as
    /// something was set aside (of what comes into the pipe, the runtime tells).
    pub(crate) fn read(&self, buffer: &mut [u8], waker: &Waker) -> io::Result<usize> {
        let mut state = self.lock();
        if !state.spool.is_empty() {
            let count = state.spool.pop(buffer)?;
            state.taken += count;
            if state.held_back {
                let hold = state.spool.len() >= self.store.cap;
                self.hold_back(&mut state, hold);
            }
            return Ok(count);
        }
        if let Some(kind) = state.broken {
            return Err(io::Error::new(kind, "unread output could not be set aside on disk"));
        }
        match self.read_pipe(&mut state, buffer) {
            Ok(count) => {
                state.taken += count;
                Ok(count)
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::WouldBlock {
                    state.reader = Some(waker.clone());
                }
                Err(error)
            }
        }
    }

    /// Reads from the pipe; 0 is its end.
    fn read_pipe(&self, state: &mut State, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(pipe) = &state.pipe else { return Ok(0) };
        loop {
            match rustix::io::read(pipe.as_ref(), &mut *buffer) {
                Ok(count) if count > 0 => {
                    self.tally.add(&buffer[..count]);
                    return Ok(count);
                }
                // EIO: the last process that had the terminal open is gone (`pty(7)`). That is its end of file.
                Ok(_) | Err(Errno::IO) => {
                    if !buffer.is_empty() {
                        state.pipe = None;
                    }
                    return Ok(0);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Its reader is gone. A pipe is closed: the program gets SIGPIPE when it writes, as in a shell. Of a terminal, whose
    /// other users would see a hang-up, what comes is forgotten.
    pub(crate) fn reader_gone(&self, close: bool) {
        let mut state = self.lock();
        self.hold_back(&mut state, false);
        state.spool = Spool::default();
        state.reader = None;
        if close {
            state.pipe = None;
        } else {
            state.unread = true;
        }
    }

    /// Nobody has taken it and nobody can any more: the program goes on, into nothing.
    pub(crate) fn abandon(&self) {
        self.reader_gone(false);
    }

    /// Whether its program waits because the cap is reached.
    fn hold_back(&self, state: &mut State, hold: bool) {
        if state.held_back != hold {
            state.held_back = hold;
            let held_back = &self.tally.totals.held_back;
            // Changed under the lock of this stream, once in each direction: it cannot fall below zero.
            held_back.fetch_add(if hold { 1 } else { u64::MAX }, Ordering::Relaxed);
        }
    }

    /// Looks whether somebody should take what is there.
    pub(crate) fn look(&self) -> Look {
        /// A reader that takes less than this between two looks does not keep up: one pipe of the usual size.
        const KEEPS_UP: usize = 64 * 1024;
        let mut state = self.lock();
        let taken = std::mem::take(&mut state.taken);
        let Some(pipe) = &state.pipe else { return Look::Over };
        if state.held_back || (taken >= KEEPS_UP && !state.unread) {
            return Look::Fine;
        }
        // Something to read, or its end: then the pipe can be closed.
        let mut fds = [PollFd::new(pipe.as_ref(), PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(0) | Err(_) => Look::Fine,
            Ok(_) => Look::Waiting,
        }
    }

    /// Becomes the one who sets aside what comes, if nobody is.
    pub(crate) fn begin_following(&self) -> Option<Following<'_>> {
        (!self.followed.swap(true, Ordering::AcqRel)).then_some(Following(self))
    }

    /// Sets aside what is in the pipe, at most `at_once` bytes.
    pub(crate) fn drain(&self, at_once: usize) -> Drained {
        let mut state = self.lock();
        let mut buffer = vec![0; 64 * 1024];
        let mut moved = 0;
        let drained = loop {
            let empty = state.spool.is_empty();
            if !state.unread && (state.broken.is_some() || (moved == 0 && empty && state.taken > buffer.len())) {
                break Drained::Stop;
            }
            if state.spool.len() + buffer.len() as u64 > self.store.cap {
                self.hold_back(&mut state, true);
                break Drained::Stop;
            }
            if moved >= at_once {
                break Drained::Some;
            }
            match self.read_pipe(&mut state, &mut buffer) {
                Ok(0) => break Drained::Over,
                Ok(count) => {
                    moved += count;
                    if state.unread {
                        continue;
                    }
                    if let Err(error) = state.spool.push(&buffer[..count], &self.store) {
                        tracing::warn!(%error, "unread output cannot be set aside on disk");
                        state.broken = Some(error.kind());
                        break Drained::Stop;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Drained::All,
                Err(_) => break Drained::Over,
            }
        };
        if (moved > 0 || drained == Drained::Over)
            && let Some(reader) = state.reader.take()
        {
            reader.wake();
        }
        drained
    }
}
