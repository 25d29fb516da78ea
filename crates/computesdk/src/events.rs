//! What happens to a sandbox, as it happens.

use computesdk_core::{Event, EventStream};
use futures_util::stream::{Stream, StreamExt as _, unfold};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Events of a sandbox, from [`Sandbox::events`](crate::Sandbox::events): those that are remembered, the earliest first,
/// then each as it happens. Also a [`Stream`].
///
/// Dropping it ends nothing. One that is not read does not hold the sandbox up: what is lost by that is told as
/// [`EventKind::Lost`](crate::EventKind::Lost).
pub struct Events {
    // Of futures that own the provider's stream: one that is dropped half-way loses no event.
    stream: Pin<Box<dyn Stream<Item = Event> + Send>>,
}

impl Events {
    pub(crate) fn new(stream: Box<dyn EventStream>) -> Self {
        let next = |mut stream: Box<dyn EventStream>| async move { stream.next().await.map(|event| (event, stream)) };
        Self { stream: Box::pin(unfold(stream, next).fuse()) }
    }

    /// The next event; `None` after [`EventKind::Ended`](crate::EventKind::Ended). Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        self.stream.next().await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.stream.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
