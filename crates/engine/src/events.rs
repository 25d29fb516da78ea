//! What happened to a sandbox: remembered, and told to whoever wants to know.
//!
//! The last [`MOST`] events are kept. Whoever reads too slowly is told how many it missed; nobody is held up.

use crate::End;
use computesdk_gateway::{Decision, Sink};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::watch;

/// Events that are remembered. A busy connection makes two.
const MOST: usize = 4096;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// It was made.
    Created,
    /// It may reach something else from now on; the policy as text.
    NetworkChanged(String),
    /// Something was decided about its network.
    Network(Decision),
    /// So many events were lost because they were not taken in time.
    Lost(u64),
    /// It ended. The last one.
    Ended(End),
}

/// The events of one sandbox.
#[derive(Debug)]
pub(crate) struct EventLog {
    state: Mutex<State>,
    /// How many there were, for whoever waits for the next one.
    told: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    kept: VecDeque<Event>,
    /// How many were dropped from the front.
    dropped: u64,
    ended: bool,
}

impl EventLog {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), told: watch::channel(0).0 })
    }

    pub(crate) fn tell(&self, kind: EventKind) {
        let count = {
            let mut state = self.lock();
            if state.ended {
                return;
            }
            state.ended = matches!(kind, EventKind::Ended(_));
            if state.kept.len() == MOST {
                state.kept.pop_front();
                state.dropped += 1;
            }
            state.kept.push_back(Event { at: SystemTime::now(), kind });
            state.dropped + state.kept.len() as u64
        };
        self.told.send_replace(count);
    }

    pub(crate) fn stream(self: &Arc<Self>) -> Events {
        Events { told: self.told.subscribe(), log: Arc::clone(self), next: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for EventLog {
    fn tell(&self, decision: Decision) {
        Self::tell(self, EventKind::Network(decision));
    }
}

/// The events of a sandbox: those that are remembered, then each as it happens.
#[derive(Debug)]
pub struct Events {
    log: Arc<EventLog>,
    told: watch::Receiver<u64>,
    /// The number of the next one.
    next: u64,
}

impl Events {
    /// The next event; `None` after [`EventKind::Ended`]. May be cancelled: nothing is lost by it.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            // Before it is looked: what comes in between is then waited for in vain by nobody.
            self.told.borrow_and_update();
            {
                let state = self.log.lock();
                if self.next < state.dropped {
                    let lost = state.dropped - self.next;
                    self.next = state.dropped;
                    return Some(Event { at: SystemTime::now(), kind: EventKind::Lost(lost) });
                }
                let index = usize::try_from(self.next - state.dropped).unwrap_or(usize::MAX);
                if let Some(event) = state.kept.get(index) {
                    self.next += 1;
                    return Some(event.clone());
                }
                if state.ended {
                    return None;
                }
            }
            // The log is held by this: its sender is not gone.
            let _ = self.told.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_is_slow_is_told_what_was_lost() {
        let log = EventLog::new();
        let mut events = log.stream();
        for _ in 0..MOST + 10 {
            log.tell(EventKind::Created);
        }
        log.tell(EventKind::Ended(End::Terminated));
        log.tell(EventKind::Created);
        assert_eq!(events.next().await.unwrap().kind, EventKind::Lost(11));
        let mut last = None;
        let mut count = 0;
        while let Some(event) = events.next().await {
            (last, count) = (Some(event.kind), count + 1);
        }
        assert_eq!((count, last), (MOST, Some(EventKind::Ended(End::Terminated))), "nothing comes after the end");
        assert!(log.stream().next().await.is_some(), "what is remembered is told to whoever comes later");
    }

    #[tokio::test]
    async fn the_next_one_is_waited_for() {
        let log = EventLog::new();
        let mut events = log.stream();
        let (event, ()) = tokio::join!(events.next(), async { log.tell(EventKind::Created) });
        assert_eq!(event.unwrap().kind, EventKind::Created);
    }
}
