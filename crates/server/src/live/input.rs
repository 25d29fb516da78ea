//! The standard input of a process, written by clients that may send the same bytes twice, or break off in the middle.
//!
//! Every byte has its offset. What was taken already is skipped, what would leave a gap is refused. A stream of writes can be put out
//! by whoever asks how far it came ([`Input::status`]), so that a client that lost its connection goes on without a rival.

use computesdk_core::BoxWrite;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Mutex, watch};

/// Ctrl-D.
const END_OF_INPUT: u8 = 4;

/// Why bytes were not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("standard input is closed: the process has ended, closed it, or was told that nothing more comes")]
    Closed(#[source] Option<io::Error>),
    #[error("bytes at offset {offset} cannot be taken: {expected} bytes came so far")]
    Gap { offset: u64, expected: u64 },
    #[error("another client goes on with this standard input")]
    PutOut,
}

/// See the module.
pub(crate) struct Input {
    /// A terminal has no end of its own: whoever reads it is told by a character.
    is_terminal: bool,
    /// The last byte that was taken.
    last: AtomicU8,
    writer: Mutex<Option<BoxWrite>>,
    taken: AtomicU64,
    /// Counts those who asked for the status.
    turn: watch::Sender<u64>,
    /// For clients that number their messages (V1): the last one that was taken.
    last_message: AtomicU64,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl Input {
    pub(crate) fn new(writer: Option<BoxWrite>, is_terminal: bool) -> Self {
        Self {
            is_terminal,
            last: AtomicU8::new(b'\n'),
            writer: Mutex::new(writer),
            taken: AtomicU64::new(0),
            turn: watch::Sender::new(0),
            last_message: AtomicU64::new(0),
        }
    }

    /// Whose turn it is now: for a stream of writes, to be handed to each.
    pub(crate) fn turn(&self) -> u64 {
        *self.turn.borrow()
    }

    /// Takes bytes at an offset, and the end. What was taken before is skipped, an end after the end is fine.
    pub(crate) async fn write(&self, offset: u64, data: &[u8], eof: bool) -> Result<(), WriteError> {
        self.write_in_turn(offset, data, eof, None).await
    }

    /// The same for a stream that began in this turn: it fails once somebody else's has begun.
    pub(crate) async fn write_in_turn(
        &self,
        offset: u64,
        mut data: &[u8],
        eof: bool,
        turn: Option<u64>,
    ) -> Result<(), WriteError> {
        let mut writer = self.unless_put_out(turn, self.writer.lock()).await?;
        let taken = self.taken.load(Ordering::Acquire);
        if offset > taken {
            return Err(WriteError::Gap { offset, expected: taken });
        }
        let known = usize::try_from(taken - offset).unwrap_or(usize::MAX).min(data.len());
        data = &data[known..];
        let Some(open) = writer.as_mut() else {
            return if data.is_empty() { Ok(()) } else { Err(WriteError::Closed(None)) };
        };
        while !data.is_empty() {
            // One write is taken or not: whoever is cut off here knows how far it came.
            match self.unless_put_out(turn, open.write(data)).await? {
                Ok(0) => return Err(Self::close(&mut writer, io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    self.taken.fetch_add(count as u64, Ordering::AcqRel);
                    self.last.store(data[count - 1], Ordering::Release);
                    data = &data[count..];
                }
                Err(error) => return Err(Self::close(&mut writer, error)),
            }
        }
        let flushed = self.unless_put_out(turn, open.flush()).await?;
        if let Err(error) = flushed {
            return Err(Self::close(&mut writer, error));
        }
        if eof && self.is_terminal {
            // In the middle of a line the first one ends what there is of it (termios(3), VEOF).
            let at_start = self.last.load(Ordering::Acquire) == b'\n';
            let end = [END_OF_INPUT; 2];
            let told = open.write_all(if at_start { &end[..1] } else { &end }).await;
            if told.is_err() || open.flush().await.is_err() {
                tracing::debug!("a terminal was gone before it was told of its end");
            }
            *writer = None;
            return Ok(());
        }
        if eof {
            // The reader may be gone: then it has its end already.
            let _ = open.shutdown().await;
            *writer = None;
        }
        Ok(())
    }

    /// Takes a message with a number, the first being 1, each one more; one that is known is skipped.
    pub(crate) async fn write_message(&self, number: u64, data: &[u8], eof: bool) -> Result<(), WriteError> {
        let last = self.last_message.load(Ordering::Acquire);
        if number <= last && number > 0 {
            return Ok(());
        }
        let offset = self.taken.load(Ordering::Acquire);
        self.write(offset, data, eof).await?;
        self.last_message.store(number.max(last), Ordering::Release);
        Ok(())
    }

    /// How many bytes were taken, and whether it is closed. Puts out whoever is writing a stream.
    pub(crate) async fn status(&self) -> (u64, bool) {
        self.turn.send_modify(|turn| *turn += 1);
        let writer = self.writer.lock().await;
        (self.taken.load(Ordering::Acquire), writer.is_none())
    }

    /// The process has ended: nothing more is taken.
    pub(crate) fn end(&self) {
        // Whoever writes sees the broken pipe, and closes it.
        if let Ok(mut writer) = self.writer.try_lock() {
            *writer = None;
        }
    }

    fn close(writer: &mut Option<BoxWrite>, error: io::Error) -> WriteError {
        *writer = None;
        WriteError::Closed(Some(error))
    }

    async fn unless_put_out<T>(&self, turn: Option<u64>, work: impl Future<Output = T>) -> Result<T, WriteError> {
        let Some(turn) = turn else { return Ok(work.await) };
        let mut changes = self.turn.subscribe();
        tokio::select! {
            biased;
            _ = changes.wait_for(|now| *now != turn) => Err(WriteError::PutOut),
            done = work => Ok(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn nothing_is_taken_twice_and_no_gap_is_left() {
        let (near, mut far) = tokio::io::duplex(1024);
        let input = Input::new(Some(Box::new(near)), false);
        input.write(0, b"hello", false).await.expect("taken");
        input.write(0, b"hello", false).await.expect("known");
        input.write(3, b"lo world", false).await.expect("partly known");
        assert!(matches!(input.write(20, b"x", false).await, Err(WriteError::Gap { offset: 20, expected: 11 })));
        input.write(11, b"", true).await.expect("the end");
        input.write(11, b"", true).await.expect("the end again");
        assert!(matches!(input.write(11, b"x", false).await, Err(WriteError::Closed(None))));
        assert_eq!(input.status().await, (11, true));
        let mut found = String::new();
        far.read_to_string(&mut found).await.expect("readable");
        assert_eq!(found, "hello world");
    }

    #[tokio::test]
    async fn a_terminal_is_told_of_the_end_by_a_character() {
        for (written, expected) in [(&b"a\n"[..], &b"a\n\x04"[..]), (b"a", b"a\x04\x04"), (b"", b"\x04")] {
            let (near, mut far) = tokio::io::duplex(64);
            let input = Input::new(Some(Box::new(near)), true);
            input.write(0, written, true).await.expect("taken");
            let mut found = Vec::new();
            far.read_to_end(&mut found).await.expect("readable");
            assert_eq!(found, expected);
        }
    }

    #[tokio::test]
    async fn messages_are_known_by_their_numbers() {
        let (near, mut far) = tokio::io::duplex(1024);
        let input = Input::new(Some(Box::new(near)), false);
        input.write_message(1, b"a", false).await.expect("taken");
        input.write_message(1, b"a", false).await.expect("known");
        input.write_message(2, b"b", true).await.expect("taken");
        input.write_message(3, b"", true).await.expect("an end after the end");
        let mut found = String::new();
        far.read_to_string(&mut found).await.expect("readable");
        assert_eq!(found, "ab");
    }

    #[tokio::test]
    async fn who_asks_for_the_status_puts_a_stream_out() {
        let (near, mut far) = tokio::io::duplex(4);
        let input = Arc::new(Input::new(Some(Box::new(near)), false));
        let stream = tokio::spawn({
            let input = Arc::clone(&input);
            async move { input.write_in_turn(0, b"12345678", false, Some(input.turn())).await }
        });
        while input.taken.load(Ordering::Acquire) < 4 {
            tokio::task::yield_now().await;
        }
        assert_eq!(input.status().await, (4, false));
        assert!(matches!(stream.await.expect("no panic"), Err(WriteError::PutOut)));
        let (written, found) = tokio::join!(input.write(4, b"5678", true), async {
            let mut found = String::new();
            far.read_to_string(&mut found).await.map(|_| found)
        });
        written.expect("taken");
        assert_eq!(found.expect("readable"), "12345678");
    }
}
