//! How many connections there are, and which of them goes when there is no room.
//!
//! Each connection has a [`Seat`]. It is *pending* until its first request, then *busy* while it has requests under way and
//! idle otherwise. The first to go is the oldest that is pending, then the one that has been idle longest; a busy one never.
//! Who has only just come, or asked, is given a moment to go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// Between the coming of a connection and its first request there is a turn of the scheduler or two.
const MOMENT: Duration = Duration::from_millis(50);

/// One connection's place.
pub(super) struct Seat {
    id: u64,
    room: Arc<Room>,
    asked: AtomicBool,
    use_: Mutex<Use>,
    go: Notify,
    gone: AtomicBool,
    reset: AtomicBool,
}

#[derive(Clone, Copy)]
struct Use {
    requests: usize,
    /// When the number last changed.
    since: Instant,
}

#[derive(Default)]
struct Seats {
    next: u64,
    all: BTreeMap<u64, Arc<Seat>>,
    pending: BTreeSet<u64>,
    evicted: u64,
    /// Told to go, and still there.
    going: usize,
}

/// All connections of one listener.
pub(super) struct Room {
    most: usize,
    most_pending: usize,
    seats: Mutex<Seats>,
    /// A seat has become free.
    freed: Notify,
    requests: AtomicUsize,
    /// No request is under way.
    quiet: Notify,
}

impl Room {
    pub(super) fn new(most: usize, most_pending: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            most_pending: most_pending.max(1),
            seats: Mutex::default(),
            freed: Notify::new(),
            requests: AtomicUsize::new(0),
            quiet: Notify::new(),
        })
    }

    /// A place for a connection that has come. There may be too many pending ones now: the oldest goes.
    pub(super) fn sit(self: &Arc<Self>) -> Taken {
        let mut seats = self.seats();
        seats.next += 1;
        let seat = Arc::new(Seat {
            id: seats.next,
            room: Arc::clone(self),
            asked: AtomicBool::new(false),
            use_: Mutex::new(Use { requests: 0, since: Instant::now() }),
            go: Notify::new(),
            gone: AtomicBool::new(false),
            reset: AtomicBool::new(false),
        });
        seats.all.insert(seat.id, Arc::clone(&seat));
        seats.pending.insert(seat.id);
        if seats.pending.len() > self.most_pending {
            seats.evict_pending();
        }
        Taken(seat)
    }

    /// For one that has come: waits until there is room for it, and makes some if it can. Not ahead of time, or whoever
    /// came last would have to go for somebody who never comes.
    pub(super) async fn room(&self) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            {
                let mut seats = self.seats();
                if seats.all.len() < self.most {
                    return;
                }
                if seats.going == 0 {
                    seats.evict();
                }
            }
            // Those who have just come are nobody's to send away now, but soon.
            let _ = timeout(MOMENT, freed).await;
        }
    }

    /// The system has no room for another: one of ours goes, if any may.
    pub(super) fn relieve(&self) {
        let mut seats = self.seats();
        if seats.going == 0 {
            seats.evict();
        }
    }

    /// Until no request is under way.
    pub(super) async fn quiet(&self) {
        loop {
            let mut quiet = std::pin::pin!(self.quiet.notified());
            quiet.as_mut().enable();
            if self.requests() == 0 {
                return;
            }
            quiet.await;
        }
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }

    /// Connections so far, and those that had to go.
    pub(super) fn counts(&self) -> (u64, u64) {
        let seats = self.seats();
        (seats.next, seats.evicted)
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seats {
    fn evict(&mut self) {
        let settled = |seat: &Seat| seat.now().since.elapsed() >= MOMENT;
        let oldest = self.pending.first().and_then(|id| self.all.get(id));
        if oldest.is_some_and(|seat| settled(seat)) {
            return self.evict_pending();
        }
        let idle = self.all.values().filter(|seat| seat.asked.load(Ordering::Acquire) && settled(seat));
        let idle = idle.filter_map(|seat| {
            let now = seat.now();
            (now.requests == 0 && !seat.gone.load(Ordering::Acquire)).then_some((now.since, seat))
        });
        if let Some(seat) = idle.min_by_key(|(since, _)| *since).map(|(_, seat)| Arc::clone(seat)) {
            self.tell(&seat);
        }
    }

    fn evict_pending(&mut self) {
        if let Some(seat) = self.pending.pop_first().and_then(|id| self.all.get(&id).cloned()) {
            self.tell(&seat);
        }
    }

    fn tell(&mut self, seat: &Seat) {
        if !seat.gone.swap(true, Ordering::AcqRel) {
            self.going += 1;
            self.evicted += 1;
            seat.go.notify_one();
        }
    }
}

impl Seat {
    /// Until this connection has to go.
    pub(super) async fn must_go(&self) {
        self.go.notified().await;
    }

    /// Ends the connection with a reset.
    pub(super) fn reset(&self) {
        self.reset.store(true, Ordering::Release);
        self.go.notify_one();
    }

    pub(super) fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Acquire)
    }

    /// Whether no request is under way on it.
    pub(super) fn is_idle(&self) -> bool {
        self.now().requests == 0
    }

    /// A request has come.
    pub(super) fn request(self: &Arc<Self>) -> Under {
        if !self.asked.swap(true, Ordering::AcqRel) {
            self.room.seats().pending.remove(&self.id);
        }
        self.change(|requests| requests + 1);
        self.room.requests.fetch_add(1, Ordering::AcqRel);
        Under(Arc::clone(self))
    }

    fn now(&self) -> Use {
        *self.use_.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl Fn(usize) -> usize) {
        let mut now = self.use_.lock().unwrap_or_else(PoisonError::into_inner);
        *now = Use { requests: change(now.requests), since: Instant::now() };
    }
}

