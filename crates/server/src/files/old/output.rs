//! What came of operations, for clients that ask for it, some of them again and again.
//!
//! Contents of files are not copied: an output is a range of an open file, read when it is asked for. Clients put together what several
//! asks gave, from none of which they know how far it got. So an output is given from its beginning if it was given to its end, or not
//! beyond its first message, and with an error in place of wrong bytes if it broke off in between.

use super::super::trouble::{Trouble, Why};
use super::super::watch::Watch;
use super::handle::Handle;
use bytes::Bytes;
use computesdk_modal_proto::client::{FilesystemRuntimeOutputBatch as Batch, SystemErrorCode, SystemErrorMessage};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

/// Most outputs that are kept of a sandbox.
const MAX_OUTPUTS: usize = 256;
/// Most bytes of them that are in memory: lists of directories.
const MAX_BYTES: usize = 8 << 20;
/// Most watches of a sandbox at a time.
const MAX_WATCHES: usize = 16;
/// Most changes that wait to be asked for.
const MAX_CHANGES: usize = 1024;
/// Most bytes in a message.
const PIECE: u64 = 1 << 20;
/// What stands behind every change: one may come in several messages.
const BOUNDARY: &[u8] = b"\n\n";

/// What came of an operation.
#[derive(Debug)]
pub(super) enum Content {
    Bytes(Bytes),
    Range { handle: Arc<Handle>, range: Range<u64> },
    Changes(Arc<Changes>),
    Failed(Trouble),
}

impl Content {
    pub(super) const NOTHING: Self = Self::Bytes(Bytes::new());

