//! `kill -9` of the process that uses the engine.

use crate::leftovers::{Before, descendants};
use crate::support::{Moments, Place, soak};
use std::time::Duration;

/// How often each is done.
fn times() -> usize {
    if soak() { 200 } else { 20 }
}

fn killed(test: &str, mode: &str, wait: bool, below: Duration) {
    let mut moments = Moments::new(test);
    let place = Place::new();
    place.next_start();
    let before = Before::look();
    for _ in 0..times() {
        let mut victim = place.victim(mode);
        if wait {
            assert_eq!(victim.line(), "ready");
            // The victim, its launcher, an agent: the look around sees what is to vanish.
            let running = descendants();
            assert!(running.len() >= 3 || ["create", "end"].contains(&mode) && running.len() == 2, "{running:?}");
        }
        moments.pass(below);
        victim.kill();
        before.nothing_runs();
        place.next_start();
        before.nothing_is_left(&place);
    }
}

/// From the first instruction on: directories, launcher, journal, the first messages.
pub(crate) fn while_starting() {
    killed("killed_while_starting", "idle", false, Duration::from_millis(40));
}

pub(crate) fn while_creating() {
    killed("killed_while_creating", "create", true, Duration::from_millis(30));
}

/// Sandboxes end by themselves at the same time.
pub(crate) fn while_ending() {
    killed("killed_while_ending", "end", true, Duration::from_millis(10));
}

pub(crate) fn while_executing() {
    killed("killed_while_executing", "exec", true, Duration::from_millis(30));
}

pub(crate) fn while_idle() {
    killed("killed_while_idle", "idle", true, Duration::from_millis(5));
}

/// Of two engines with the same directories one is killed; the other and its sandbox do not notice.
pub(crate) fn side_by_side() {
    let place = Place::new();
    place.next_start();
    let before = Before::look();
    let mut lives = place.victim("steady");
    assert_eq!(lives.line(), "on");
    for _ in 0..5 {
        let mut dies = place.victim("idle");
        assert_eq!(dies.line(), "ready");
        dies.kill();
        // This one clears away what is left of the dead engine, and nothing else.
        place.next_start();
        for _ in 0..20 {
            assert_eq!(lives.line(), "on");
        }
    }
    lives.let_go();
    let said = lives.until_closed();
    assert!(lives.wait().success(), "{said}");
    before.nothing_is_left(&place);
}

/// Engines that start and end at the same time clear away the journals of dead ones, not each other's.
pub(crate) fn at_once() {
    let place = Place::new();
    place.next_start();
    let before = Before::look();
    for _ in 0..if soak() { 100 } else { 5 } {
        let mut dies = place.victim("idle");
        assert_eq!(dies.line(), "ready");
        dies.kill();
        let mut engines: Vec<_> = (0..6).map(|_| place.victim("once")).collect();
        for engine in &mut engines {
            let said = engine.until_closed();
            let status = engine.wait();
            assert!(status.success(), "{status}: {said}");
        }
    }
    before.nothing_is_left(&place);
}
