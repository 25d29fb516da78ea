//! Faults on purpose: calls that are late, fail, break off or lose their answer, so that users can test what their program
//! does then.
//!
//! ```text
//!  request ─► FaultLayer ── Faults::plan(method) ──► delay ─► status, reset, hang: the service never hears of it
//!                                                      └────► service ─► lose-answer, cut-after, throttle
//! ```
//!
//! [`Rule`] is what the user writes, `docs/faults.md` its grammar. A call meets the rules in their order: delays add up, the
//! slowest throttle counts, and the first rule that ends the call in its own way is the last one asked.
//!
//! Chance is drawn from a seed. What the n-th call of a method meets depends on the seed, the rules and n alone, and not on
//! what other calls there are meanwhile (`times` and `after` count all calls that a rule matches, in the order of their
//! coming).
//!
//! Only gRPC calls meet faults: the route that takes them away must always be reached.

mod body;
mod dice;
mod layer;
mod parse;
mod rule;

pub use layer::{FaultLayer, FaultService};
pub use rule::{Rule, RuleError};

use dice::Dice;
use rule::End;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Methods whose calls are counted apart, for each rule. A client can make up names; these are more than Modal has.
const MOST_METHODS: usize = 512;

/// The rules in force. Shared: one for the layer, one for whoever changes them.
pub struct Faults {
    /// Whether there are any: most servers have none.
    armed: AtomicBool,
    now: Mutex<Now>,
}

struct Now {
    seed: u64,
    rules: Vec<Active>,
}

struct Active {
    rule: Rule,
    matched: u64,
    hits: u64,
    /// Calls by method, of those that chance decided on.
    draws: HashMap<Box<str>, u64>,
}

/// The rules and what became of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultReport {
    /// Gives the same faults to the same calls again. Below 2^53, if it was not given: JavaScript reads it too.
    pub seed: u64,
    /// In their order.
    pub rules: Vec<RuleReport>,
}

/// One rule and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleReport {
    /// As it was written.
    pub rule: String,
    /// Calls that it was asked about.
    pub matched: u64,
    /// Calls that it did something to.
    pub hits: u64,
}

/// What happens to one call.
#[derive(Debug, Clone, Default, PartialEq)]
struct Plan {
    delay: Duration,
    /// Bytes a second.
    throttle: Option<u64>,
    end: Option<Ending>,
}

#[derive(Debug, Clone, PartialEq)]
struct Ending {
    end: End,
    rule: String,
}

impl Faults {
    /// These rules, with a seed; a random one where none is given.
    #[must_use]
    pub fn new(rules: Vec<Rule>, seed: Option<u64>) -> Arc<Self> {
        let faults = Self { armed: AtomicBool::new(false), now: Mutex::new(Now { seed: 0, rules: Vec::new() }) };
        faults.set(rules, seed);
        Arc::new(faults)
    }

    /// Puts these rules in place of the ones before, with counters at zero. Calls under way keep what they met. Returns the
    /// seed.
    pub fn set(&self, rules: Vec<Rule>, seed: Option<u64>) -> u64 {
        let seed = seed.unwrap_or_else(random_seed);
        let armed = !rules.is_empty();
        let rules = rules.into_iter().map(|rule| Active { rule, matched: 0, hits: 0, draws: HashMap::new() });
        let mut now = self.now();
        *now = Now { seed, rules: rules.collect() };
        self.armed.store(armed, Ordering::Release);
        seed
    }

    /// No faults any more.
    pub fn clear(&self) {
        let seed = self.now().seed;
        self.set(Vec::new(), Some(seed));
    }

    /// The rules, and how often each was met.
    #[must_use]
    pub fn report(&self) -> FaultReport {
        let now = self.now();
        let told =
            |active: &Active| RuleReport { rule: active.rule.to_string(), matched: active.matched, hits: active.hits };
        FaultReport { seed: now.seed, rules: now.rules.iter().map(told).collect() }
    }