    /// The changes that a watch sees, until the time is up or nothing is left to watch. They are taken from the watch as they happen;
    /// the watch ends with the last handle of this output.
    pub(super) fn watch(mut watch: Watch, limit: Option<Duration>) -> Self {
        let (changes, waiting) = mpsc::channel(MAX_CHANGES);
        tokio::spawn(async move {
            let forwarded = async {
                while let Some(event) = watch.next().await {
                    let Ok(mut change) = serde_json::to_vec(&event) else { continue };
                    change.extend_from_slice(BOUNDARY);
                    if changes.send(Bytes::from(change)).await.is_err() {
                        return;
                    }
                }
            };
            let time_is_up = async {
                match limit {
                    Some(limit) => tokio::time::sleep(limit).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = forwarded => {}
                () = time_is_up => {}
                () = changes.closed() => {}
            }
        });
        Self::Changes(Arc::new(Changes { queue: tokio::sync::Mutex::new(Queue { waiting, given: None }) }))
    }
}

/// The changes that a watch saw and nobody asked for yet.
#[derive(Debug)]
pub(super) struct Changes {
    queue: tokio::sync::Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    waiting: mpsc::Receiver<Bytes>,
    /// The change that was given last: given again to who asks again, as nobody knows whether it arrived.
    given: Option<Bytes>,
}

impl Changes {
    /// Whether the watch has ended, as far as can be seen now.
    fn is_over(&self) -> bool {
        self.queue.try_lock().is_ok_and(|queue| queue.waiting.is_closed())
    }
}

#[derive(Debug)]
struct Output {
    content: Content,
    /// How many messages of it were given since the last time that it was given to its end.
    given: AtomicU64,
}

/// The outputs of a sandbox, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Outputs(Mutex<VecDeque<(String, Arc<Output>)>>);

impl Outputs {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(String, Arc<Output>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for one more watch. Clients do not say when they lose interest: of too many, the oldest that nobody reads ends.
    pub(super) fn make_room_for_a_watch(&self) -> Result<(), Trouble> {
        let mut outputs = self.lock();
        if outputs.iter().filter(|(_, output)| output.is_watching()).count() < MAX_WATCHES {
            return Ok(());
        }
        match outputs.iter().position(|(_, output)| output.is_unread_watch()) {
            Some(oldest) => {
                outputs.remove(oldest);
                Ok(())
            }
            None => Err(Trouble::new(Why::TooMany, format!("This sandbox has {MAX_WATCHES} watches; end some"))),
        }
    }

    pub(super) fn keep(&self, exec_id: String, content: Content) {
        let mut outputs = self.lock();
        outputs.push_back((exec_id, Arc::new(Output { content, given: AtomicU64::new(0) })));
        loop {
            let bytes: usize = outputs.iter().map(|(_, output)| output.bytes()).sum();
            if outputs.len() <= MAX_OUTPUTS && bytes <= MAX_BYTES {
                return;
            }
            // A watch that runs is no history, and the newest was not asked for yet.
            let oldest = outputs.iter().take(outputs.len() - 1).position(|(_, output)| !output.is_watching());
            match oldest {
                Some(oldest) => drop(outputs.remove(oldest)),
                None => return,
            }
        }
    }

    pub(super) fn stream(&self, exec_id: &str) -> Option<BoxStream<'static, Result<Batch, Status>>> {
        let output = self.lock().iter().find(|(id, _)| id == exec_id).map(|(_, output)| Arc::clone(output))?;
        Some(output.stream())
    }
}

impl Output {
    fn bytes(&self) -> usize {
        match &self.content {
            Content::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }

    fn is_watching(&self) -> bool {
        matches!(&self.content, Content::Changes(changes) if !changes.is_over())
    }

    fn is_unread_watch(&self) -> bool {
        matches!(&self.content, Content::Changes(changes) if changes.queue.try_lock().is_ok())
    }

    fn stream(self: Arc<Self>) -> BoxStream<'static, Result<Batch, Status>> {
        let pieces = match &self.content {
            Content::Failed(trouble) => return stream::iter([Ok(failed(trouble))]).boxed(),
            Content::Changes(changes) => return Arc::clone(changes).stream(),
            Content::Bytes(_) | Content::Range { .. } => {
                Pieces { output: Arc::clone(&self), at: 0, index: 0, over: false }
            }
        };
        if self.given.swap(0, Ordering::Relaxed) > 1 {
            // Stays so: asked once more, the answer is the same.
            self.given.store(2, Ordering::Relaxed);
            let cut = Trouble::new(Why::Other, "The answer broke off in the middle: seek, and read again");
            return stream::iter([Ok(failed(&cut))]).boxed();
        }
        stream::unfold(pieces, Pieces::next).boxed()
    }
}

/// An output that is being given.
struct Pieces {
    output: Arc<Output>,
    at: u64,
    index: u64,
    over: bool,
}

impl Pieces {
    async fn next(mut self) -> Option<(Result<Batch, Status>, Self)> {
        if self.over {
            return None;
        }
        let piece = match &self.output.content {
            Content::Range { handle, range } => {
                let from = range.start + self.at;
                let most = range.end.saturating_sub(from).min(PIECE);
                // Nothing is asked of a file at its end: it may be closed.
                if most == 0 { Ok(Bytes::new()) } else { handle.piece(from, most).await.map(Bytes::from) }
            }
            Content::Bytes(bytes) => {
                let left = bytes.slice(usize::try_from(self.at).unwrap_or(usize::MAX).min(bytes.len())..);
                Ok(left.slice(..left.len().min(PIECE as usize)))
            }
            _ => Ok(Bytes::new()),
        };
        let batch = match piece {
            Err(trouble) => {
                self.over = true;
                failed(&trouble)
            }
            Ok(piece) if piece.is_empty() => {
                self.over = true;
                self.output.given.store(0, Ordering::Relaxed);
                // On its own: some clients read nothing else of a message that says so.
                Batch { eof: true, batch_index: self.index, ..Batch::default() }
            }
            Ok(piece) => {
                self.at += piece.len() as u64;
                self.output.given.fetch_add(1, Ordering::Relaxed);
                Batch { output: vec![piece], batch_index: self.index, ..Batch::default() }
            }
        };
        self.index += 1;
        Some((Ok(batch), self))
    }
}

impl Changes {
    fn stream(self: Arc<Self>) -> BoxStream<'static, Result<Batch, Status>> {
        stream::unfold((self, 0, false), |(changes, index, over)| async move {
            if over {
                return None;
            }
            let mut queue = changes.queue.lock().await;
            let again = if index == 0 { queue.given.clone() } else { None };
            let change = match again {
                Some(change) => Some(change),
                None => queue.waiting.recv().await,
            };
            queue.given.clone_from(&change);
            drop(queue);
            let over = change.is_none();
            let batch = Batch { output: change.into_iter().collect(), batch_index: index, eof: over, error: None };
            Some((Ok(batch), (changes, index + 1, over)))
        })
        .boxed()
    }
}

/// The last message of an output. Never with `eof`: that alone would be success.
fn failed(trouble: &Trouble) -> Batch {
    let code = match trouble.why {
        Why::NotFound => SystemErrorCode::Noent,
        Why::IsDirectory => SystemErrorCode::Isdir,
        Why::NotDirectory => SystemErrorCode::Notdir,
        Why::Exists => SystemErrorCode::Exist,
        Why::Permission => SystemErrorCode::Acces,
        Why::TooLarge => SystemErrorCode::Fbig,
        Why::NoSpace => SystemErrorCode::Nospc,
        Why::NoMemory => SystemErrorCode::Nomem,
        Why::TooMany => SystemErrorCode::Mfile,
        // There is no number for these two; clients make the general error of the system of it, as it would be.
        Why::NotEmpty | Why::Unsupported | Why::Invalid => SystemErrorCode::Inval,
        Why::Gone | Why::Other => SystemErrorCode::Io,
    };
    let error = SystemErrorMessage { error_code: code.into(), error_message: trouble.to_string() };
    Batch { error: Some(error), ..Batch::default() }
}