/// A seat that is free again when this is dropped.
pub(super) struct Taken(Arc<Seat>);

impl Taken {
    pub(super) fn seat(&self) -> Arc<Seat> {
        Arc::clone(&self.0)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut seats = self.0.room.seats();
        seats.all.remove(&self.0.id);
        seats.pending.remove(&self.0.id);
        if self.0.gone.load(Ordering::Acquire) {
            seats.going -= 1;
        }
        drop(seats);
        self.0.room.freed.notify_waiters();
    }
}

/// A request that is under way until this is dropped.
pub(super) struct Under(Arc<Seat>);

impl Under {
    pub(super) fn reset_connection(&self) {
        self.0.reset();
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        self.0.change(|requests| requests.saturating_sub(1));
        if self.0.room.requests.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.room.quiet.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn told(taken: &Taken) -> bool {
        taken.seat().must_go().now_or_never().is_some()
    }

    #[test]
    fn the_oldest_that_asked_nothing_goes_first() {
        let room = Room::new(100, 2);
        let (first, second) = (room.sit(), room.sit());
        let under = first.seat().request();
        let third = room.sit();
        assert!(!told(&first) && !told(&second) && !told(&third));
        let fourth = room.sit();
        assert!(told(&second) && !told(&third) && !told(&fourth));
        assert_eq!(room.counts(), (4, 1));
        drop((under, second, first));
        assert_eq!(room.requests(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_room_drops_the_idle_and_never_the_busy() {
        let room = Room::new(3, 3);
        let (busy, early, late) = (room.sit(), room.sit(), room.sit());
        let under = busy.seat().request();
        drop(early.seat().request());
        tokio::time::advance(Duration::from_millis(1)).await;
        drop(late.seat().request());
        let mut waiting = Box::pin(room.room());
        assert!((&mut waiting).now_or_never().is_none());
        assert!(!told(&early) && !told(&late), "both have just asked");
        timeout(Duration::from_secs(1), &mut waiting).await.unwrap_err();
        assert!(told(&early) && !told(&busy) && !told(&late));
        drop(early);
        waiting.await;
        // Nobody may go: whoever comes has to wait.
        let under_late = late.seat().request();
        let last = room.sit();
        let under_last = last.seat().request();
        let mut waiting = Box::pin(room.room());
        timeout(Duration::from_secs(1), &mut waiting).await.unwrap_err();
        assert!(!told(&busy) && !told(&late) && !told(&last));
        drop((under, busy));
        waiting.await;
        drop((under_late, under_last));
        room.quiet().await;
    }
}