    /// What happens to this call. Counts it.
    fn plan(&self, method: &str) -> Option<Plan> {
        if !self.armed.load(Ordering::Acquire) {
            return None;
        }
        let mut now = self.now();
        let seed = now.seed;
        let (mut plan, mut any) = (Plan::default(), false);
        for (at, active) in now.rules.iter_mut().enumerate() {
            let Some(mut dice) = active.meet(method, seed, at) else { continue };
            any = true;
            let rule = &active.rule;
            tracing::debug!(method, %rule, "a call meets a fault");
            if let Some((least, most)) = rule.delay {
                plan.delay += least + (most - least).mul_f64(dice.next());
            }
            if let Some(rate) = rule.throttle {
                plan.throttle = Some(plan.throttle.map_or(rate, |slower| slower.min(rate)));
            }
            if let Some(end) = &rule.end {
                plan.end = Some(Ending { end: end.clone(), rule: rule.to_string() });
                break;
            }
        }
        any.then_some(plan)
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Active {
    /// Whether the rule strikes, and the chances of this call if so.
    fn meet(&mut self, method: &str, seed: u64, at: usize) -> Option<Dice> {
        if !self.rule.matches(method) {
            return None;
        }
        self.matched += 1;
        if self.matched <= self.rule.after || self.rule.times.is_some_and(|times| self.hits >= times) {
            return None;
        }
        let method = if self.draws.len() < MOST_METHODS || self.draws.contains_key(method) { method } else { "" };
        let nth = self.draws.entry(method.into()).or_default();
        *nth += 1;
        let mut dice = Dice::new(seed, at, method, *nth);
        if dice.next() >= self.rule.chance {
            return None;
        }
        self.hits += 1;
        Some(dice)
    }
}

/// Of 53 bits: what a number of JSON keeps in every language.
fn random_seed() -> u64 {
    u64::from_le_bytes(crate::ids::random()) >> 11
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(rules: &[&str], seed: u64) -> Arc<Faults> {
        Faults::new(rules.iter().map(|rule| rule.parse().unwrap()).collect(), Some(seed))
    }

    fn hit(faults: &Faults, method: &str) -> bool {
        faults.plan(method).is_some()
    }

    #[test]
    fn after_and_times_count_the_calls_of_a_rule() {
        let faults = faults(&["A*: hang after=2 times=3"], 1);
        let hits: Vec<bool> = ["A", "B", "AB", "A", "A", "B", "AC", "A"].map(|method| hit(&faults, method)).into();
        assert_eq!(hits, [false, false, false, true, true, false, true, false]);
        let report = faults.report();
        assert_eq!((report.rules[0].matched, report.rules[0].hits), (6, 3));
        faults.clear();
        assert!(!hit(&faults, "A"));
        assert_eq!(faults.report(), FaultReport { seed: 1, rules: vec![] });
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_whatever_else_goes_on() {
        let rule = ["A: reset p=0.3", "*: delay=1ms..9s p=0.5"];
        let plans = |seed, noise: usize| -> Vec<Option<Plan>> {
            let faults = faults(&rule, seed);
            (0..200)
                .map(|n| {
                    for _ in 0..(n * noise) % 7 {
                        faults.plan("Other");
                    }
                    faults.plan("A")
                })
                .collect()
        };
        let first = plans(7, 0);
        assert_eq!(first, plans(7, 3));
        assert_ne!(first, plans(8, 0));
        let share = first.iter().flatten().filter(|plan| plan.end.is_some()).count();
        assert!((40..=80).contains(&share), "{share} of 200 at 0.3");
    }

    #[test]
    fn rules_are_met_in_their_order_until_one_ends_the_call() {
        let faults = faults(
            &["*: delay=1s throttle=5KiB/s", "A: delay=2s throttle=1KiB/s", "A: status=INTERNAL", "*: delay=9s hang"],
            1,
        );
        let plan = faults.plan("A").unwrap();
        assert_eq!((plan.delay, plan.throttle), (Duration::from_secs(3), Some(1024)));
        assert!(matches!(plan.end.unwrap().end, End::Status { .. }));
        let plan = faults.plan("B").unwrap();
        assert_eq!((plan.delay, plan.throttle), (Duration::from_secs(10), Some(5120)));
        assert_eq!(plan.end.unwrap().end, End::Hang);
        assert_eq!(faults.report().rules.iter().map(|rule| rule.hits).collect::<Vec<_>>(), [2, 1, 1, 1]);
    }

    #[test]
    fn invented_methods_take_no_room() {
        let faults = faults(&["*: delay=1ms p=0.5"], 1);
        for n in 0..5000 {
            faults.plan(&format!("M{n}"));
        }
        assert!(faults.now().rules[0].draws.len() <= MOST_METHODS + 1);
        assert!(random_seed() < 1 << 53);
    }
}
