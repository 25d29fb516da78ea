//! Secrets without a name, which clients make for one sandbox: in memory alone, for a day at most, and bounded.

use super::secrets::{SecretRecord, Values, size_of};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

const LIFE: Duration = Duration::from_secs(24 * 60 * 60);
const MOST: usize = 100_000;
const MOST_BYTES: usize = 256 << 20;

struct Entry {
    record: SecretRecord,
    values: Values,
    /// When it came, among all.
    turn: u64,
    until: Instant,
}

/// The secrets, by id and by age.
#[derive(Default)]
struct Held {
    by_id: HashMap<String, Entry>,
    by_age: BTreeMap<u64, String>,
    bytes: usize,
    turns: u64,
}

impl Held {
    fn remove(&mut self, id: &str) -> bool {
        let Some(entry) = self.by_id.remove(id) else { return false };
        self.by_age.remove(&entry.turn);
        self.bytes = self.bytes.saturating_sub(size_of(&entry.values));
        true
    }

    /// Makes room: the oldest go first.
    fn trim(&mut self, now: Instant, most: usize, most_bytes: usize) {
        while let Some(id) = self.by_age.first_key_value().map(|(_, id)| id.clone()) {
            let old = self.by_id.get(&id).is_none_or(|entry| entry.until <= now);
            if !old && self.by_id.len() <= most && self.bytes <= most_bytes {
                return;
            }
            if !self.remove(&id) {
                self.by_age.pop_first();
            }
        }
    }

    fn insert(&mut self, record: SecretRecord, values: Values, now: Instant) {
        self.turns += 1;
        self.bytes += size_of(&values);
        self.by_age.insert(self.turns, record.id.clone());
        let entry = Entry { record, values, turn: self.turns, until: now + LIFE };
        self.by_id.insert(entry.record.id.clone(), entry);
    }

    fn get(&mut self, workspace: &str, id: &str, now: Instant) -> Option<&mut Entry> {
        self.by_id.get_mut(id).filter(|entry| entry.record.workspace == workspace && now < entry.until)
    }
}

/// Secrets that are never written.
#[derive(Default)]
pub(super) struct ShortLived {
    held: Mutex<Held>,
}

impl ShortLived {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, record: SecretRecord, values: Values) {
        let (mut held, now) = (self.held(), Instant::now());
        held.insert(record, values, now);
        held.trim(now, MOST, MOST_BYTES);
    }

    pub(super) fn record(&self, workspace: &str, id: &str) -> Option<SecretRecord> {
        self.held().get(workspace, id, Instant::now()).map(|entry| entry.record.clone())
    }

    pub(super) fn values(&self, workspace: &str, id: &str) -> Option<Values> {
        let mut held = self.held();
        let entry = held.get(workspace, id, Instant::now())?;
        entry.record.last_used_at = Some(SystemTime::now());
        Some(entry.values.clone())
    }

    /// Puts other values in the place of the old.
    pub(super) fn replace(&self, workspace: &str, id: &str, values: Values) -> Option<SecretRecord> {
        let mut held = self.held();
        let entry = held.get(workspace, id, Instant::now())?;
        entry.record.keys = values.keys().cloned().collect();
        let (old, new) = (size_of(&entry.values), size_of(&values));
        entry.values = values;
        let record = entry.record.clone();
        held.bytes = held.bytes.saturating_sub(old) + new;
        Some(record)
    }

    pub(super) fn remove(&self, workspace: &str, id: &str) -> bool {
        let mut held = self.held();
        held.get(workspace, id, Instant::now()).is_some() && held.remove(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> SecretRecord {
        SecretRecord {
            id: id.to_owned(),
            workspace: "team".to_owned(),
            environment: "main".to_owned(),
            name: None,
            app_id: None,
            keys: Vec::new(),
            created_at: SystemTime::UNIX_EPOCH,
            last_used_at: None,
        }
    }

    fn values(size: usize) -> Values {
        [("K".to_owned(), "v".repeat(size - 1).into())].into()
    }

    #[test]
    fn the_oldest_make_room_by_number_and_by_size() {
        let (mut held, now) = (Held::default(), Instant::now());
        for id in ["a", "b", "c", "d"] {
            held.insert(record(id), values(10), now);
        }
        assert_eq!(held.bytes, 40);
        held.trim(now, 3, 1000);
        assert!(held.get("team", "a", now).is_none() && held.get("team", "b", now).is_some());
        held.trim(now, 3, 15);
        assert!(held.get("team", "c", now).is_none() && held.get("team", "d", now).is_some());
        assert!(held.get("other", "d", now).is_none());
        assert!(held.get("team", "d", now + LIFE).is_none());
        held.trim(now + LIFE, 3, 1000);
        assert!(held.by_id.is_empty() && held.by_age.is_empty() && held.bytes == 0);
    }

    #[test]
    fn what_is_removed_or_replaced_is_counted() {
        let (held, now) = (ShortLived::default(), Instant::now());
        held.insert(record("a"), values(10));
        held.insert(record("b"), values(10));
        assert!(!held.remove("other", "a") && held.remove("team", "a") && !held.remove("team", "a"));
        assert_eq!(held.replace("team", "b", values(30)).unwrap().keys, ["K"]);
        assert!(held.replace("other", "b", values(30)).is_none());
        let mut inside = held.held();
        assert_eq!((inside.bytes, inside.by_age.len()), (30, 1));
        inside.trim(now, 0, 0);
        assert!(inside.by_id.is_empty());
    }
}
