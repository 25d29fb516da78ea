//! Looks after output that nobody reads.
//!
//! One task on the engine's runtime looks at every live stream now and then. As long as its caller reads, that is all that
//! happens to it. What nobody takes is set aside, then at the pace of the program, on threads of the runtime's pool: disks
//! may be slow, and the engine's own thread serves everybody.

use super::output::{Drained, Look, Output};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Time between two looks: how long a program may be stopped at a full pipe before somebody comes.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Bytes that are set aside in one go, while a reader of the same stream waits.
const AT_ONCE: usize = 1 << 20;

/// Every live stream of an engine.
#[derive(Debug)]
pub(crate) struct Drains {
    streams: Mutex<Vec<Arc<Output>>>,
    more: Notify,
}

impl Drains {
    /// Starts looking.
    pub(crate) fn start(runtime: &Handle) -> Arc<Self> {
        let drains = Arc::new(Self { streams: Mutex::default(), more: Notify::new() });
        let weak = Arc::downgrade(&drains);
        let handle = runtime.clone();
        runtime.spawn(async move {
            while let Some(drains) = weak.upgrade() {
                if drains.is_idle() {
                    drains.more.notified().await;
                }
                drains.look(&handle);
                drop(drains);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        drains
    }

    /// Looks after one more stream.
    pub(crate) fn add(&self, stream: &Arc<Output>) {
        self.lock().push(Arc::clone(stream));
        self.more.notify_one();
    }

    fn is_idle(&self) -> bool {
        self.lock().is_empty()
    }

    fn look(&self, runtime: &Handle) {
        let mut streams = self.lock();
        streams.retain(|stream| match stream.look() {
            Look::Over => false,
            Look::Fine => true,
            Look::Waiting => {
                let (stream, handle) = (Arc::clone(stream), runtime.clone());
                runtime.spawn(async move { follow(&stream, &handle).await });
                // It is taken up again by `follow`'s end at the next look, which finds it as it then is.
                true
            }
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Output>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets aside what comes, until it stops coming.
async fn follow(stream: &Arc<Output>, runtime: &Handle) {
    let Some(_following) = stream.begin_following() else { return };
    loop {
        let working = Arc::clone(stream);
        let drained = runtime.spawn_blocking(move || working.drain(AT_ONCE)).await;
        match drained {
            Ok(Drained::Some) => {}
            Ok(Drained::All) => {
                if !readable(stream).await {
                    return;
                }
            }
            Ok(Drained::Stop | Drained::Over) | Err(_) => return,
        }
    }
}

/// Waits for more in the pipe, as long as it is worth it.
async fn readable(stream: &Arc<Output>) -> bool {
    let Some(pipe) = stream.pipe() else { return false };
    let Ok(pipe) = crate::sys::register(pipe) else { return false };
    let ready = tokio::time::timeout(LOOK_EVERY, pipe.readable()).await;
    matches!(ready, Ok(Ok(_)))
}
