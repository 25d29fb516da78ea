//! Whether a sandbox is used, and its end when it was not for too long.
//!
//! ```text
//! exec ─────────────hold──► ┐                 ┌ somebody holds: wait until nobody does
//! connections ──────hold──► ├ users, last ──► watch ┤
//! input, files ─────note──► ┘                 └ nobody: wait until `last` is long enough ago ──► end
//! ```
//!
//! Where no idle time was asked for, nothing is counted and there is nothing to watch. The clock runs on the engine's runtime and is
//! monotonic. Whether it is time is decided under the lock that uses are counted under: a use either comes first, and the sandbox
//! goes on, or finds it ending.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Counts the uses of one sandbox. Clones count for the same one, and keep neither it nor its engine.
#[derive(Debug, Clone, Default)]
pub struct Activity(Option<Arc<Clock>>);

/// A use that goes on until this is dropped.
#[derive(Debug)]
pub struct Active(Option<Arc<Clock>>);

#[derive(Debug)]
struct Clock {
    state: Mutex<State>,
    /// Told when the last user has gone.
    free: Notify,
}

#[derive(Debug)]
struct State {
    users: usize,
    last: Instant,
}

impl Activity {
    /// Of a sandbox with this idle time.
    pub(crate) fn new(idle: Option<Duration>) -> Self {
        let clock = || Clock { state: Mutex::new(State { users: 0, last: Instant::now() }), free: Notify::new() };
        Self(idle.map(|_| Arc::new(clock())))
    }

    /// It was used just now.
    pub fn note(&self) {
        if let Some(clock) = &self.0 {
            clock.state().last = Instant::now();
        }
    }

    /// It is used from now on.
    #[must_use]
    pub fn hold(&self) -> Active {
        if let Some(clock) = &self.0 {
            clock.state().users += 1;
        }
        Active(self.0.clone())
    }

    /// Returns after it was not used for `idle`, having called `end`; never, if uses are not counted.
    pub(crate) async fn watch(self, idle: Duration, end: impl Fn()) {
        let Some(clock) = self.0 else { return std::future::pending().await };
        loop {
            let last = {
                let state = clock.state();
                let is_free = state.users == 0;
                if is_free && state.last.elapsed() >= idle {
                    return end();
                }
                is_free.then_some(state.last)
            };
            match last.map(|last| last.checked_add(idle)) {
                None => clock.free.notified().await,
                Some(Some(until)) => tokio::time::sleep_until(until).await,
                // Longer than time can be told.
                Some(None) => std::future::pending().await,
            }
        }
    }
}

impl Clock {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Active {
    /// Whether uses of its sandbox are counted.
    pub(crate) fn is_counted(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let Some(clock) = &self.0 else { return };
        let mut state = clock.state();
        state.users -= 1;
        state.last = Instant::now();
        if state.users == 0 {
            clock.free.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::JoinHandle;
    use tokio::time::advance;

    const IDLE: Duration = Duration::from_secs(10);

    /// A watch, which says how long it took.
    fn watched(activity: &Activity) -> JoinHandle<Duration> {
        let (activity, begun) = (activity.clone(), Instant::now());
        tokio::spawn(async move {
            activity.watch(IDLE, || {}).await;
            begun.elapsed()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_uses_ends_after_its_time() {
        assert_eq!(watched(&Activity::new(Some(IDLE))).await.unwrap().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_use_begins_the_time_again() {
        let activity = Activity::new(Some(IDLE));
        let watch = watched(&activity);
        for _ in 0..5 {
            advance(Duration::from_secs(7)).await;
            activity.note();
        }
        assert_eq!(watch.await.unwrap().as_secs(), 45);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_begins_when_the_last_user_goes() {
        let activity = Activity::new(Some(IDLE));
        let watch = watched(&activity);
        let (first, second) = (activity.hold(), activity.hold());
        advance(Duration::from_secs(60)).await;
        drop(first);
        advance(Duration::from_secs(60)).await;
        drop(second);
        // One that comes and goes in between.
        advance(Duration::from_secs(5)).await;
        drop(activity.hold());
        assert_eq!(watch.await.unwrap().as_secs(), 135);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_ends_that_is_held_or_not_counted() {
        let held = Activity::new(Some(IDLE));
        let _active = held.hold();
        let uncounted = Activity::new(None);
        drop(uncounted.hold());
        uncounted.note();
        for activity in [held.clone(), uncounted] {
            let watch = activity.watch(IDLE, || panic!("it was ended"));
            assert!(tokio::time::timeout(IDLE * 1000, watch).await.is_err());
        }
        // A time that cannot be told is no limit.
        let endless = Activity::new(Some(Duration::MAX)).watch(Duration::MAX, || panic!("it was ended"));
        assert!(tokio::time::timeout(IDLE * 1000, endless).await.is_err());
    }
}
