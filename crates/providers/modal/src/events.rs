//! What is known of a sandbox's life: that it was made, and how it ended. Modal tells no more.

use crate::sandbox::ModalSandbox;
use computesdk_core::{Event, EventKind, EventStream, Sandbox as _, async_trait};
use std::sync::Arc;
use std::time::SystemTime;

/// The beginning, then the end once it has come.
pub(crate) struct Events {
    sandbox: Arc<ModalSandbox>,
    next: Next,
}

enum Next {
    Created(SystemTime),
    Ended,
    Nothing,
}

impl Events {
    pub(crate) fn new(sandbox: Arc<ModalSandbox>, created_at: SystemTime) -> Self {
        Self { sandbox, next: Next::Created(created_at) }
    }
}

#[async_trait]
impl EventStream for Events {
    async fn next(&mut self) -> Option<Event> {
        match self.next {
            Next::Created(at) => {
                self.next = Next::Ended;
                Some(Event::new(at, EventKind::Created))
            }
            Next::Ended => {
                // If it cannot be asked any more, there is nothing more to tell.
                let end = self.sandbox.wait().await;
                self.next = Next::Nothing;
                Some(Event::new(SystemTime::now(), EventKind::Ended { end: end.ok()? }))
            }
            Next::Nothing => None,
        }
    }
}
